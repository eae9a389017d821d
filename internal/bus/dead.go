package bus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
// Repeating a replay that was cut off is harmless at any time: the second copy has the first one's id. Within the dedupe
// window the stream recognises it, later the facts do; and if both die they leave one dead letter.
func (d DeadLetters) Replay(ctx context.Context, seq uint64) error {
	if err := d.republish(ctx, seq); err != nil {
		return err
	}
	return d.remove(ctx, seq)
}

func (d DeadLetters) republish(ctx context.Context, seq uint64) error {
	letter, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	e, err := letter.Original()
	if err != nil || e.Kind.Lane() == events.Code {
		return ErrNotReplayable
	}
	return d.bus.Publish(ctx, e.Replayed(seq, time.Now()))
}

// Discard removes dead letter seq for good. Removing what is gone already is no error.
func (d DeadLetters) Discard(ctx context.Context, seq uint64) error {
	letter, err := d.Get(ctx, seq)
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case err == nil && events.IsToken(letter.Mailbox):
		if err := d.bus.markDiscarded(ctx, letter.Mailbox); err != nil {
			return err
		}
	}
	return d.remove(ctx, seq)
}

func (d DeadLetters) remove(ctx context.Context, seq uint64) error {
	stream, err := d.bus.stream(ctx, streamDead)
	if err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil && !isNoMessage(err) {
		return fmt.Errorf("remove dead letter: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// isNoMessage reports whether the server refused a deletion because the message is not there. The client wraps nothing of
// that answer, and its code is the same as that of a deletion that is not permitted: only the words tell.
func isNoMessage(err error) bool {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true
	}
	return errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) &&
		(strings.Contains(err.Error(), "no message found") || strings.Contains(err.Error(), "stream store EOF"))
}

// remains is a message that is given up.
type remains struct {
	origin  string // its stream and sequence
	subject string
	payload []byte
	event   events.Event // zero when the payload is no event
	lane    events.Lane
}

// id stands in the dead letter's subject. A message that names no mailbox gets its own place, so that the question
// whether it has its letter already never has to read all the others.
func (r remains) id() string {
	if r.event.Mailbox != "" {
		return r.event.Mailbox
	}
	return "unknown-" + strings.ToLower(strings.ReplaceAll(r.origin, ".", "-"))
}

// name tells one death of a mailbox from another: an origin alone would not do, because the sequences of a stream that
// was made again begin anew.
func (r remains) name() string {
	if r.event.ID != "" {
		return r.event.ID
	}
	sum := sha256.Sum256(r.payload)
	return hex.EncodeToString(sum[:8])
}

// bury stores the dead letter of a delivery. It must return before the delivery is acknowledged.
func (b *Bus) bury(ctx context.Context, d *delivery, payload []byte, e events.Event, lane events.Lane, f *fault.Fault, now time.Time) error {
	return b.buryRemains(ctx, remains{d.origin, d.msg.Subject(), payload, e, lane}, f, now)
}

func (b *Bus) buryRemains(ctx context.Context, r remains, f *fault.Fault, now time.Time) error {
	e := r.event
	letter := events.DeadLetter{
		Version: events.Version, Event: events.Quote(r.payload), Mailbox: e.Mailbox, App: e.App, Account: e.Account, Campaign: e.Campaign,
		Stage: r.lane, Subject: r.subject, Class: string(f.Class), Code: f.Code, Cause: f.Cause, Remedy: f.Remedy, Forecast: string(f.Forecast),
		Tries: addTry(e.Tries, f, now), DiedAt: now.UTC(), Trace: traceFrom(ctx),
	}
	_, err := b.storeLetter(ctx, r, letter)
	return err
}

// storeLetter stores a dead letter unless the same event has one in the same lane, and reports whether it did. The dedupe
// window ends ten minutes after a crash between the letter and the acknowledgement; the letter itself does not. The
// server compares what was read with what is there, so that two processes that bury one event at once leave one letter.
func (b *Bus) storeLetter(ctx context.Context, r remains, letter events.DeadLetter) (stored bool, err error) {
	data, err := encodeLetter(letter, r.payload)
	if err != nil {
		return false, err
	}
	msg := nats.NewMsg(events.DeadSubject(r.lane, letter.Class, r.id()))
	msg.Data = data
	msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("dead.%s.%s.%s", r.lane, r.id(), r.name()))
	all := events.DeadSubject(r.lane, "*", r.id())
	for range changeTries {
		last, known, err := b.hasLetter(ctx, all, r)
		if err != nil || known {
			return false, err
		}
		ack, err := b.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequenceForSubject(last, all))
		if err == nil {
			return !ack.Duplicate, nil
		}
		if !isConflict(err) {
			return false, publishError(err)
		}
	}
	return false, fmt.Errorf("store dead letter: %w", ErrUnavailable)
}

// hasLetter reports whether the event of r has a dead letter under filter, and the last sequence there.
func (b *Bus) hasLetter(ctx context.Context, filter string, r remains) (last uint64, known bool, err error) {
	stream, err := b.stream(ctx, streamDead)
	if err != nil {
		return 0, false, err
	}
	for {
		msg, err := stream.GetMsg(ctx, last+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return last, false, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("look for dead letter: %w: %w", ErrUnavailable, err)
		}
		last = msg.Sequence
		if old, err := events.DecodeDeadLetter(msg.Data); err == nil && sameEvent(old.Payload(), r.payload) {
			return last, true, nil
		}
	}
}

// sameEvent compares by id; what is no event, byte by byte.
func sameEvent(a, b []byte) bool {
	ea, errA := events.Decode(a)
	eb, errB := events.Decode(b)
	if errA != nil || errB != nil {
		return bytes.Equal(a, b)
	}
	return ea.ID == eb.ID
}
