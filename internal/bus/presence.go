package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// Presence tells what the streams hold of a mailbox, by subject alone: it reads no message. It implements
// handlers.Stored.
type Presence struct{ bus *Bus }

// Presence returns a view of the streams by mailbox.
func (b *Bus) Presence() Presence { return Presence{b} }

// place is a part of a stream.
type place struct{ stream, filter string }

// places are where an event of a mailbox can wait. Both subjects of a timer are asked for in one question: it passes
// from one to the other when its time has come.
func places(id mailbox.ID) []place {
	return []place{
		{streamCode, "kindling.code.*." + id},
		{streamRegister, "kindling.register.*.*." + id},
		{streamRefresh, "kindling.refresh.*." + id},
		{streamTokenTimers, "kindling.*.*.*." + id + ".*"},
		{streamWarmyTimers, "kindling.*.*.*." + id + ".*"},
	}
}

// Waiting reports whether any event of the mailbox waits for its handler or for its time. The timer of an idle grant is
// none: it moves no mailbox, and would hide that the event which does is lost.
func (p Presence) Waiting(ctx context.Context, id mailbox.ID) (bool, error) {
	for _, at := range places(id) {
		if found, err := p.holds(ctx, at); err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// Buried reports whether the mailbox has a dead letter, or an operator has discarded one since then.
func (p Presence) Buried(ctx context.Context, id mailbox.ID, since time.Time) (bool, error) {
	found, err := p.holds(ctx, place{streamDead, "kindling.dead.*.*." + id})
	if err != nil || found {
		return found, err
	}
	last, _, err := p.bus.discarded(ctx, id)
	return last.After(since), err
}

func (p Presence) holds(ctx context.Context, at place) (bool, error) {
	stream, err := p.bus.stream(ctx, at.stream)
	if err != nil {
		return false, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(at.filter))
	if err != nil {
		return false, fmt.Errorf("ask %s for a mailbox: %w: %w", at.stream, ErrUnavailable, err)
	}
	for subject := range info.State.Subjects {
		if idle, _ := events.IsIdleTimer(subject); !idle {
			return true, nil
		}
	}
	return false, nil
}

// discardedKey is where it is written down that an operator has discarded a dead letter of a mailbox: its absence is
// meant, then.
func discardedKey(id mailbox.ID) string { return "discarded." + id }

type discard struct {
	At time.Time `json:"at"`
}

func (b *Bus) discarded(ctx context.Context, id mailbox.ID) (last time.Time, revision uint64, err error) {
	data, revision, err := kv{b, bucketControl}.get(ctx, discardedKey(id))
	if err != nil || revision == 0 {
		return time.Time{}, revision, err
	}
	var d discard
	_ = json.Unmarshal(data, &d) // unreadable: as if it were not there
	return d.At, revision, nil
}

// markDiscarded comes before the letter's removal: a letter that is restored against an operator's will would come back
// for ever.
func (b *Bus) markDiscarded(ctx context.Context, id mailbox.ID) error {
	data, err := json.Marshal(discard{At: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode discard: %w", err)
	}
	for range changeTries {
		_, revision, err := b.discarded(ctx, id)
		if err != nil {
			return err
		}
		if _, err = (kv{b, bucketControl}).put(ctx, discardedKey(id), data, revision); !errors.Is(err, handlers.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("write down the discard: %w", handlers.ErrConflict)
}
