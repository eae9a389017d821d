package bus

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// CreateConsumer does what a worker does at its start.
func CreateConsumer(ctx context.Context, b *Bus, stream, name, filter string) error {
	return b.ensureConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy})
}

// LimitDeliveries does what somebody does who does not know that a message then falls silent.
func LimitDeliveries(ctx context.Context, b *Bus, stream, name string) error {
	consumer, err := b.js.Consumer(ctx, stream, name)
	if err != nil {
		return err
	}
	cfg := consumer.CachedInfo().Config
	cfg.MaxDeliver = 3
	_, err = b.js.UpdateConsumer(ctx, stream, cfg)
	return err
}

// Streams names every stream.
func Streams(b *Bus) []string {
	var names []string
	for _, cfg := range b.streams() {
		names = append(names, cfg.Name)
	}
	return names
}

// Denied is what a bus remembers of denials, without a connection.
type Denied struct{ d *denials }

// NewDenied has met no denial.
func NewDenied(process string, log *slog.Logger) Denied {
	return Denied{newDenials(Config{Name: process, Log: log})}
}

// Report takes what the server said.
func (d Denied) Report(said string) {
	d.d.report(fmt.Errorf("%w: %s", nats.ErrPermissionViolation, said))
}

// Current is what readiness says.
func (d Denied) Current() error { return d.d.current() }

// Matches reports whether a right holds a subject.
func Matches(right, subject string) bool { return matches(right, subject) }
