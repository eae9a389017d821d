package mailbox

import (
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/secret"
)

// GrantPhase is where the work on a grant stands.
type GrantPhase string

// The phases of a grant. Saved tokens outlive every later phase: a failure never overwrites them.
const (
	GrantNone         GrantPhase = ""
	GrantRedeeming    GrantPhase = "redeeming"     // the code may have been sent
	GrantSaved        GrantPhase = "saved"         // tokens are stored
	GrantNeedsConsent GrantPhase = "needs_consent" // Reason says why
	GrantMismatch     GrantPhase = "mismatch"      // someone else consented; tokens destroyed
	GrantDead         GrantPhase = "dead"          // Finding says why
)

// Grant is what token-worker knows of a mailbox: the redeem of its latest code, and its tokens.
// token-worker alone writes it.
type Grant struct {
	Phase   GrantPhase `json:"phase"`
	Reason  string     `json:"reason,omitempty"`  // with GrantNeedsConsent
	Attempt string     `json:"attempt,omitempty"` // the consent attempt that this phase is about
	EventID string     `json:"event,omitempty"`   // the code event that this phase is about
	CodeAt  time.Time  `json:"code_at,omitzero"`  // when that code was received
	Sends   int        `json:"sends,omitempty"`   // how often that code may have been sent
	Owner   string     `json:"owner,omitempty"`   // the worker that holds the lease
	Lease   time.Time  `json:"lease,omitzero"`    // until when no other worker may take over
	Since   time.Time  `json:"since"`
	Stage   string     `json:"stage,omitempty"` // with GrantDead: the lane it died in
	Finding *Finding   `json:"finding,omitempty"`
	Tokens  *Tokens    `json:"-"` // sealed apart

	// First is who the tokens are of that were saved first, as Who has it: the mailbox's first intent may stand under that
	// identity, and under no other (docs/adr/0027). firstOpen: none were saved yet; "": not known.
	First string `json:"first,omitempty"`

	// Consented is the account that consented last where another one was invited; nil when none did, or it is not known.
	// It is kept until tokens are saved, so that an operator can still decide about it. Sealed apart, for the console.
	Consented *Account `json:"-"`
}

// Tokens are what a mailbox's owner granted. They are stored sealed and only sealed.
type Tokens struct {
	Access   secret.Text
	Refresh  secret.Text
	IDToken  secret.Text // kept until the proof of identity, for its tid, oid and nonce
	Nonce    secret.Text // the attempt's nonce, compared with the id_token's
	Expiry   time.Time   // of Access
	Scope    []string    // as granted
	Attempt  string      // the consent attempt they come from
	SavedAt  time.Time
	Rotation int // counts refreshes

	Whose events.Proof // as their id_token says, not verified yet; not stored
}

// Fresh reports whether the access token lives for at least margin after now.
func (t *Tokens) Fresh(now time.Time, margin time.Duration) bool {
	return t != nil && t.Expiry.After(now.Add(margin))
}

// from reports whether the tokens come from the given consent attempt.
func (t *Tokens) from(attempt string) bool { return t != nil && t.Attempt == attempt }

// RedeemLease is how long a worker may hold a code: the deadline of the call, the save, and a margin
// (docs/design.md, "Redeem").
const RedeemLease = 45 * time.Second

// MaxSends bounds how often one code is sent while no tokens from it are saved: the worst result of a further
// send is the loss that has already happened.
const MaxSends = 3

// AskAgain is how long withheld tokens rest before Microsoft is asked for them again: what an admin or an owner puts right
// takes a day rather than a minute, and the owner may come with a new consent at any time.
const AskAgain = 6 * time.Hour

// Verdict is what a fact allows.
type Verdict int

// The verdicts of the claims on a grant and on a registration.
const (
	Proceed Verdict = iota // the changed fact must be saved by compare-and-set; then the one effect may happen
	Resume                 // the effect happened and is saved: go on with what follows
	Done                   // nothing is left to do for this event
	Wait                   // another worker holds the lease
	Refuse                 // the effect must not happen; the changed fact says why and must be saved
)

