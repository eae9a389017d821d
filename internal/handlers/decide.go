package handlers

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// DecideMailbox handles RegistrationDecided: an operator says what became of a POST that Warmy did not answer, or which of two
// ids counts. Unless the operator insists, Warmy's listing must not contradict.
type DecideMailbox struct {
	Invitations   Reader[mailbox.Invitation]
	Registrations Records[mailbox.Registration]
	Warmy         Registrar
	Listing       Lister
	Activate      []string      // the accounts whose new mailboxes are to be started
	Apart         time.Duration // how long a POST may still take effect, so that a listing proves no absence
	Now           func() time.Time
}

// Handle does what was decided, if what it speaks of is still unsettled.
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
	case !reg.Unresolved() && (absent || !reg.Two()):
		return h.settled(e, reg)
	case reg.Work().Attempt != e.Attempt || reg.Work().Posts != e.Decision.Posts:
		return nil, outdated()
	}
	if !e.Decision.Forced {
		if err := h.confirm(ctx, e, inv, reg); err != nil {
			return nil, err
		}
	}
	if !absent {
		reg = reg.DeclaredAs(e.Decision.WarmyID, h.Now())
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

// settled compares the decision with what has settled the POST: itself, when it comes again, or something else meanwhile. An
// operator's word that came to nothing must not end in silence.
func (h DecideMailbox) settled(e events.Event, reg mailbox.Registration) ([]events.Event, error) {
	work, absent := reg.Work(), e.Decision.WarmyID == ""
	later := work.Attempt == e.Attempt && work.Posts > e.Decision.Posts // a POST came after it, as after an absence alone
	switch {
	case absent && reg.ProvenAbsent(): // it was saved, and what follows may be missing
		return []events.Event{e.Follow(events.RegistrationRequested, h.Now())}, nil
	case absent && (work.Phase != mailbox.Registered || later):
		return nil, nil
	case !absent && reg.Phase == mailbox.Registered && reg.WarmyID == e.Decision.WarmyID:
		return activation(h.Activate).due(e, reg, h.Now()), nil
	}
	return nil, settledOtherwise()
}

// confirm asks Warmy whether it shows what was decided.
func (h DecideMailbox) confirm(ctx context.Context, e events.Event, inv mailbox.Invitation, reg mailbox.Registration) error {
	if e.Decision.WarmyID == "" {
		return h.confirmAbsence(ctx, e, inv, reg)
	}
	id, found, err := h.Warmy.Find(ctx, e.Account, inv.Address)
	switch {
	case err != nil:
		return fmt.Errorf("find at Warmy: %w", err)
	case found && id != e.Decision.WarmyID:
		return refuted("Warmy lists the address under another id than was decided")
	case !found && e.Decision.WarmyID != reg.Elsewhere: // that one Warmy itself has named
		return refuted("Warmy does not list the address, neither under the id that was given nor under another one")
	}
	return nil
}

// confirmAbsence asks a listing that proves something: one that began when the POST had had its time, and that is to be
// trusted. What it does not show is posted again.
func (h DecideMailbox) confirmAbsence(ctx context.Context, e events.Event, inv mailbox.Invitation, reg mailbox.Registration) error {
	switch {
	case reg.Elsewhere != "":
		return refuted("Warmy has answered the POST with the id " + reg.Elsewhere + ", under another address")
	case reg.Two():
		return refuted("Warmy has answered with a second id: " + reg.Again.OtherID)
	}
	since := reg.Work().Since.Add(h.Apart)
	if early := since.Sub(h.Now()); early > 0 {
		return tooEarly(early)
	}
	seen, err := h.Listing.Look(ctx, e.Account, inv.Address, since)
	switch {
	case err != nil:
		return fmt.Errorf("look at Warmy's listing: %w", err)
	case seen.Found:
		return refuted("Warmy lists the address")
	}
	return nil
}

func tooEarly(by time.Duration) error {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "decision_early", Forecast: fault.ByTime, After: by,
		Cause:  "the POST may still take effect, so that Warmy's listing proves no absence yet",
		Remedy: "none: the decision is carried out when the POST has had its time; force it if that cannot wait",
	}
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

func settledOtherwise() error {
	return &fault.Fault{
		Class: fault.Permanent, Code: "decision_overtaken", Forecast: fault.Never,
		Cause:  "the POST was settled in another way before the operator's decision was carried out",
		Remedy: "look at the mailbox again, and at Warmy: nothing was done for the decision",
	}
}

// Bury leaves the registration as it is: that a decision was not carried out settles nothing.
func (DecideMailbox) Bury(context.Context, events.Event, *fault.Fault) error { return nil }
