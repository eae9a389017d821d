package bus

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
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

// LimitStream sets how many bytes a stream may hold.
func LimitStream(ctx context.Context, b *Bus, name string, maxBytes int64) error {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = maxBytes
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
	s, err := p.take(ctx, account, p.budgets[account], nil)
	return s.due, err
}

// Mistake has b take the server's clock for what it is not, as after the server's clock was set.
func Mistake(b *Bus, by time.Duration) {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	b.clock.there = b.clock.there.Add(by)
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

// ShortMemory makes a stream forget message ids after 100 ms, the least that the server allows. It takes two steps: the
// server looks for what it may forget before it has taken over the new time, and then not again before the old one is over.
func ShortMemory(ctx context.Context, b *Bus, name string) error {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	for _, cfg.Duplicates = range []time.Duration{200 * time.Millisecond, 100 * time.Millisecond} {
		if _, err = b.js.UpdateStream(ctx, cfg); err != nil {
			return err
		}
	}
	return nil
}

// Forgotten publishes a message of this id and reports whether the stream took it for a new one.
func Forgotten(ctx context.Context, b *Bus, subject, id string) (bool, error) {
	ack, err := b.js.Publish(ctx, subject, []byte("{}"), jetstream.WithMsgID(id))
	return err == nil && !ack.Duplicate, err
}

// BuryHalf does what a process does that dies between the dead letter's publish and the fact: the message of stream at
// seq gets its letter and nothing else.
func BuryHalf(ctx context.Context, b *Bus, name string, seq uint64, f *fault.Fault) error {
	stream, err := b.stream(ctx, name)
	if err != nil {
		return err
	}
	msg, err := stream.GetMsg(ctx, seq)
	if err != nil {
		return err
	}
	e, err := events.Decode(msg.Data)
	if err != nil {
		e = events.Event{Mailbox: ""}
	}
	lane := events.Lane(strings.Split(msg.Subject, ".")[1])
	origin := name + "." + strconv.FormatUint(seq, 10)
	return b.buryRemains(ctx, remains{origin, msg.Subject, msg.Data, e, lane}, f, time.Now())
}

// ReplayHalf does what a console does that dies between the replay's publish and the removal of the letter.
func ReplayHalf(ctx context.Context, b *Bus, seq uint64) error {
	return b.DeadLetters().republish(ctx, seq)
}

// Purge removes what an operator's slip removes.
func Purge(ctx context.Context, b *Bus, name, subject string) error {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	if subject == "" {
		return stream.Purge(ctx)
	}
	return stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// HoldFor holds a leg as a fault does that its workers met.
func HoldFor(ctx context.Context, b *Bus, name string, f *fault.Fault, d time.Duration) error {
	_, _, err := b.Legs().holdFor(ctx, name, outage{fault: f, rest: d})
	return err
}