// Claim asks whether the code in e may be spent by owner, now. need is how long a redeem may take until Microsoft has
// answered: a code that lives shorter is not sent, because in a burst it would take the place of one that can still be
// saved (docs/adr/0017). Claim changes nothing when the answer is not Proceed or Refuse.
func (g Grant) Claim(e events.Event, owner string, now time.Time, need time.Duration) (Grant, Verdict) {
	switch {
	case g.Tokens.from(e.Attempt):
		return g, Resume // whatever went wrong since: this code must never be sent again
	case g.Attempt == e.Attempt && g.destroyed():
		return g, Done // nor this one
	case g.EventID == e.ID && g.settled():
		return g, Done
	case g.newerThan(e):
		return g, Done // a newer code of the same mailbox won
	case g.Attempt == e.Attempt && g.Phase == GrantRedeeming && g.Owner != owner && now.Before(g.Lease):
		return g, Wait
	case g.EventID == e.ID && g.Sends > 0 && (g.Sends >= MaxSends || tooLate(e, now, need)):
		return g.needsConsent(ConsentLost, consentLost(), now), Refuse
	case tooLate(e, now, need):
		return g.about(e, now).needsConsent(CodeExpired, codeExpired(), now), Refuse
	}
	next := g.about(e, now)
	next.Phase, next.Owner, next.Lease, next.Since = GrantRedeeming, owner, now.Add(RedeemLease).UTC(), now.UTC()
	next.Sends++
	next.Finding, next.Reason, next.Stage = nil, "", ""
	return next, Proceed
}

func tooLate(e events.Event, now time.Time, need time.Duration) bool {
	return !e.Deadline.IsZero() && now.Add(need).After(e.Deadline)
}

func (g Grant) settled() bool {
	return g.Phase == GrantNeedsConsent || g.Phase == GrantMismatch || g.Phase == GrantDead
}

// destroyed reports whether tokens of the attempt that the phase is about were saved once and are gone. That must not be
// forgotten: their code may never be sent again.
func (g Grant) destroyed() bool {
	return g.Phase == GrantMismatch || g.Phase == GrantNeedsConsent && g.Reason == Revoked
}

// newerThan reports whether the grant is about a later attempt than e. Two codes of one instant have an order, too:
// without it they would take turns for ever.
func (g Grant) newerThan(e events.Event) bool {
	return g.CodeAt.After(e.At) || g.CodeAt.Equal(e.At) && g.Attempt > e.Attempt
}

// about turns the grant's attention to the code in e, keeping saved tokens.
func (g Grant) about(e events.Event, now time.Time) Grant {
	if g.EventID == e.ID {
		return g
	}
	return Grant{
		Attempt: e.Attempt, EventID: e.ID, CodeAt: e.At, Since: now.UTC(), Tokens: g.Tokens, Consented: g.Consented, First: g.first(),
	}
}

// Save records the tokens that the code was redeemed for.
func (g Grant) Save(t Tokens, now time.Time) Grant {
	g = g.opened(t)
	t.Attempt, t.SavedAt = g.Attempt, now.UTC()
	g.Phase, g.Tokens, g.Since, g.Consented = GrantSaved, &t, now.UTC(), nil
	g.Owner, g.Lease, g.Finding = "", time.Time{}, nil
	return g
}

