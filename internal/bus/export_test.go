package bus

import (
	"context"

	"github.com/nats-io/nats.go"

	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// PublishRaw stores bytes as a broken producer would.
func PublishRaw(ctx context.Context, b *Bus, subject string, payload []byte) error {
	return b.publish(ctx, []*nats.Msg{{Subject: subject, Data: payload}})
}

// AlterStream changes a setting behind Kindling's back.
func AlterStream(ctx context.Context, b *Bus, name string) error {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = 1 << 20
	_, err = b.js.UpdateStream(ctx, cfg)
	return err
}

// Waiting counts the messages of a stream.
func Waiting(ctx context.Context, b *Bus, name string) (uint64, error) {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.Msgs, nil
}

// CreateAtomic is the first half of Create: the atomic batch alone.
func CreateAtomic(ctx context.Context, s InvitationStore, batch []mailbox.Invitation) error {
	msgs, err := s.messages(batch)
	if err != nil {
		return err
	}
	return s.createAtomic(ctx, msgs)
}

// HoldWithoutPause holds a leg for the workers alone, so that deliveries still arrive and are parked.
func HoldWithoutPause(ctx context.Context, b *Bus, name string) error {
	l := b.Legs()
	_, revision, err := l.load(ctx, name)
	if err != nil {
		return err
	}
	return l.save(ctx, leg.Leg{Name: name, State: leg.Held, By: "test"}, revision)
}

// Parked counts the deliveries of the register lane that are not acknowledged.
func Parked(ctx context.Context, b *Bus) int {
	n := 0
	for stream, consumer := range map[string]string{"REGISTER": "register-main", "TIMERS_WARMY": "due-register-main"} {
		if c, err := b.js.Consumer(ctx, stream, consumer); err == nil {
			n += c.CachedInfo().NumAckPending
		}
	}
	return n
}
