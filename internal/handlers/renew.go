package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// The outcomes of refreshes, as they are counted.
const (
	RefreshDone      = "refreshed"
	RefreshOvertaken = "overtaken" // somebody else was quicker; the call was not needed
	RefreshRevoked   = "revoked"
	RefreshWithheld  = "withheld" // Microsoft wants a person first; the tokens are kept
	RefreshFailed    = "failed"
	RefreshNotDue    = "not_due"   // by policy: the tokens were used meanwhile
	RefreshNoTurn    = "no_turn"   // by policy: too many others wait for the pace; asked again a little later
	RefreshEnded     = "timer_end" // by policy: there is nothing to refresh any more, or the policy is off
)

// RefreshOutcomes lists them.
func RefreshOutcomes() []string {
	return []string{RefreshDone, RefreshOvertaken, RefreshRevoked, RefreshWithheld, RefreshFailed, RefreshNotDue, RefreshNoTurn, RefreshEnded}
}

// errWithheld says that Microsoft renews the tokens only after the owner or the tenant's admin has acted. That is recorded,
// and they are to be asked for again after mailbox.AskAgain.
var errWithheld = errors.New("the tokens are withheld")

// renewal refreshes the tokens of one grant with one call, and stores what comes of it before anyone may use it.
//
// Nothing keeps two workers from refreshing the same grant at once: Microsoft lets a refresh token be used twice, and the
// save lets one of them win. A server that does not may say to one that the token is revoked; so the grant is read again
// before that is believed, and tokens that arrive later than the verdict win over it.
type renewal struct {
	grants    Records[mailbox.Grant]
	microsoft TokenEndpoint
	count     func(outcome string) // may be nil
	now       func() time.Time
}

// refresh returns the grant as it is stored then. It may be without tokens, or with somebody else's.
func (r renewal) refresh(
	ctx context.Context, id mailbox.ID, app string, grant mailbox.Grant, revision uint64,
) (mailbox.Grant, uint64, error) {
	mine := *grant.Tokens
	tokens, err := r.microsoft.Refresh(ctx, app, mine)
	switch {
	case fault.Is(err, fault.NeedsConsent):
		return r.refused(ctx, id, mine, fault.Of(err))
	case err != nil:
		r.counted(RefreshFailed)
		return grant, revision, fmt.Errorf("refresh: %w", err)
	}
	return r.store(ctx, id, grant, revision, tokens)
}

// store does not give up easily, and overwrites nothing that is newer.
func (r renewal) store(
	ctx context.Context, id mailbox.ID, grant mailbox.Grant, revision uint64, tokens mailbox.Tokens,
) (mailbox.Grant, uint64, error) {
	mine := *grant.Tokens
	next, revision, ours, err := saveMerged(ctx, r.grants, id, grant.Rotate(tokens, r.now()), revision, func(current mailbox.Grant) (mailbox.Grant, bool) {
		return current.Renew(mine, tokens, r.now())
	})
	switch {
	case err != nil:
		r.counted(RefreshFailed)
		return next, revision, saved("rotated tokens", err)
	case !ours:
		r.counted(overtaken(next, tokens))
		return next, revision, nil
	}
	r.counted(RefreshDone)
	return next, revision, nil
}

// overtaken tells whose tokens are stored: a save may have succeeded that was told to have failed.
func overtaken(current mailbox.Grant, mine mailbox.Tokens) string {
	if current.Tokens != nil && current.Tokens.Access.Equal(mine.Access) {
		return RefreshDone
	}
	return RefreshOvertaken
}

// refused records that Microsoft wants a person. Only the reason "revoked" says that the refresh token is dead; whatever
// else a policy asks for, the tokens are kept: they are good when somebody has acted.
func (r renewal) refused(ctx context.Context, id mailbox.ID, mine mailbox.Tokens, f *fault.Fault) (mailbox.Grant, uint64, error) {
	if f.Reason == mailbox.Revoked {
		return r.believe(ctx, id, mine, RefreshRevoked, func(g mailbox.Grant) mailbox.Grant { return g.Revoke(f, r.now()) })
	}
	grant, at, err := r.believe(ctx, id, mine, RefreshWithheld, func(g mailbox.Grant) mailbox.Grant { return g.Withhold(f, r.now()) })
	if err == nil && still(grant.Tokens, mine) {
		err = errWithheld
	}
	return grant, at, err
}

// believe saves what a refusal makes of the grant, only if the grant still is what Microsoft has refused.
func (r renewal) believe(
	ctx context.Context, id mailbox.ID, mine mailbox.Tokens, outcome string, change func(mailbox.Grant) mailbox.Grant,
) (mailbox.Grant, uint64, error) {
	for range saveTries {
		current, at, err := r.grants.Load(ctx, id)
		if err != nil {
			return current, at, fmt.Errorf("load grant: %w", err)
		}
		if !still(current.Tokens, mine) {
			r.counted(RefreshOvertaken)
			return current, at, nil
		}
		changed := change(current)
		at, err = r.grants.Save(ctx, id, changed, at)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err == nil {
			r.counted(outcome)
		}
		return changed, at, saved(outcome+" grant", err)
	}
	return mailbox.Grant{}, 0, saved(outcome+" grant", ErrConflict)
}

// still reports whether the stored tokens are mine.
func still(stored *mailbox.Tokens, mine mailbox.Tokens) bool {
	return stored != nil && stored.Attempt == mine.Attempt && stored.Rotation == mine.Rotation
}

func (r renewal) counted(outcome string) {
	if r.count != nil {
		r.count(outcome)
	}
}