// Merge records tokens that come late: mine is the claim they were redeemed under, and g what another worker has made
// of it meanwhile. Late tokens may be the only valid ones, so they win over everything but the tokens of a newer
// attempt; then ok is false. A newer code that is being redeemed keeps its phase.
func (g Grant) Merge(mine Grant, t Tokens, now time.Time) (merged Grant, ok bool) {
	switch {
	case g.Tokens.from(mine.Attempt):
		return g, true // ours, stored after all, or a later answer to the same code
	case g.Attempt == mine.Attempt:
		return g.Save(t, now), true
	case g.Tokens != nil && (mine.Tokens == nil || g.Tokens.Attempt != mine.Tokens.Attempt):
		return g, false
	}
	g = g.opened(t)
	t.Attempt, t.SavedAt = mine.Attempt, now.UTC()
	g.Tokens = &t
	return g, true
}

// deadWithTokens reports whether the work on the stored tokens was given up. The death of a newer code is none of theirs.
func (g Grant) deadWithTokens() bool {
	return g.Phase == GrantDead && g.Tokens != nil && (g.Tokens.Attempt == g.Attempt || g.Stage == string(events.Refresh))
}

// Revive ends the death of a grant whose stored tokens turned out good, and reports whether it did.
func (g Grant) Revive(now time.Time) (Grant, bool) {
	if !g.deadWithTokens() {
		return g, false
	}
	g.Phase, g.Stage, g.Finding, g.Since = GrantSaved, "", nil, now.UTC()
	return g, true
}

// Rotate records refreshed tokens. A refresh answer may leave out what did not change (RFC 6749 § 6). A newer code
// that is in hand keeps its phase. Without tokens there is nothing to rotate.
func (g Grant) Rotate(t Tokens, now time.Time) Grant {
	old := g.Tokens
	if old == nil {
		return g
	}
	if t.Refresh.Empty() {
		t.Refresh = old.Refresh
	}
	if len(t.Scope) == 0 {
		t.Scope = old.Scope
	}
	t.IDToken, t.Nonce, t.Attempt, t.Rotation = old.IDToken, old.Nonce, old.Attempt, old.Rotation+1
	t.SavedAt = now.UTC()
	g.Tokens = &t
	if g.Attempt == t.Attempt || g.deadWithTokens() || g.Withheld() {
		g.Phase, g.Reason, g.Stage, g.Finding, g.Since = GrantSaved, "", "", nil, now.UTC()
	}
	return g
}

// Renew records refreshed tokens by compare-and-set or, when they come late, on what others have made of the grant
// meanwhile: mine are the tokens that they were refreshed from. ok is false when the stored ones are to be used: somebody
// else has renewed them, a newer consent has brought its own, or they turned out to be another account's. Tokens that
// were called revoked while these were on their way live again: Microsoft has just said that they are good.
func (g Grant) Renew(mine, t Tokens, now time.Time) (renewed Grant, ok bool) {
	switch {
	case g.Tokens != nil && (g.Tokens.Attempt != mine.Attempt || g.Tokens.Rotation != mine.Rotation):
		return g, false
	case g.Tokens == nil && g.destroyed() && (g.Attempt != mine.Attempt || g.Phase == GrantMismatch):
		return g, false
	}
	revived := g.Tokens == nil && g.Attempt == mine.Attempt
	g.Tokens = &mine
	g = g.Rotate(t, now)
	if revived {
		g.Reason = ""
	}
	return g, true
}

// Fail records that the redeem failed with f. A dead code after a send with unknown outcome means that the
// consent was lost on our side, which is not the owner's refusal.
func (g Grant) Fail(f *fault.Fault, now time.Time) Grant {
	if f.Class == fault.NeedsConsent && g.Sends > 1 && f.Reason == CodeExpired {
		return g.needsConsent(ConsentLost, consentLost(), now)
	}
	if f.Class == fault.NeedsConsent {
		return g.needsConsent(f.Reason, f, now)
	}
	if (f.Class == fault.LegDown || f.Class == fault.RetryAfter) && g.Sends > 0 {
		g.Sends-- // refused before the code was looked at: it is still good
	}
	g.Owner, g.Lease, g.Finding = "", time.Time{}, Found(f, now)
	return g
}

