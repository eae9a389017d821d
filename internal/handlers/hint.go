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
	// Look returns what Warmy says of it. One that Warmy does not know (any more) is a Permanent fault of CodeGone.
	Look(ctx context.Context, account, warmyID string) (Looked, error)
}

// CodeGone is the code of the fault of a mailbox that Warmy does not know (any more).
const CodeGone = "warmy_gone"

// Looked is what Warmy says of a mailbox. Texts that it does not say are empty.
type Looked struct {
	Address string
	State   string // state_key
	Status  string
}

// broken reports whether Warmy cannot use the mailbox's tokens: by its state, or because it is blocked, for which no other
// reason is given.
func (l Looked) broken() bool {
	return slices.Contains([]string{"reconnect", "credentials", "less_secure"}, l.State) || l.Status == "blocked" && !slices.Contains(otherMatters(), l.State)
}

// otherMatters are Warmy's states of a mailbox that fresh tokens do not change.
func otherMatters() []string {
	return []string{
		"expired", "domain", "folder", "quota", "server", "unusual_activity", "invalid_email", "full_storage", "unconfigured_domain", "not_active",
	}
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
	seen, err := h.Warmy.Look(ctx, hint.Account, hint.WarmyID)
	if err != nil {
		return nil, fmt.Errorf("look at the mailbox: %w", err)
	}
	if !seen.broken() {
		return nil, nil // Warmy can use it, or something else is the matter
	}
	for _, app := range h.Apps {
		inv, ours, err := h.find(ctx, h.IDs.Mailbox(app, seen.Address), hint)
		if err != nil || ours {
			return h.repair(inv), err
		}
	}
	return nil, &fault.Fault{
		Class: fault.Permanent, Code: "hint_unknown", Forecast: fault.Never,
		Cause:  "Warmy's mailbox is none that was registered from here",
		Remedy: "none: ignore it if another installation, or a person, connected the mailbox; discard the dead letter",
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
