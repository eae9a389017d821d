package bus

import (
	"context"

	"kindling/internal/events"
)

// Delivered counts a consumer's deliveries, repeated ones included.
func Delivered(ctx context.Context, b *Bus, stream, consumer string) (uint64, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, err
	}
	return c.CachedInfo().Delivered.Consumer, nil
}

// MakeWholeConsumer makes the consumer for all slots that older versions have.
func MakeWholeConsumer(ctx context.Context, b *Bus, account string) error {
	want := consumerOf(events.Register, sources(events.Register)[0], account, 8)
	want.FilterSubject = events.LaneFilter(events.Register, account)
	_, err := b.js.CreateConsumer(ctx, streamRegister, want)
	return err
}
