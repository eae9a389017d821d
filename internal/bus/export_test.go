package bus

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
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
	data, err := json.Marshal(leg.Leg{Name: name, State: leg.Held, By: "test"})
	if err != nil {
		return err
	}
	_, err = l.kv.put(ctx, legKey(name), data, revision)
	return err
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

// TakeSlot takes a slot without waiting for its time.
func TakeSlot(ctx context.Context, p *Pacer, account string) (time.Time, error) {
	return p.take(ctx, account, p.accounts[account])
}

// DeleteConsumer does what a careless operator does.
func DeleteConsumer(ctx context.Context, b *Bus, stream, consumer string) error {
	return b.js.DeleteConsumer(ctx, stream, consumer)
}

// BeginWithoutEnd writes down that e's handling began n times and never ended.
func BeginWithoutEnd(ctx context.Context, b *Bus, e events.Event, n int) error {
	book, key := kv{b, bucketControl}, "began."+string(e.Kind.Lane())+"."+e.ID
	for {
		_, revision, err := book.get(ctx, key)
		if err != nil {
			return err
		}
		if _, err := book.put(ctx, key, []byte(strconv.Itoa(n)), revision); err == nil {
			return nil
		}
	}
}
