package mailbox

import (
	"errors"
	"slices"
	"time"
)

// Claim is what the edge knows of a mailbox: the attempts at consent. callback-ingest alone writes it.
type Claim struct {
	Attempts []Attempt `json:"attempts"` // oldest first
}

// Attempt is one press of the link's button, and what Microsoft answered.
type Attempt struct {
	ID         string    `json:"id"`
	StateHash  string    `json:"state_hash"`
	Generation int       `json:"generation"` // of the link that started it
	StartedAt  time.Time `json:"started_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	CodeHash   string    `json:"code_hash,omitempty"`
	Refusal    string    `json:"refusal,omitempty"` // a reason of the closed set below
	AnsweredAt time.Time `json:"answered_at,omitzero"`
}

// Reasons why a mailbox needs its owner (or the tenant's admin) again. LinkExpired refines StateInvited, those
// of a reconnection StateRegistered, the others StateNeedsConsent.
const (
	Declined      = "declined"
	CodeExpired   = "code_expired"
	ConsentLost   = "consent_lost"
	Revoked       = "revoked"
	AdminRequired = "admin_required"
	LinkExpired   = "link_expired"
	SignInFailed  = "sign_in_failed"

	AccountAccepted = "account_accepted" // an operator accepts the account that consented: it has to consent once more

	Reconnecting    = "reconnecting"     // Warmy is being told what to use from now on
	ReconnectDue    = "reconnect_due"    // the grant was renewed, and Warmy was not told
	ReconnectUnsure = "reconnect_unsure" // Warmy has the mailbox, and did not say whether it took what it was told
	ReconnectFailed = "reconnect_failed" // it was given up, or Warmy may have the mailbox twice
)

// Reasons lists every reason, in the order in which reports show them.
func Reasons() []string {
	return []string{
		Declined, CodeExpired, ConsentLost, Revoked, AdminRequired, LinkExpired, SignInFailed, AccountAccepted,
		Reconnecting, ReconnectDue, ReconnectUnsure, ReconnectFailed,
	}
}

// MaxLiveAttempts bounds how many attempts of one mailbox may be under way: enough for an owner with several tabs
// and for mail scanners that press buttons, too few to fill a store.
const MaxLiveAttempts = 10

// keptAttempts bounds the answered attempts that a claim remembers.
const keptAttempts = 10

// CodeLife is how long Microsoft honours an authorization code ("about 10 minutes",
// learn.microsoft.com, OAuth 2.0 authorization code flow).
const CodeLife = 10 * time.Minute

// ErrTooManyAttempts refuses a start while MaxLiveAttempts are under way.
var ErrTooManyAttempts = errors.New("too many consent attempts are under way for this mailbox")

// Start adds an attempt, forgetting those that ran out without an answer and those that were answered long ago.
func (c Claim) Start(a Attempt, now time.Time) (Claim, error) {
	kept := make([]Attempt, 0, len(c.Attempts)+1)
	live := 0
	for _, old := range c.Attempts {
		switch {
		case old.answered():
			kept = append(kept, old)
		case now.Before(old.ExpiresAt):
			kept = append(kept, old)
			live++
		}
	}
	if live >= MaxLiveAttempts {
		return c, ErrTooManyAttempts
	}
	return Claim{Attempts: append(forgetAnswered(kept, len(kept)-live-keptAttempts), a)}, nil
}

func (a Attempt) answered() bool { return !a.AnsweredAt.IsZero() }

// forgetAnswered drops the given number of answered attempts, those answered first: an attempt under way must not be
// forgotten, and neither may the latest answer, which is what an operator sees.
func forgetAnswered(attempts []Attempt, extra int) []Attempt {
	for ; extra > 0; extra-- {
		first := -1
		for i, a := range attempts {
			if a.answered() && (first < 0 || a.AnsweredAt.Before(attempts[first].AnsweredAt)) {
				first = i
			}
		}
		attempts = slices.Delete(attempts, first, first+1)
	}
	return attempts
}

// Answer tells what an answer to a state means.
type Answer int

// The possible meanings of an answer.
const (
	Unknown  Answer = iota // no such attempt: never started here, or long forgotten
	Expired                // the attempt is too old
	Accepted               // first answer: the claim has changed and must be saved
	Repeated               // the same answer again (a reload): harmless
	Conflict               // another answer was there first
)

// Code records that the attempt with this state came back with a code.
func (c Claim) Code(stateHash, codeHash string, now time.Time) (Claim, Attempt, Answer) {
	return c.answer(stateHash, now, func(a *Attempt) { a.CodeHash = codeHash }, func(a Attempt) bool { return a.CodeHash == codeHash })
}

// Refuse records that the attempt with this state came back without a code, for a reason of the closed set.
func (c Claim) Refuse(stateHash, reason string, now time.Time) (Claim, Attempt, Answer) {
	return c.answer(stateHash, now, func(a *Attempt) { a.Refusal = reason }, func(a Attempt) bool { return a.Refusal == reason })
}

func (c Claim) answer(stateHash string, now time.Time, set func(*Attempt), same func(Attempt) bool) (Claim, Attempt, Answer) {
	i := slices.IndexFunc(c.Attempts, func(a Attempt) bool { return a.StateHash == stateHash })
	if i < 0 {
		return c, Attempt{}, Unknown
	}
	a := c.Attempts[i]
	switch {
	case a.answered() && same(a):
		return c, a, Repeated
	case a.answered():
		return c, a, Conflict
	case now.After(a.ExpiresAt):
		return c, a, Expired
	}
	set(&a)
	a.AnsweredAt = now.UTC()
	changed := Claim{Attempts: slices.Clone(c.Attempts)}
	changed.Attempts[i] = a
	return changed, a, Accepted
}

// Release takes an answer back, because what should have followed from it could not be made durable: the same
// state and code may be presented again.
func (c Claim) Release(stateHash string) Claim {
	changed := Claim{Attempts: slices.Clone(c.Attempts)}
	for i := range changed.Attempts {
		if a := &changed.Attempts[i]; a.StateHash == stateHash {
			a.CodeHash, a.Refusal, a.AnsweredAt = "", "", time.Time{}
		}
	}
	return changed
}

// Latest returns the attempt that was answered last.
func (c Claim) Latest() (Attempt, bool) {
	var latest Attempt
	for _, a := range c.Attempts {
		if a.AnsweredAt.After(latest.AnsweredAt) {
			latest = a
		}
	}
	return latest, latest.answered()
}
