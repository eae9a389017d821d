package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Holds counts the messages of a stream under a subject.
func Holds(ctx context.Context, b *Bus, name, subject string) (uint64, error) {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for _, count := range info.State.Subjects {
		n += count
	}
	return n, nil
}
