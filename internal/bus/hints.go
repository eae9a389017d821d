package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
)

const (
	hintConsumer = "hints"
	// hintsAtOnce bounds the looks that one process takes at a time: each is a call of the account's budget. No further hint
	// lies ready meanwhile: looks may wait for longer than a hint may without a sign of life.
	hintsAtOnce = 2
	// hintRetry is how long a hint waits whose look failed, at least.
	hintRetry = time.Minute
	// hintLife is how long it is tried: after that the mailbox's state is Warmy's page to tell.
	hintLife = 6 * time.Hour
)

// hints keeps what webhooks of Warmy have said, the latest of each mailbox. It is not work that must not be lost: when it is
// full the oldest gives way, so whoever finds the secret path can fill this and nothing else.
func hints() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamHints, Subjects: []string{events.HintFilter}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld,
		MaxMsgsPerSubject: 1, MaxBytes: gib / 64, MaxMsgSize: 4 << 10, MaxAge: 24 * time.Hour, Duplicates: dedupeWindow,
	}
}

// Hints takes what webhooks say.
type Hints struct{ bus *Bus }

// Hints returns the way in for hints.
func (b *Bus) Hints() Hints { return Hints{b} }

// Publish returns when the hint is stored. A webhook that comes again within minutes is recognised.
func (h Hints) Publish(ctx context.Context, hint events.Hint) error {
	data, err := hint.Encode()
	if err != nil {
		return err
	}
	msg := nats.NewMsg(hint.Subject())
	msg.Header.Set(jetstream.MsgIDHeader, "hint."+hint.EventID)
	msg.Data = data
	return h.bus.publish(ctx, []*nats.Msg{msg})
}

// HintHandler takes the look that a hint asks for, and returns what follows.
type HintHandler func(context.Context, events.Hint) ([]events.Event, error)

// Heed gives every hint to look until ctx ends, and publishes what follows. A look that fails is taken again later, unless
// it says that it never helps; while the leg of its account is held none is taken. Calls yield to registrations and to
// listings.
func (b *Bus) Heed(ctx context.Context, look HintHandler) error {
	for ctx.Err() == nil {
		if err := b.heedHints(ctx, look); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "hints_not_heard", "error", err)
			rest(ctx, advisoryRetry)
		}
	}
	return nil
}

func (b *Bus) heedHints(ctx context.Context, look HintHandler) error {
	cfg := jetstream.ConsumerConfig{
		Durable: hintConsumer, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: 4 * ackWait, MaxAckPending: 16, MaxDeliver: -1,
	}
	if err := b.ensureConsumer(ctx, streamHints, cfg); err != nil {
		return err
	}
	cons, err := b.js.Consumer(ctx, streamHints, cfg.Durable)
	if err != nil {
		return fmt.Errorf("find consumer %s: %w", cfg.Durable, err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var takers sync.WaitGroup
	for range hintsAtOnce {
		takers.Go(func() { stop(b.takeHints(ctx, cons, look)) })
	}
	takers.Wait()
	return context.Cause(ctx)
}

// takeHints heeds one hint after the other, until ctx ends or the consumer is gone.
func (b *Bus) takeHints(ctx context.Context, cons jetstream.Consumer, look HintHandler) error {
	for ctx.Err() == nil {
		msg, err := cons.Next(jetstream.FetchContext(ctx))
		switch {
		case errors.Is(err, nats.ErrTimeout): // none came
		case err != nil:
			return fmt.Errorf("take a hint: %w", err)
		default:
			b.heedHint(ctx, msg, look)
		}
	}
	return nil
}

// heedHint takes one look. What is no hint is dropped: it came from nobody of ours.
func (b *Bus) heedHint(ctx context.Context, msg jetstream.Msg, look HintHandler) {
	if ctx.Err() != nil {
		return // it comes back after its wait
	}
	hint, err := events.DecodeHint(msg.Data())
	if err != nil || hint.Subject() != msg.Subject() {
		b.log.WarnContext(ctx, "hint_unreadable", "subject", msg.Subject())
		_ = msg.Ack()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*ackWait)
	defer cancel()
	evs, err := b.lookAt(ctx, hint, look)
	f := fault.Of(err)
	switch {
	case err == nil, f.Class == fault.Permanent, time.Since(hint.At) > hintLife:
		_ = msg.Ack() // if that is lost, it comes back, and the look is harmless
	default:
		_ = msg.NakWithDelay(max(f.After, hintRetry))
	}
	b.log.InfoContext(ctx, "hint_heeded", "account", hint.Account, "warmy_id", hint.WarmyID, "follows", len(evs), "error", err)
}

func (b *Bus) lookAt(ctx context.Context, hint events.Hint, look HintHandler) ([]events.Event, error) {
	if err := b.Legs().mayCall(ctx, hint.Account); err != nil {
		return nil, err
	}
	evs, err := look(ctx, hint)
	if err == nil && len(evs) > 0 {
		err = b.Publish(ctx, evs...)
	}
	return evs, err
}
