package handlers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// activation says for which accounts new mailboxes are to be started.
type activation []string

// due returns the event that starts the warm-up of a mailbox that Warmy has just made, if it is to be started. It is asked
// again for whenever a redelivery finds the registration settled: the worker can have stopped before it had said so.
func (a activation) due(e events.Event, reg mailbox.Registration, now time.Time) []events.Event {
	// What the listing has shown may be an earlier consent's POST than the one that e speaks of.
	if !slices.Contains(a, e.Account) || !reg.Inactive() || reg.Attempt != e.Attempt && !reg.Adopted {
		return nil
	}
	return []events.Event{e.Follow(events.ActivationRequested, now)}
}

// ActivateMailbox handles ActivationRequested: it starts the warm-up of a mailbox that was registered. It has a life of its
// own: whatever becomes of it, the mailbox stays registered.
type ActivateMailbox struct {
	Invitations   Reader[mailbox.Invitation]
	Registrations Records[mailbox.Registration]
	Warmy         Starter
	Now           func() time.Time
}

// Handle starts the warm-up of e's mailbox.
func (h ActivateMailbox) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	_, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live {
		return nil, err
	}
	reg, revision, err := h.Registrations.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load registration: %w", err)
	}
	if !reg.Startable() { // that it is to be started, the event says: a POST that came after it changes nothing
		return nil, nil
	}
	if err := h.Warmy.Activate(ctx, e.Account, reg.WarmyID); err != nil {
		return nil, fmt.Errorf("activate: %w", err)
	}
	_, err = h.Registrations.Save(ctx, e.Mailbox, reg.Activate(h.Now()), revision)
	return nil, saved("activation", err)
}

// Bury records nothing: the dead letter says it, and what is registered stays registered.
func (ActivateMailbox) Bury(context.Context, events.Event, *fault.Fault) error { return nil }
