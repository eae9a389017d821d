package handlers

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// DecideMailbox handles RegistrationDecided: an operator says what became of a POST that Warmy did not answer. Unless the
// operator insists, Warmy's listing must not contradict.
type DecideMailbox struct {
	Invitations   Reader[mailbox.Invitation]
	Registrations Records[mailbox.Registration]
	Warmy         Registrar
	Activate      []string // the accounts whose new mailboxes are to be started
	Now           func() time.Time
}

// Handle does what was decided, if the POST that it speaks of is still unsettled.
func (h DecideMailbox) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live || e.Decision == nil {
		return nil, err
	}
	reg, revision, err := h.Registrations.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load registration: %w", err)
	}
	absent := e.Decision.WarmyID == ""
	switch {
	case !reg.Unresolved() && absent && reg.ProvenAbsent(): // it was saved, and what follows may be missing
		return []events.Event{e.Follow(events.RegistrationRequested, h.Now())}, nil
	case !reg.Unresolved():
		return nil, nil // it was settled meanwhile
	case reg.Work().Attempt != e.Attempt || reg.Work().Posts != e.Decision.Posts:
		return nil, outdated()
	}
	if !e.Decision.Forced {
		if err := h.confirm(ctx, e, inv); err != nil {
			return nil, err
		}
	}
	if !absent {
		reg = reg.DeclaredCreated(e.Decision.WarmyID, h.Now())
		if _, err := h.Registrations.Save(ctx, e.Mailbox, reg, revision); err != nil {
			return nil, saved("decided registration", err)
		}
		return activation(h.Activate).due(e, reg, h.Now()), nil
	}
	if _, err := h.Registrations.Save(ctx, e.Mailbox, reg.DeclaredAbsent(h.Now()), revision); err != nil {
		return nil, saved("decided absence", err)
	}
	return []events.Event{e.Follow(events.RegistrationRequested, h.Now())}, nil
}

// confirm asks Warmy whether it shows what was decided.
func (h DecideMailbox) confirm(ctx context.Context, e events.Event, inv mailbox.Invitation) error {
	id, found, err := h.Warmy.Find(ctx, e.Account, inv.Address)
	switch {
	case err != nil:
		return fmt.Errorf("find at Warmy: %w", err)
	case found && id != e.Decision.WarmyID:
		return refuted("Warmy lists the address under another id than was decided")
	case !found && e.Decision.WarmyID != "":
		return refuted("Warmy does not list the address, neither under the id that was given nor under another one")
	}
	return nil
}

func refuted(cause string) error {
	return &fault.Fault{
		Class: fault.Permanent, Code: "decision_refuted", Forecast: fault.Never, Cause: cause,
		Remedy: "look the address up at Warmy and decide again; force it if Warmy's listing is wrong",
	}
}

func outdated() error {
	return &fault.Fault{
		Class: fault.Permanent, Code: "decision_overtaken", Forecast: fault.Never,
		Cause:  "the mailbox was posted again after the operator had decided about an earlier POST",
		Remedy: "look at the mailbox again, and decide about the POST that is unclear now",
	}
}

// Bury leaves the registration as it is: that a decision was not carried out settles nothing.
func (DecideMailbox) Bury(context.Context, events.Event, *fault.Fault) error { return nil }
