package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// Turns shares the pace of refreshes by policy among all processes.
type Turns interface {
	// Turn waits for the app's next turn. It returns false at once if so many others wait that this would take long.
	Turn(ctx context.Context, app string) (bool, error)
}

// KeepGrant handles GrantIdle: it refreshes tokens that nobody has used for as long as the policy says, and returns the
// mailbox's next timer. The facts decide, not the event: whatever woke the mailbox, its tokens are refreshed when they are
// due, and only then.
type KeepGrant struct {
	Invitations Reader[mailbox.Invitation]
	Grants      Records[mailbox.Grant]
	Microsoft   TokenEndpoint
	Policy      mailbox.KeepAlive
	Pace        Turns                // nil: not paced
	Count       func(outcome string) // one of RefreshOutcomes; may be nil
	Now         func() time.Time
}

// Handle keeps the grant of e's mailbox alive.
func (h KeepGrant) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	renew := renewal{h.Grants, h.Microsoft, h.Count, h.Now}
	if !h.Policy.On() {
		renew.counted(RefreshEnded)
		return nil, nil
	}
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil {
		return nil, err
	}
	grant, revision, err := h.Grants.Load(ctx, e.Mailbox)
	switch {
	case err != nil:
		return nil, fmt.Errorf("load grant: %w", err)
	case live && revision == 0:
		return nil, grantNotVisible()
	case !live, !grant.Refreshable(), grant.Dead() && e.Renewed.IsZero(): // what was given up waits for an operator's replay
		renew.counted(RefreshEnded)
		return nil, nil
	}
	if !grant.Dead() && !h.Policy.Idle(e.Mailbox, *grant.Tokens, h.Now()) {
		renew.counted(RefreshNotDue)
		return h.next(inv, grant), nil
	}
	if turn, err := h.turn(ctx, e.App); err != nil || !turn {
		renew.counted(RefreshNoTurn)
		return []events.Event{mailbox.IdleEvent(inv, *grant.Tokens, h.Policy.Again(inv.ID, h.Now()))}, err
	}
	grant, _, err = renew.refresh(ctx, e.Mailbox, e.App, grant, revision)
	if errors.Is(err, errWithheld) {
		return []events.Event{mailbox.IdleEvent(inv, *grant.Tokens, h.Now().Add(mailbox.AskAgain))}, nil
	}
	if err != nil {
		return nil, err
	}
	return h.next(inv, grant), nil
}

func (h KeepGrant) turn(ctx context.Context, app string) (bool, error) {
	if h.Pace == nil {
		return true, nil
	}
	turn, err := h.Pace.Turn(ctx, app)
	if err != nil {
		return false, fmt.Errorf("wait for a turn: %w", err)
	}
	return turn, nil
}

// next is the mailbox's next timer. It has none when its tokens were revoked: only a new consent helps, and with its
// tokens comes a new timer.
func (h KeepGrant) next(inv mailbox.Invitation, grant mailbox.Grant) []events.Event {
	if grant.Tokens == nil {
		return nil
	}
	return []events.Event{mailbox.IdleEvent(inv, *grant.Tokens, h.Policy.Next(inv.ID, *grant.Tokens, h.Now()))}
}

// Bury records that the bus gave e up. The mailbox gets no timer until the dead letter is replayed, or a refresh for
// another reason succeeds.
func (h KeepGrant) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return buryGrant(ctx, h.Grants, e, f, h.Now())
}

// IdleTimers says which grants must have a timer. It is for the walk over the grants: the first timer of a grant comes
// from there, so that the way from the code to the registration carries no write for it.
type IdleTimers struct {
	Invitations Reader[mailbox.Invitation]
	Grants      Reader[mailbox.Grant]
	Policy      mailbox.KeepAlive
	Apps        []string // whose grants this kind of process refreshes
	Now         func() time.Time
}

// Due returns when tokens must be refreshed; the zero time when never.
func (h IdleTimers) Due(id mailbox.ID, t mailbox.Tokens) time.Time { return h.Policy.Due(id, t) }

// Timer returns the timer of a mailbox that has none, and whether it must have one.
func (h IdleTimers) Timer(ctx context.Context, id mailbox.ID) (timer events.Event, due bool, err error) {
	var f mailbox.Facts
	if f.Grant, _, err = h.Grants.Load(ctx, id); err != nil {
		return events.Event{}, false, loaded("grant", err)
	}
	if f.Invitation, _, err = h.Invitations.Load(ctx, id); err != nil {
		return events.Event{}, false, loaded("invitation", err)
	}
	if !h.Policy.On() || !f.IdleDue() || !slices.Contains(h.Apps, f.Invitation.App) {
		return events.Event{}, false, nil
	}
	return mailbox.IdleEvent(f.Invitation, *f.Grant.Tokens, h.Policy.Next(id, *f.Grant.Tokens, h.Now())), true, nil
}
