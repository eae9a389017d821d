package mailbox

import "time"

// State is where a mailbox stands, as an operator sees it.
type State string

// The states of a mailbox (docs/states.md).
const (
	StateInvited      State = "invited"
	StateCodeReceived State = "code_received"
	StateRedeeming    State = "redeeming"
	StateGranted      State = "granted"
	StateRegistering  State = "registering"
	StateRegistered   State = "registered"
	StateNeedsConsent State = "needs_consent"
	StateMismatch     State = "mismatch"
	StateUnclear      State = "unclear"
	StateDead         State = "dead"
	StateErased       State = "erased"
)

// States lists every state, in the order in which reports show them.
func States() []State {
	return []State{
		StateInvited, StateCodeReceived, StateRedeeming, StateGranted, StateRegistering, StateRegistered,
		StateNeedsConsent, StateMismatch, StateUnclear, StateDead, StateErased,
	}
}

// Facts are all that is known of one mailbox.
type Facts struct {
	Invitation   Invitation
	Claim        Claim
	Grant        Grant
	Registration Registration
}

// Status is what an operator sees of one mailbox.
type Status struct {
	State   State
	Reason  string // refines needs_consent, invited and registered: one of the reasons of this package
	Stage   string // with dead: the lane it died in; with needs_consent: the lane whose tokens are kept until somebody acts
	Since   time.Time
	Told    time.Time // with registered: the last step of telling Warmy anew what to use; zero: never begun
	Two     bool      // with registered: Warmy has told a second id, and nothing has settled which one counts
	WarmyID string    // with any state, once Warmy has the mailbox
	Finding *Finding  // what went wrong last, if anything is known
}

// View derives the status from the facts at now. Late news loses against what is worth more:
// erased > registered, unless its tokens are gone > saved tokens > the latest attempt at consent.
func View(f Facts, now time.Time) Status {
	if !f.Invitation.ErasedAt.IsZero() {
		return Status{State: StateErased, Since: f.Invitation.ErasedAt}
	}
	s := f.view(now)
	if f.Registration.Phase == Registered {
		s.WarmyID = f.Registration.WarmyID
	}
	return s
}

// tokensGone reports whether Warmy has the mailbox and its tokens were destroyed since: Warmy's access ends, and only the
// owner can renew it. His next consent decides what is seen until it has brought tokens. A grant of which nothing is
// known says nothing.
func (f Facts) tokensGone() bool {
	return f.Registration.Phase == Registered && f.Grant.Tokens == nil && f.Grant.Phase != GrantNone
}

func (f Facts) view(now time.Time) Status {
	latest, answered := f.Claim.Latest()
	switch {
	case f.Registration.Phase == Registered && !f.tokensGone():
		return f.viewRegistered()
	case f.Grant.Tokens != nil:
		return f.viewSaved()
	case f.grantSpeaks(latest, answered):
		return f.decided(f.Grant.view(now))
	case answered:
		return latest.view(now)
	}
	s := Status{State: StateInvited, Since: f.Invitation.InvitedAt}
	if f.Invitation.LinkExpired(now) {
		s.Reason, s.Since = LinkExpired, f.Invitation.LinkExpiresAt
	}
	return s
}

// grantSpeaks reports whether token-worker's news is of the attempt that was answered last.
func (f Facts) grantSpeaks(latest Attempt, answered bool) bool {
	return f.Grant.Phase != GrantNone && (!answered || f.Grant.Attempt == latest.ID || f.Grant.Since.After(latest.AnsweredAt))
}

// decided takes an operator's decision into s: when the account that consented is accepted, only its consent is missing.
func (f Facts) decided(s Status) Status {
	if s.State != StateMismatch || !f.Invitation.acceptedSince(f.Grant.Since) {
		return s
	}
	return Status{State: StateNeedsConsent, Reason: AccountAccepted, Since: f.Invitation.Accepted.At}
}

// viewSaved is the status of a mailbox whose tokens are stored. The death of another attempt than theirs is no death
// of the mailbox; a POST that may be under way counts, whichever attempt it was made for.
func (f Facts) viewSaved() Status {
	r, attempt := f.Registration, f.Grant.Tokens.Attempt
	maybe := r.Phase == Posting || r.Phase == Uncertain || r.open()
	s := Status{State: StateGranted, Since: f.Grant.Tokens.SavedAt, Finding: f.Grant.Finding}
	switch {
	case f.Grant.deadWithTokens():
		return Status{State: StateDead, Stage: f.Grant.Stage, Since: f.Grant.Since, Finding: f.Grant.Finding}
	case f.Grant.Withheld() && !maybe:
		return Status{State: StateNeedsConsent, Reason: f.Grant.Reason, Stage: f.Grant.Stage, Since: f.Grant.Since, Finding: f.Grant.Finding}
	case r.Attempt != attempt && !maybe:
		return s
	case r.Phase == Posting:
		s.State, s.Since = StateRegistering, r.Since
	case r.Phase == Uncertain:
		s.State, s.Since = StateUnclear, r.Since
	case r.Phase == RegistrationDead:
		s.State, s.Stage, s.Since = StateDead, r.Stage, r.Since
	}
	if r.Finding != nil {
		s.Finding = r.Finding
	}
	return s
}

// view is the status of a mailbox whose latest consent is in token-worker's hands. A phase that only a newer version
// knows reads as work in progress.
func (g Grant) view(now time.Time) Status {
	s := Status{State: StateRedeeming, Since: g.Since, Finding: g.Finding}
	switch {
	case g.Phase == GrantNeedsConsent:
		s.State, s.Reason = StateNeedsConsent, g.Reason
	case g.Phase == GrantMismatch:
		s.State = StateMismatch
	case g.Phase == GrantDead:
		s.State, s.Stage = StateDead, g.Stage
	case codeDead(g.CodeAt, now):
		s.State, s.Reason, s.Finding = StateNeedsConsent, ConsentLost, Found(consentLost(), g.Since)
	}
	return s
}

// view is the status of a mailbox of which only the edge has news.
func (a Attempt) view(now time.Time) Status {
	switch {
	case a.Refusal != "":
		return Status{State: StateNeedsConsent, Reason: a.Refusal, Since: a.AnsweredAt}
	case codeDead(a.AnsweredAt, now):
		return Status{State: StateNeedsConsent, Reason: CodeExpired, Since: a.AnsweredAt, Finding: Found(codeExpired(), a.AnsweredAt.Add(CodeLife))}
	}
	return Status{State: StateCodeReceived, Since: a.AnsweredAt}
}

// codeDead reports whether a code received at t can no longer become a grant, even by a worker that holds it now.
func codeDead(t, now time.Time) bool { return now.After(t.Add(CodeLife + RedeemLease)) }
