package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// StreamWanted returns what this build makes of a stream.
func StreamWanted(b *Bus, name string) jetstream.StreamConfig {
	for _, s := range b.streams() {
		if s.Name == name {
			return s
		}
	}
	panic("no stream " + name)
}

// ConsumerWanted returns what this build makes of a leg's consumer.
func ConsumerWanted(lane events.Lane, due bool, leg string, window int) jetstream.ConsumerConfig {
	for _, src := range sources(lane) {
		if src.due == due {
			return consumerOf(lane, src, leg, window)
		}
	}
	panic("no such consumer")
}

// CheckVersion is checkVersion.
var CheckVersion = checkVersion

// DriftsOf compares a stream with what it should be, as a plan does.
func DriftsOf(want jetstream.StreamConfig, have *jetstream.StreamInfo) []Drift {
	return keepFull(compareStream(want, have.Config), want, have)
}

// MakeConsumerAs makes a consumer as another version does.
func MakeConsumerAs(ctx context.Context, b *Bus, stream string, cfg jetstream.ConsumerConfig) error {
	_, err := b.js.CreateConsumer(ctx, stream, cfg)
	return err
}

// IsPaused reports whether the server delivers nothing of a consumer.
func IsPaused(ctx context.Context, b *Bus, stream, consumer string) (bool, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return false, err
	}
	return c.CachedInfo().Paused, nil
}
