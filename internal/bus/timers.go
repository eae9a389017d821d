package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// Timers says which grants must have a timer for their next refresh, and when it goes off: handlers.IdleTimers.
type Timers interface {
	// Due returns when tokens of a mailbox must be refreshed; the zero time when never.
	Due(id mailbox.ID, t mailbox.Tokens) time.Time
	// Timer returns the timer of a mailbox that has none, and whether it must have one.
	Timer(ctx context.Context, id mailbox.ID) (timer events.Event, due bool, err error)
}

const (
	// requestsForTimer is what it costs to give a mailbox a timer: its facts, the stream's level, the timer.
	requestsForTimer = 4
	// timerSlack is how much later than the policy asks for a timer may go off before it is moved. Overdue ones are spread
	// over an hour.
	timerSlack = time.Hour + 10*time.Minute
)

// giveTimer gives the mailbox of a grant the timer that it has nowhere, or moves one that the policy of an earlier day
// has set too late. Both say what they have read: the server refuses them if the mailbox's own handler came between.
func (r *restorer) giveTimer(ctx context.Context, id mailbox.ID, value []byte) error {
	var stored storedGrant
	if r.cfg.Timers == nil || r.full {
		return nil
	}
	if err := json.Unmarshal(value, &stored); err != nil || stored.Tokens == nil {
		return nil //nolint:nilerr // what cannot be read gets no timer
	}
	tokens, _ := openTokens(nil, id, *stored.Tokens) // without a key it cannot fail
	due := r.cfg.Timers.Due(id, tokens)
	if due.IsZero() {
		return nil
	}
	if err := r.spend(ctx, 1); err != nil {
		return err
	}
	last, found, err := r.bus.idleTimer(ctx, id)
	if err != nil || found && !last.late(due, time.Now()) {
		return r.skipped(ctx, id, err)
	}
	if err := r.spend(ctx, requestsForTimer); err != nil {
		return err
	}
	timer, must, err := r.cfg.Timers.Timer(ctx, id)
	if err == nil && must {
		err = r.bus.setTimer(ctx, timer, last.seq)
	}
	if errors.Is(err, ErrFull) {
		r.full = true
		r.bus.log.WarnContext(ctx, "timers_not_given", "error", err)
		return nil
	}
	return r.skipped(ctx, id, err)
}

func (r *restorer) skipped(ctx context.Context, id mailbox.ID, err error) error {
	if err == nil {
		return nil
	}
	return r.skip(ctx, id, err)
}

// idleTimer is the timer that a mailbox has: it waits, or came due and waits for its handler.
type idleTimer struct {
	seq   uint64 // 0: there is none
	due   bool
	event events.Event // zero if it is of a newer version
}

// late reports whether the timer goes off later than it should. One that waits after a failure goes off when it must.
func (t idleTimer) late(due, now time.Time) bool {
	if t.due || t.event.NotBefore.IsZero() || len(t.event.Tries) > 0 {
		return false
	}
	return t.event.NotBefore.After(later(due, now).Add(timerSlack))
}

// idleTimer looks for the timer of a mailbox, in one question for both places: it passes from one to the other.
func (b *Bus) idleTimer(ctx context.Context, id mailbox.ID) (idleTimer, bool, error) {
	stream, err := b.stream(ctx, streamTokenTimers)
	if err != nil {
		return idleTimer{}, false, err
	}
	msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(events.IdleFilter(id)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return idleTimer{}, false, nil
	}
	if err != nil {
		return idleTimer{}, false, fmt.Errorf("look for the timer of a mailbox: %w: %w", ErrUnavailable, err)
	}
	t := idleTimer{seq: msg.Sequence}
	_, t.due = events.IsIdleTimer(msg.Subject)
	if e, err := events.Decode(msg.Data); err == nil {
		t.event = e
	}
	return t, true, nil
}

// setTimer stores a timer where last is the sequence of what it replaces, 0 for nothing. That somebody else has set one
// meanwhile is as good.
func (b *Bus) setTimer(ctx context.Context, timer events.Event, last uint64) error {
	msg, err := eventMsg(ctx, timer)
	if err != nil {
		return err
	}
	if err := b.admitTo(ctx, streamTokenTimers, len(msg.Data)+len(msg.Subject)); err != nil {
		return err
	}
	_, err = b.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(last))
	if err != nil && isConflict(err) {
		return nil
	}
	return publishError(err)
}
