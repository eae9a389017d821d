package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

const (
	headerUUID        = "Kindling-Uuid"
	headerTraceparent = "traceparent"
	headerSchedule    = "Nats-Schedule"
	headerTarget      = "Nats-Schedule-Target"
)

// Publisher is a Watermill publisher on JetStream: it returns when every message is stored. Its topic is the subject.
type Publisher struct{ bus *Bus }

// Publisher returns the Watermill publisher of this bus.
func (b *Bus) Publisher() Publisher { return Publisher{b} }

// Publish stores the messages, all under way at once, and waits for every acknowledgement.
func (p Publisher) Publish(topic string, messages ...*message.Message) error {
	msgs := make([]*nats.Msg, len(messages))
	for i, m := range messages {
		msg := nats.NewMsg(topic)
		msg.Data = m.Payload
		for key, value := range m.Metadata {
			if !strings.HasPrefix(key, "Nats-") { // the server's own headers can erase a stream: never pass them on
				msg.Header.Set(key, value)
			}
		}
		msg.Header.Set(headerUUID, m.UUID)
		msgs[i] = msg
	}
	ctx := context.Background()
	if len(messages) > 0 {
		ctx = messages[0].Context()
	}
	return p.bus.publish(ctx, msgs)
}

// Close does nothing: every Publish has waited for its acknowledgements, and the connection is the Bus's.
func (Publisher) Close() error { return nil }

// Publish stores the events durably, or returns an error; then some of them may be stored, and publishing all of them
// again is harmless. An event that is not due yet becomes a timer.
func (b *Bus) Publish(ctx context.Context, evs ...events.Event) error {
	msgs := make([]*nats.Msg, len(evs))
	for i, e := range evs {
		msg, err := eventMsg(ctx, e)
		if err != nil {
			return err
		}
		msgs[i] = msg
	}
	return b.publish(ctx, msgs)
}

func eventMsg(ctx context.Context, e events.Event) (*nats.Msg, error) {
	data, err := events.Encode(e)
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(e.Subject())
	if e.NotBefore.IsZero() && e.Kind.Lane() != events.Reconcile {
		msg.Header.Set(jetstream.MsgIDHeader, messageID(e))
	} else {
		at, due := e.TimerSubjects()
		msg.Subject = at
		when := e.NotBefore
		if when.IsZero() {
			when = time.Now() // the server never fires a schedule of the year 1
		}
		msg.Header.Set(headerSchedule, "@at "+scheduleTime(when).Format(time.RFC3339))
		msg.Header.Set(headerTarget, due)
	}
	msg.Header.Set(headerUUID, e.ID)
	if trace := traceFrom(ctx); trace != "" {
		msg.Header.Set(headerTraceparent, trace)
	}
	msg.Data = data
	return msg, nil
}

// messageID is what the stream recognises a repetition by: the same event after the same number of failures.
func messageID(e events.Event) string { return e.ID + "." + strconv.Itoa(len(e.Tries)) }

// scheduleTime is t in the whole seconds that the server keeps. It rounds down, so we round up: never too early.
func scheduleTime(t time.Time) time.Time {
	return t.UTC().Add(time.Second - time.Nanosecond).Truncate(time.Second)
}

// publish stores msgs, and remembers whether the server stores at all.
func (b *Bus) publish(ctx context.Context, msgs []*nats.Msg) error {
	if err := b.admit(ctx, msgs); err != nil {
		return err
	}
	err := b.store(ctx, msgs)
	b.storing.saw(ctx, err, b.nc.IsConnected())
	return publishError(err)
}

// store stores msgs, all under way at once.
func (b *Bus) store(ctx context.Context, msgs []*nats.Msg) error {
	if len(msgs) == 1 {
		_, err := b.js.PublishMsg(ctx, msgs[0])
		return err
	}
	b.reach.writes.asked(time.Now())
	err := b.storeAll(ctx, msgs)
	b.reach.writes.ended(time.Now(), err)
	return err
}

func (b *Bus) storeAll(ctx context.Context, msgs []*nats.Msg) error {
	mark, _ := b.denials.mark()
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, msg := range msgs {
		future, err := b.js.PublishMsgAsync(msg, jetstream.WithStallWait(apiTimeout))
		if err != nil {
			return err
		}
		futures[i] = future
	}
	for _, future := range futures {
		if err := b.denials.await(ctx, mark, future); err != nil {
			return err
		}
	}
	return nil
}

func publishError(err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return fmt.Errorf("publish: %w", refused(api))
	}
	return fmt.Errorf("publish: %w: %w", ErrUnavailable, err)
}

// The codes of refusals for want of room.
const (
	codeStoreFailed = jetstream.ErrorCode(10077) // for a stream that discards new: its limit
	codeNoResources = jetstream.ErrorCode(10023) // the server's storage limit
)

// refused names the cause and the remedy of a refusal by the server.
func refused(api *jetstream.APIError) error {
	switch api.ErrorCode {
	case codeStoreFailed:
		return fmt.Errorf("%w: %w: refused with code %d, %s; see the runbook stream-nearly-full", ErrUnavailable, ErrFull, api.ErrorCode, api.Description)
	case codeNoResources:
		return fmt.Errorf("%w: refused with code %d: the server's storage is used up; free space on its volume or raise max_file_store, then restart nats-server",
			ErrUnavailable, api.ErrorCode)
	default:
		return fmt.Errorf("%w: refused with code %d", ErrUnavailable, api.ErrorCode)
	}
}
