package handlers

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// ReconcileMailbox handles RegistrationUnclear: Warmy's listing decides whether a POST took effect. A mailbox that is
// listed is adopted; one that is absent twice in a row, Apart from each other, is posted again.
type ReconcileMailbox struct {
	Invitations   Reader[mailbox.Invitation]
	Registrations Records[mailbox.Registration]
	Listing       Lister
	Activate      []string      // the accounts whose new mailboxes are to be started
	Apart         time.Duration // the least time between two listings that count
	Now           func() time.Time
}

// Handle settles e's mailbox.
func (h ReconcileMailbox) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live {
		return nil, err
	}
	reg, revision, err := h.Registrations.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load registration: %w", err)
	}
	if !e.Renewed.IsZero() {
		reg = reg.Recheck(h.Now())
	}
	if reg = reg.Reopen(h.Now()); reg.Work().Phase != mailbox.Uncertain {
		return h.settled(e, reg)
	}
	since := h.since(e, reg) // of what is reopened by now: an operator may have put Warmy right just before his replay
	if h.Now().Before(since) {
		return []events.Event{e.Later(since)}, nil // what a listing shows before proves nothing
	}
	return h.list(ctx, e, inv, reg, revision, since)
}

// since is when the listing must have begun that may settle reg: Apart after the last one that did not show the mailbox,
// or when the POST has had its time, and never before the replay that asks. That is told by the facts as long as they can tell
// it, because all who are unclear for as long can share one listing, and each delivery has a time of its own.
func (h ReconcileMailbox) since(e events.Event, reg mailbox.Registration) time.Time {
	reg = reg.Work()
	since := reg.AbsentAt.Add(h.Apart)
	if reg.Absences == 0 {
		since = later(reg.Since, earlier(e.NotBefore, reg.Since.Add(h.Apart)))
	}
	return later(since, earlier(e.Renewed, h.Now())) // the console's clock may be wrong
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settled returns what may still be missing after the listing has spoken: the worker can have stopped between its
// last save and what follows from it.
func (h ReconcileMailbox) settled(e events.Event, reg mailbox.Registration) ([]events.Event, error) {
	switch {
	case reg.ProvenAbsent():
		return []events.Event{e.Follow(events.RegistrationRequested, h.Now())}, nil
	case reg.Two() && reg.Work().Phase == mailbox.Registered:
		return nil, mailbox.SecondID(reg.Again.OtherID)
	}
	follow := activation(h.Activate).due(e, reg, h.Now())
	if reg.Work().Phase == mailbox.Registered && reg.Attempt != e.Attempt {
		// The POST that is settled was made for another consent, and e came of a request that found it unclear.
		follow = append(follow, e.Follow(events.RegistrationRequested, h.Now()))
	}
	return follow, nil
}

func (h ReconcileMailbox) list(
	ctx context.Context, e events.Event, inv mailbox.Invitation, reg mailbox.Registration, revision uint64, since time.Time,
) ([]events.Event, error) {
	seen, err := h.Listing.Look(ctx, e.Account, inv.Address, since)
	if err != nil {
		return nil, fmt.Errorf("look at Warmy's listing: %w", err)
	}
	if seen.Found {
		if e.Renewed.IsZero() {
			reg = reg.Created(seen.ID, true, h.Now())
		} else {
			reg = reg.Relisted(seen.ID, h.Now())
		}
		if _, err := h.Registrations.Save(ctx, e.Mailbox, reg, revision); err != nil {
			return nil, saved("adopted registration", err)
		}
		return h.settled(e, reg)
	}
	return h.absent(ctx, e, reg, revision, seen.Began)
}

func (h ReconcileMailbox) absent(
	ctx context.Context, e events.Event, reg mailbox.Registration, revision uint64, began time.Time,
) ([]events.Event, error) {
	next, verdict := reg.Absent(began, h.Apart)
	if next != reg {
		if _, err := h.Registrations.Save(ctx, e.Mailbox, next, revision); err != nil {
			return nil, saved("absence", err)
		}
	}
	switch verdict {
	case mailbox.Proceed:
		return h.settled(e, next)
	case mailbox.Refuse:
		return nil, unlisted(next)
	case mailbox.Wait, mailbox.Done, mailbox.Resume:
	}
	return []events.Event{e.Later(next.Work().AbsentAt.Add(h.Apart))}, nil
}

// unlisted is the fault of a mailbox that is not posted again although no listing shows it.
func unlisted(reg mailbox.Registration) *fault.Fault {
	switch {
	case reg.Elsewhere != "":
		return mailbox.OtherAddress(reg.Elsewhere)
	case reg.Two():
		return mailbox.SecondID(reg.Again.OtherID)
	case reg.TakenElsewhere():
		return takenElsewhere()
	}
	return &fault.Fault{
		Class: fault.Permanent, Code: "warmy_never_listed", Forecast: fault.ByTime,
		Cause:  "Warmy answered none of several POSTs clearly, and its listing never showed the mailbox",
		Remedy: "look the address up in Warmy; replay if it is not there",
	}
}

func takenElsewhere() *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "warmy_taken_elsewhere", Forecast: fault.ByConfig,
		Cause:  "Warmy says that it has the address already, and the account's listing does not show it: somebody else has connected it",
		Remedy: "find who has the address at Warmy (another workspace, or its support); replay when it is removed there, or adopt the mailbox",
	}
}

// Bury records that the bus gave e up.
func (h ReconcileMailbox) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return buryRegistration(ctx, h.Registrations, e, f, h.Now())
}
