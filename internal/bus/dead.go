package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// ErrNoDeadLetter means that there is no dead letter of this number (any more).
var ErrNoDeadLetter = errors.New("no such dead letter")

// ErrNotReplayable means that publishing the event again cannot help: an authorization code is single use and dies
// within ten minutes, and what cannot be decoded cannot be handled.
var ErrNotReplayable = errors.New("this dead letter cannot be replayed")

// DeadLetters are the events that will not be tried again by themselves.
type DeadLetters struct{ bus *Bus }

// DeadLetters returns the dead letters.
func (b *Bus) DeadLetters() DeadLetters { return DeadLetters{b} }

// Each visits every dead letter, oldest first, until visit returns false. Letters that go or come meanwhile may be
// visited or not.
func (d DeadLetters) Each(ctx context.Context, visit func(events.DeadLetter) bool) error {
	stream, err := d.bus.stream(ctx, streamDead)
	if err != nil {
		return err
	}
	for seq := uint64(1); ; seq++ {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject("kindling.dead.>")) // the next one from seq on
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read dead letters: %w: %w", ErrUnavailable, err)
		}
		seq = msg.Sequence
		letter, err := events.DecodeDeadLetter(msg.Data)
		letter.Seq = seq
		if err != nil {
			d.bus.log.ErrorContext(ctx, "dead_letter_unreadable", "seq", seq, "error", err)
		} else if !visit(letter) {
			return nil
		}
	}
}

// Get returns dead letter seq, or ErrNoDeadLetter.
func (d DeadLetters) Get(ctx context.Context, seq uint64) (events.DeadLetter, error) {
	stream, err := d.bus.stream(ctx, streamDead)
	if err != nil {
		return events.DeadLetter{}, err
	}
	msg, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return events.DeadLetter{}, ErrNoDeadLetter
	}
	if err != nil {
		return events.DeadLetter{}, fmt.Errorf("read dead letter: %w: %w", ErrUnavailable, err)
	}
	letter, err := events.DecodeDeadLetter(msg.Data)
	letter.Seq = seq
	return letter, err
}

// Replay publishes the event of dead letter seq again, with no failures counted, and removes the dead letter.
// Repeating a replay that was cut off is harmless: the stream recognises the second copy.
func (d DeadLetters) Replay(ctx context.Context, seq uint64) error {
	letter, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	e, err := letter.Original()
	if err != nil || e.Kind.Lane() == events.Code {
		return ErrNotReplayable
	}
	if err := d.bus.Publish(ctx, e.Replayed(seq, time.Now())); err != nil {
		return err
	}
	return d.Discard(ctx, seq)
}

// Discard removes dead letter seq. Removing what is gone already is no error.
func (d DeadLetters) Discard(ctx context.Context, seq uint64) error {
	stream, err := d.bus.stream(ctx, streamDead)
	if err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !isNoMessage(err) {
		return fmt.Errorf("remove dead letter: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// codeNoMessage is the server's answer to the deletion of a message that is not there.
const codeNoMessage = 10057

func isNoMessage(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeNoMessage || api.ErrorCode == jetstream.JSErrCodeMessageNotFound)
}

// bury stores the dead letter of a delivery. It must return before the delivery is acknowledged.
func (b *Bus) bury(ctx context.Context, d *delivery, payload []byte, e events.Event, lane events.Lane, f *fault.Fault, now time.Time) error {
	letter := events.DeadLetter{
		Version: events.Version, Event: events.Quote(payload), Mailbox: e.Mailbox, App: e.App, Account: e.Account, Campaign: e.Campaign,
		Stage: lane, Subject: d.msg.Subject(), Class: string(f.Class), Code: f.Code, Cause: f.Cause, Remedy: f.Remedy, Forecast: string(f.Forecast),
		Tries: addTry(e.Tries, f, now), DiedAt: now.UTC(), Trace: traceFrom(ctx),
	}
	return b.storeLetter(ctx, d, letter, payload)
}
