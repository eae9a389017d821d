package handlers

import (
	"context"
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
	Margin      time.Duration // the least life an access token must have for a registration
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
	if !grant.Tokens.Fresh(h.Now(), h.Margin) {
		tokens, err := h.Microsoft.Refresh(ctx, e.App, *grant.Tokens)
		if fault.Is(err, fault.NeedsConsent) {
			return nil, h.revoke(ctx, e, grant, revision, fault.Of(err))
		}
		if err != nil {
			return nil, fmt.Errorf("refresh: %w", err)
		}
		grant = grant.Rotate(tokens, h.Now())
		if revision, err = h.Grants.Save(ctx, e.Mailbox, grant, revision); err != nil {
			return nil, saved("rotated tokens", err)
		}
	}
	proof := identity{h.Grants, h.Microsoft, h.Now}
	if e.Proof == nil {
		return proof.prove(ctx, e, inv, grant, revision)
	}
	return proof.pass(ctx, e, e.Proof, grant, revision)
}

// revoke declares the grant dead only if nobody renewed it meanwhile: a refresh token that somebody else has just
// rotated can look revoked to us.
func (h RefreshGrant) revoke(ctx context.Context, e events.Event, grant mailbox.Grant, revision uint64, f *fault.Fault) error {
	_, err := h.Grants.Save(ctx, e.Mailbox, grant.Revoke(f, h.Now()), revision)
	return saved("revoked grant", err)
}

// Bury records that the bus gave e up.
func (h RefreshGrant) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return buryGrant(ctx, h.Grants, e, f, h.Now())
}
