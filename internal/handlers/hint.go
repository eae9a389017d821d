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

// Looker looks a mailbox up at Warmy. Every error is a classified fault.
type Looker interface {
	// Look returns its address and its state, as Warmy has them.
	Look(ctx context.Context, account, warmyID string) (address, state string, err error)
}

// Namer derives the ids of mailboxes.
type Namer interface {
	Mailbox(app, address string) mailbox.ID
}

// HeedHint takes the look that a webhook of Warmy asks for, and asks for a repair if Warmy itself says that it cannot use a
// mailbox's tokens. A hint is believed in nothing: whoever sends false ones causes one call each, and no more.
type HeedHint struct {
	Invitations   Reader[mailbox.Invitation]
	Registrations Reader[mailbox.Registration]
	Warmy         Looker
	IDs           Namer
	Apps          []string // among whose mailboxes it is looked for
	Now           func() time.Time
}

// Handle looks at the mailbox that the hint names.
func (h HeedHint) Handle(ctx context.Context, hint events.Hint) ([]events.Event, error) {
	address, state, err := h.Warmy.Look(ctx, hint.Account, hint.WarmyID)
	if err != nil {
		return nil, fmt.Errorf("look at the mailbox: %w", err)
	}
	if !slices.Contains([]string{"reconnect", "credentials", "less_secure"}, state) {
		return nil, nil // Warmy can use it, or something else is the matter
	}
	for _, app := range h.Apps {
		inv, ours, err := h.find(ctx, h.IDs.Mailbox(app, address), hint)
		if err != nil || ours {
			return h.repair(inv), err
		}
	}
	return nil, &fault.Fault{
		Class: fault.Permanent, Code: "hint_unknown", Forecast: fault.Never,
		Cause: "Warmy's mailbox is none that was registered from here", Remedy: "none",
	}
}

func (h HeedHint) find(ctx context.Context, id mailbox.ID, hint events.Hint) (inv mailbox.Invitation, ours bool, err error) {
	reg, _, err := h.Registrations.Load(ctx, id)
	if err != nil || reg.Phase != mailbox.Registered || reg.WarmyID != hint.WarmyID {
		return inv, false, loaded("registration", err)
	}
	inv, _, err = h.Invitations.Load(ctx, id)
	return inv, err == nil && inv.ID == id && inv.Account == hint.Account && inv.ErasedAt.IsZero(), loaded("invitation", err)
}

// repair asks for fresh tokens, and for Warmy to be told of them; at most once a day for each mailbox, because what Warmy
// says may not change with it.
func (h HeedHint) repair(inv mailbox.Invitation) []events.Event {
	if inv.ID == "" {
		return nil
	}
	now := h.Now().UTC()
	e := events.New(events.ReconnectRequested, "hint|"+inv.ID+"|"+now.Format(time.DateOnly), now)
	e.Mailbox, e.App, e.Account, e.Campaign = inv.ID, inv.App, inv.Account, inv.Campaign
	e.Refused = now
	return []events.Event{e}
}
