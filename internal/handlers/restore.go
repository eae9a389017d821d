package handlers

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// Stored tells what the streams hold of a mailbox.
type Stored interface {
	// Waiting reports whether any event of the mailbox waits for its handler or for its time.
	Waiting(ctx context.Context, id mailbox.ID) (bool, error)
	// Buried reports whether the mailbox has a dead letter, or an operator has discarded one since the given time.
	Buried(ctx context.Context, id mailbox.ID, since time.Time) (bool, error)
}

// Loss is an event, or a dead letter, that a mailbox must have and has nowhere.
type Loss struct {
	Due   mailbox.Due
	Event events.Event // to be published, or to be kept in the dead letter; of no kind when no event can help
	Asked bool         // whether the streams were asked, which is what a look costs most for
}

// Missing reports whether anything is.
func (l Loss) Missing() bool { return l.Due.Remedy != mailbox.NothingDue }

// search finds out whether the event that a mailbox's facts ask for is anywhere.
type search struct {
	stored Stored
	still  time.Duration
	now    time.Time
}

// find returns what is missing. Facts that have moved lately are left alone: their event may be on its way between two
// streams.
func (s search) find(ctx context.Context, inv mailbox.Invitation, due mailbox.Due) (Loss, error) {
	if due.Remedy == mailbox.NothingDue || s.now.Before(due.Since.Add(s.still)) {
		return Loss{}, nil
	}
	waiting, err := s.stored.Waiting(ctx, inv.ID)
	if err != nil || waiting {
		return Loss{Asked: true}, err
	}
	if due.Remedy == mailbox.RestoreLetter {
		buried, err := s.stored.Buried(ctx, inv.ID, due.Since)
		if err != nil || buried || due.Finding == nil {
			return Loss{Asked: true}, err
		}
	}
	return Loss{Due: due, Event: reissued(inv, due, s.now), Asked: true}, nil
}

// reissued makes the lost event anew. Its id derives from the facts that ask for it: until they move, every run makes the
// same one. Its life begins now.
func reissued(inv mailbox.Invitation, due mailbox.Due, now time.Time) events.Event {
	if due.Remedy == mailbox.LoseConsent {
		return events.Event{}
	}
	e := events.New(due.Kind, "restored|"+inv.ID+"|"+due.Attempt+"|"+due.Since.UTC().Format(time.RFC3339Nano), now)
	e.Mailbox, e.App, e.Account, e.Campaign = inv.ID, inv.App, inv.Account, inv.Campaign
	e.Attempt, e.Proof, e.Restored = due.Attempt, due.Proof, true
	return e
}

// RestoreGrants is token-worker's half of the reconciliation of facts and events: codes, proofs and refreshes.
type RestoreGrants struct {
	Invitations   Reader[mailbox.Invitation]
	Claims        Reader[mailbox.Claim]
	Grants        Records[mailbox.Grant]
	Registrations Reader[mailbox.Registration]
	Stored        Stored
	Still         time.Duration // how long the facts must have rested
	Now           func() time.Time
}

// Lost returns what a mailbox must have and has nowhere. It changes nothing.
func (h RestoreGrants) Lost(ctx context.Context, id mailbox.ID) (Loss, error) {
	loss, _, _, err := h.look(ctx, id)
	return loss, err
}

// Mend looks again and saves what follows for the facts. What it returns is still to be published.
func (h RestoreGrants) Mend(ctx context.Context, id mailbox.ID) (Loss, error) {
	loss, facts, revision, err := h.look(ctx, id)
	if err != nil || loss.Due.Remedy != mailbox.LoseConsent {
		return loss, err
	}
	_, err = h.Grants.Save(ctx, id, facts.LoseCode(loss.Due.Attempt, h.Now()), revision)
	return loss, saved("lost consent", err)
}

// look asks the dearest questions last: most mailboxes are registered.
func (h RestoreGrants) look(ctx context.Context, id mailbox.ID) (loss Loss, f mailbox.Facts, revision uint64, err error) {
	if f.Registration, _, err = h.Registrations.Load(ctx, id); err != nil {
		return Loss{}, f, 0, loaded("registration", err)
	}
	if f.Grant, revision, err = h.Grants.Load(ctx, id); err != nil || f.Registration.Phase == mailbox.Registered && f.Grant.Tokens != nil {
		return Loss{}, f, 0, loaded("grant", err)
	}
	if f.Claim, _, err = h.Claims.Load(ctx, id); err != nil {
		return Loss{}, f, 0, loaded("claim", err)
	}
	if f.Invitation, _, err = h.Invitations.Load(ctx, id); err != nil {
		return Loss{}, f, 0, loaded("invitation", err)
	}
	now := h.Now()
	loss, err = search{h.Stored, h.Still, now}.find(ctx, f.Invitation, f.GrantDue(now))
	return loss, f, revision, err
}

// RestoreRegistrations is warmy-worker's half: registrations and reconciles.
type RestoreRegistrations struct {
	Invitations   Reader[mailbox.Invitation]
	Grants        Reader[mailbox.Grant]
	Registrations Records[mailbox.Registration]
	Stored        Stored
	Still         time.Duration // how long the facts must have rested
	Now           func() time.Time
}

// Lost returns what a mailbox must have and has nowhere. It changes nothing.
func (h RestoreRegistrations) Lost(ctx context.Context, id mailbox.ID) (Loss, error) {
	loss, _, _, err := h.look(ctx, id)
	return loss, err
}

// Mend looks again and saves what follows for the facts: an intent whose owner is gone is unclear. What it returns is
// still to be published.
func (h RestoreRegistrations) Mend(ctx context.Context, id mailbox.ID) (Loss, error) {
	loss, reg, revision, err := h.look(ctx, id)
	if err != nil || !loss.Missing() {
		return loss, err
	}
	if unclear, abandoned := reg.Abandoned(h.Now()); abandoned {
		_, err = h.Registrations.Save(ctx, id, unclear, revision)
	}
	return loss, saved("abandoned registration", err)
}

func (h RestoreRegistrations) look(ctx context.Context, id mailbox.ID) (loss Loss, reg mailbox.Registration, revision uint64, err error) {
	if reg, revision, err = h.Registrations.Load(ctx, id); err != nil || reg.Work().Phase == mailbox.Registered {
		return Loss{}, reg, 0, loaded("registration", err)
	}
	f := mailbox.Facts{Registration: reg}
	if f.Grant, _, err = h.Grants.Load(ctx, id); err != nil {
		return Loss{}, reg, 0, loaded("grant", err)
	}
	if f.Invitation, _, err = h.Invitations.Load(ctx, id); err != nil {
		return Loss{}, reg, 0, loaded("invitation", err)
	}
	now := h.Now()
	loss, err = search{h.Stored, h.Still, now}.find(ctx, f.Invitation, f.RegistrationDue(now))
	return loss, reg, revision, err
}

func loaded(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("load %s: %w", what, err)
}
