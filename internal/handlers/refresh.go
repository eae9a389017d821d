package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// RefreshGrant handles RefreshRequested: it renews tokens that live too short for a registration, proves whose mailbox
// they open if that is not proven yet, and asks for the registration. Rotated tokens are stored before anyone may use
// them.
type RefreshGrant struct {
	Invitations Reader[mailbox.Invitation]
	Grants      Records[mailbox.Grant]
	Microsoft   TokenEndpoint
	Margin      time.Duration        // the least life an access token must have for a registration
	Count       func(outcome string) // one of RefreshOutcomes; may be nil
	Now         func() time.Time
}

// Handle refreshes the tokens of e's mailbox.
func (h RefreshGrant) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live {
		return nil, err
	}
	grant, revision, err := h.Grants.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load grant: %w", err)
	}
	if revision == 0 {
		return nil, grantNotVisible()
	}
	if grant.Tokens == nil || grant.Tokens.Attempt != e.Attempt {
		return nil, nil // revoked or renewed meanwhile
	}
	refused := !e.Refused.IsZero() && !grant.Tokens.SavedAt.After(e.Refused)
	if refused || !grant.Tokens.Fresh(h.Now(), h.Margin) {
		renew := renewal{h.Grants, h.Microsoft, h.Count, h.Now}
		grant, revision, err = renew.refresh(ctx, e.Mailbox, e.App, grant, revision)
		if errors.Is(err, errWithheld) {
			return []events.Event{e.Follow(events.RefreshRequested, h.Now()).Later(h.Now().Add(mailbox.AskAgain))}, nil
		}
		if err != nil {
			return nil, err
		}
		if grant.Tokens == nil || grant.Tokens.Attempt != e.Attempt {
			return nil, nil // revoked, or renewed by another consent
		}
	}
	proof := identity{h.Grants, h.Microsoft, h.Now}
	var follow []events.Event
	if e.Proof == nil {
		follow, err = proof.prove(ctx, e, inv, grant, revision)
	} else {
		follow, err = proof.pass(ctx, e, e.Proof, grant, revision)
	}
	for i := range follow {
		follow[i].Refused = e.Refused // so that it is known which tokens came of the refresh
	}
	return follow, err
}

// Bury records that the bus gave e up.
func (h RefreshGrant) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return buryGrant(ctx, h.Grants, e, f, h.Now())
}
