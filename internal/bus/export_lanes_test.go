package bus

import "context"

// Delivered counts a consumer's deliveries, repeated ones included.
func Delivered(ctx context.Context, b *Bus, stream, consumer string) (uint64, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, err
	}
	return c.CachedInfo().Delivered.Consumer, nil
}
