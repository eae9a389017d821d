package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// RestoreOnce walks the facts once, under a lease of its own, so that several can be at it at once.
func RestoreOnce(ctx context.Context, b *Bus, half, leaseName string, cfg RestoreConfig) error {
	r := b.grantsRestorer(cfg)
	if half == "registrations" {
		r = b.registrationsRestorer(cfg)
	}
	r.lease.key = "restore." + leaseName
	if _, err := r.lease.take(ctx, 0); err != nil {
		return err
	}
	return errors.Join(r.pass(ctx), r.lease.release(ctx, true))
}

// LimitByHand does what somebody does who changes a consumer by hand.
func LimitByHand(ctx context.Context, b *Bus, stream, consumer string, most int, wait time.Duration) error {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return err
	}
	cfg := c.CachedInfo().Config
	cfg.MaxDeliver, cfg.AckWait = most, wait
	_, err = b.js.UpdateConsumer(ctx, stream, cfg)
	return err
}

// AckWait is what our consumers have.
const AckWait = ackWait

// TakeAndForget takes a message from a consumer as a worker does that dies, until the server gives it to nobody.
func TakeAndForget(ctx context.Context, b *Bus, stream, consumer string) (taken int, err error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, err
	}
	batch, err := c.Fetch(8, jetstream.FetchMaxWait(time.Second))
	if err != nil {
		return 0, err
	}
	for range batch.Messages() {
		taken++
	}
	return taken, batch.Error()
}

// Terminate ends a message as a foreign client does.
func Terminate(ctx context.Context, b *Bus, stream, consumer string) error {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return err
	}
	msg, err := c.Next()
	if err != nil {
		return err
	}
	return msg.TermWithReason("by hand")
}

// TakeLease takes the lease of a restorer for another process, which then dies, or lives for this long.
func TakeLease(ctx context.Context, b *Bus, name, owner string, until time.Time) error {
	l := lease{kv: kv{b, bucketControl}, key: "restore." + name, owner: owner}
	if _, err := l.take(ctx, 0); err != nil {
		return err
	}
	return l.put(ctx, storedLease{Owner: owner, Until: until})
}

// SweepOnce searches the queues of a lane for stuck messages.
func SweepOnce(ctx context.Context, b *Bus, cfg ServeConfig, lane Lane) error {
	cfg.SweepEvery = 50 * time.Millisecond
	n := &secondNet{bus: b, cfg: cfg, workers: []*worker{{bus: b, cfg: cfg, lane: lane}}}
	for _, src := range sources(lane.Lane) {
		if err := n.sweepConsumer(ctx, src.stream, consumerOf(lane.Lane, src, lane.Leg, 0)); err != nil {
			return err
		}
	}
	return nil
}

// HasConsumer reports whether a consumer exists.
func HasConsumer(ctx context.Context, b *Bus, stream, consumer string) bool {
	_, err := b.js.Consumer(ctx, stream, consumer)
	return err == nil
}

// MakeConsumer makes a lane's consumer on a stream.
func MakeConsumer(ctx context.Context, b *Bus, lane Lane, stream string) error {
	return b.ensureConsumer(ctx, stream, consumerOf(lane.Lane, sources(lane.Lane)[0], lane.Leg, lane.Window))
}

// IdleTimerOf returns the timer of a mailbox's idle grant.
func IdleTimerOf(ctx context.Context, b *Bus, id string) events.Event {
	t, _, _ := b.idleTimer(ctx, id)
	return t.event
}
