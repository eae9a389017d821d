package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"kindling/internal/events"
)

// RefreshMode says which grants are refreshed without being asked for.
type RefreshMode string

// The modes.
const (
	RefreshOff       RefreshMode = "off"       // none
	RefreshKeepAlive RefreshMode = "keepalive" // those that nobody has used for long: Microsoft forgets them after 90 days
	RefreshAlways    RefreshMode = "always"    // all, before their access tokens run out
)

// KeepAlive is the policy by which grants are refreshed after the registration. Its zero value is RefreshOff.
type KeepAlive struct {
	Mode   RefreshMode
	After  time.Duration // with RefreshKeepAlive: how long a grant may be idle
	Margin time.Duration // with RefreshAlways: the least life that an access token should have
}

// On reports whether any grant is refreshed by policy.
func (k KeepAlive) On() bool { return k.Mode == RefreshKeepAlive || k.Mode == RefreshAlways }

// Due returns when tokens of the mailbox must be refreshed; the zero time when never. The instants of a fleet are
// spread by the mailboxes' ids, so that what was imported together does not come due together.
func (k KeepAlive) Due(id ID, t Tokens) time.Time {
	switch k.Mode {
	case RefreshKeepAlive:
		return t.SavedAt.Add(spread(k.After, 0.9, 1.1, id))
	case RefreshAlways:
		life := max(t.Expiry.Sub(t.SavedAt), time.Minute)
		// A tenant may let tokens live no longer than the margin: then a quarter of their life must do.
		return t.SavedAt.Add(spread(life-min(k.Margin, life/4), 0.8, 1, id))
	case RefreshOff:
	}
	return time.Time{}
}

// Idle reports whether tokens are due at now. Clocks differ: a worker whose clock is a little behind the server's must not
// ask for the same instant again and again.
func (k KeepAlive) Idle(id ID, t Tokens, now time.Time) bool {
	due := k.Due(id, t)
	return !due.IsZero() && !now.Before(due.Add(-min(events.ClockSkew, due.Sub(t.SavedAt)/10)))
}

// latest is the longest that overdue grants are spread over when they get their timers: after an upgrade all may be due.
const latest = time.Hour

// Next returns when the mailbox's timer shall go off for tokens of that age: at their due time or, if that has passed, a
// little later.
func (k KeepAlive) Next(id ID, t Tokens, now time.Time) time.Time {
	due := k.Due(id, t)
	if due.IsZero() || due.After(now) {
		return due
	}
	return now.Add(spread(min(latest, due.Sub(t.SavedAt)/10), 0, 1, id))
}

// Again returns when a mailbox whose turn has not come is asked again: with many others, so its place is its own.
func (k KeepAlive) Again(id ID, now time.Time) time.Time {
	return now.Add(spread(10*time.Minute, 0.1, 1, id))
}

// IdleEvent is the event that wakes the mailbox at the given time. Its id is the same for all timers of one consent.
func IdleEvent(inv Invitation, t Tokens, at time.Time) events.Event {
	e := events.New(events.GrantIdle, "idle|"+inv.ID+"|"+t.Attempt, at).Later(at)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = inv.ID, inv.App, inv.Account, inv.Campaign, t.Attempt
	return e
}

// Refreshable reports whether there are tokens to refresh. A phase that only a newer version knows is not to be touched.
func (g Grant) Refreshable() bool { return g.Tokens != nil && g.Phase.known() }

// Dead reports whether the work on the stored tokens was given up. A refresh that succeeds ends that.
func (g Grant) Dead() bool { return g.deadWithTokens() }

// IdleDue reports whether the grant must have a timer for its next refresh. It has none while its work was given up: its
// dead letter must be replayed first.
func (f Facts) IdleDue() bool {
	return !f.ended() && f.Grant.Refreshable() && !f.Grant.Dead()
}

// spread returns d times a factor between low and high that belongs to the mailbox.
func spread(d time.Duration, low, high float64, id ID) time.Duration {
	sum := sha256.Sum256([]byte(id))
	share := float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
	return time.Duration(float64(d) * (low + (high-low)*share))
}