// MismatchOf is Mismatch with what is known of the account that consented.
func (g Grant) MismatchOf(who Account, f *fault.Fault, now time.Time) Grant {
	g = g.Mismatch(f, now)
	g.Consented = &who
	return g
}

// Mismatch records that someone else than the invited owner consented. The tokens are destroyed. A newer code that
// is in hand keeps its phase.
func (g Grant) Mismatch(f *fault.Fault, now time.Time) Grant {
	older := g.Tokens != nil && !g.Tokens.from(g.Attempt)
	g.Tokens, g.Consented = nil, nil
	if !older {
		g.Phase, g.Reason, g.Stage, g.Since, g.Finding = GrantMismatch, "", "", now.UTC(), Found(f, now)
	}
	return g
}

// Revoke records that the tokens are dead: only a new consent helps. A newer code that is in hand keeps its phase.
func (g Grant) Revoke(f *fault.Fault, now time.Time) Grant {
	older := g.Tokens != nil && !g.Tokens.from(g.Attempt)
	g.Tokens = nil
	if older {
		return g
	}
	return g.needsConsent(Revoked, f, now)
}

// Withhold records that Microsoft renews the tokens only after the owner or the tenant's admin has acted. Nothing says that
// they are dead, so they are kept, and good again when the policy changes. A newer code in hand keeps its phase.
func (g Grant) Withhold(f *fault.Fault, now time.Time) Grant {
	if g.Tokens == nil || g.destroyed() || g.Phase == GrantRedeeming && !codeDead(g.CodeAt, now) {
		return g
	}
	since := g.Since
	again := g.Withheld() && g.Reason == f.Reason
	g = g.needsConsent(f.Reason, f, now)
	g.Stage = string(events.Refresh)
	if again {
		g.Since = since
	}
	return g
}

// Withheld reports whether the stored tokens wait for somebody to act at Microsoft.
func (g Grant) Withheld() bool {
	return g.Phase == GrantNeedsConsent && g.Tokens != nil && g.Stage == string(events.Refresh)
}

// Bury records that the work on e was given up. It returns the grant unchanged if that is no news of it: it is about
// a newer code, or already says what only the owner can mend.
func (g Grant) Bury(e events.Event, f *fault.Fault, now time.Time) Grant {
	switch {
	case g.Tokens.from(e.Attempt):
		if g.Attempt != e.Attempt && (e.Kind.Lane() == events.Code || g.Phase == GrantRedeeming || g.destroyed()) {
			return g // the attempt that it is about must not be forgotten
		}
	case e.Kind.Lane() != events.Code, g.newerThan(e), g.Attempt == e.Attempt && g.settled() && g.Phase != GrantDead:
		return g
	default:
		g = g.about(e, now)
	}
	g.Phase, g.Stage, g.Finding, g.Since = GrantDead, string(e.Kind.Lane()), Found(f, now), now.UTC()
	g.Owner, g.Lease, g.Reason = "", time.Time{}, ""
	return g
}

func (g Grant) needsConsent(reason string, f *fault.Fault, now time.Time) Grant {
	g.Phase, g.Reason, g.Finding, g.Since = GrantNeedsConsent, reason, Found(f, now), now.UTC()
	g.Owner, g.Lease, g.Stage = "", time.Time{}, ""
	return g
}

func codeExpired() *fault.Fault {
	return &fault.Fault{
		Class: fault.NeedsConsent, Code: "code_expired", Reason: CodeExpired, Forecast: fault.ByPerson,
		Cause:  "the authorization code was too old to be redeemed",
		Remedy: "send the owner the link again; look at the code lane's age if this happens often",
	}
}

func consentLost() *fault.Fault {
	return &fault.Fault{
		Class: fault.NeedsConsent, Code: "consent_lost", Reason: ConsentLost, Forecast: fault.ByPerson,
		Cause:  "the code was sent, the answer never arrived, and the code cannot be used again",
		Remedy: "apologise to the owner and send the link again",
	}
}
