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

// identity lets nothing pass to Warmy before Microsoft has said whose mailbox the tokens open. Redeem and refresh
// both end with it.
type identity struct {
	grants    Records[mailbox.Grant]
	microsoft TokenEndpoint
	now       func() time.Time
}

// prove asks Microsoft and returns the event that asks for the registration. Tokens of somebody else are destroyed,
// unless an operator has accepted that account for this mailbox.
func (i identity) prove(
	ctx context.Context, e events.Event, inv mailbox.Invitation, grant mailbox.Grant, revision uint64,
) ([]events.Event, error) {
	proof, err := i.microsoft.Prove(ctx, e.App, *grant.Tokens, inv.Address)
	other, known := errors.AsType[*MismatchError](err)
	switch {
	case err == nil:
		return i.pass(ctx, e, &proof, grant, revision)
	case known && inv.Accepts(other.Account):
		return i.pass(ctx, e, &other.Account.Proof, grant, revision)
	case known:
		_, err := i.grants.Save(ctx, e.Mailbox, grant.MismatchOf(other.Account, other.Fault, i.now()), revision)
		return nil, saved("mismatch", err)
	case fault.Of(err).Code == CodeMismatch:
		_, err := i.grants.Save(ctx, e.Mailbox, grant.Mismatch(fault.Of(err), i.now()), revision)
		return nil, saved("mismatch", err)
	}
	return nil, fmt.Errorf("prove identity: %w", err)
}

// pass asks for the registration of a mailbox whose owner is proven.
func (i identity) pass(
	ctx context.Context, e events.Event, proof *events.Proof, grant mailbox.Grant, revision uint64,
) ([]events.Event, error) {
	if alive, revived := grant.Revive(i.now()); revived {
		// A replay has helped: without this the mailbox would look dead while it is registered.
		if _, err := i.grants.Save(ctx, e.Mailbox, alive, revision); err != nil {
			return nil, saved("revived grant", err)
		}
	}
	next := e.Follow(events.RegistrationRequested, i.now())
	next.Proof = proof
	return []events.Event{next}, nil
}

// passing reports whether err is Microsoft's word that later may work.
func passing(err error) bool {
	f, ok := errors.AsType[*fault.Fault](err)
	return ok && (f.Class == fault.Transient || f.Class == fault.RetryAfter)
}
