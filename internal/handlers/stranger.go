package handlers

import (
	"context"
	"fmt"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// The codes of the faults of events about mailboxes that are not ours, or not this app's, or that no edge has published.
const (
	codeUnknown    = "mailbox_unknown"
	codeForeign    = "mailbox_of_another_app"
	codeNotClaimed = "code_not_claimed"
)

// invited returns the invitation that e is about; live is false when the mailbox was erased: what still arrives has no
// effect. A mailbox that was never invited is an error: its record is lost, or the event is no producer's of ours.
func invited(ctx context.Context, invitations Reader[mailbox.Invitation], e events.Event) (inv mailbox.Invitation, live bool, err error) {
	inv, revision, err := invitations.Load(ctx, e.Mailbox)
	switch {
	case err != nil:
		return inv, false, fmt.Errorf("load invitation: %w", err)
	case revision == 0:
		return inv, false, &fault.Fault{
			Class: fault.Permanent, Code: codeUnknown, Forecast: fault.ByConfig,
			Cause:  "no mailbox of this id was ever invited",
			Remedy: "if its record was lost, restore it and replay; else find the event's producer and discard the dead letter",
		}
	case inv.App != e.App:
		return inv, false, &fault.Fault{
			Class: fault.Permanent, Code: codeForeign, Forecast: fault.Never,
			Cause:  "the event names another app than the mailbox was invited with",
			Remedy: "find the event's producer; discard the dead letter",
		}
	}
	return inv, inv.ErasedAt.IsZero(), nil
}

// strange reports whether f is about an event that no fact may be changed for.
func strange(f *fault.Fault) bool {
	return f.Code == codeUnknown || f.Code == codeForeign || f.Code == codeNotClaimed
}

// grantNotVisible is the fault of an event that asks for work on a grant of which nothing is stored. Grants are stored
// before such events, so the store's answer is old (a new leader), or the record is lost.
func grantNotVisible() error {
	return &fault.Fault{
		Class: fault.Transient, Code: "grant_not_visible", Forecast: fault.ByTime,
		Cause:  "the event speaks of a grant that the store does not show",
		Remedy: "if the record was lost, restore it; then replay",
	}
}
