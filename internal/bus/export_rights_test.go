package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// CreateConsumer does what a worker does at its start.
func CreateConsumer(ctx context.Context, b *Bus, stream, name, filter string) error {
	return b.ensureConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy})
}

// Streams names every stream.
func Streams(b *Bus) []string {
	var names []string
	for _, cfg := range b.streams() {
		names = append(names, cfg.Name)
	}
	return names
}
