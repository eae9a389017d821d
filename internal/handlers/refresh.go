package handlers

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// RefreshGrant handles RefreshRequested: it renews tokens that live too short for a registration, and asks for the
// registration again. Rotated tokens are stored before anyone may use them.
type RefreshGrant struct {
	Grants    Records[mailbox.Grant]
	Microsoft TokenEndpoint
	Margin    time.Duration // the least life an access token must have for a registration
	Now       func() time.Time
}

// Handle refreshes the tokens of e's mailbox.
func (h RefreshGrant) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	grant, revision, err := h.Grants.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load grant: %w", err)
	}
	if grant.Tokens == nil || grant.Tokens.Attempt != e.Attempt {
		return nil, nil // revoked, erased or renewed meanwhile
	}
	register := e.Follow(events.RegistrationRequested, h.Now())
	if grant.Tokens.Fresh(h.Now(), h.Margin) {
		return []events.Event{register}, revive(ctx, h.Grants, e.Mailbox, grant, revision, h.Now())
	}
	tokens, err := h.Microsoft.Refresh(ctx, e.App, *grant.Tokens)
	if fault.Is(err, fault.NeedsConsent) {
		return nil, h.revoke(ctx, e, grant, revision, fault.Of(err))
	}
	if err != nil {
		return nil, fmt.Errorf("refresh: %w", err)
	}
	if _, err := h.Grants.Save(ctx, e.Mailbox, grant.Rotate(tokens, h.Now()), revision); err != nil {
		return nil, saved("rotated tokens", err)
	}
	return []events.Event{register}, nil
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
