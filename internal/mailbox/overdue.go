package mailbox

import (
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Remedy is what helps a mailbox whose event is nowhere.
type Remedy string

// The remedies. None of them sends a code or posts to Warmy: an event that is issued again passes its handler, which
// asks the facts before it does anything.
const (
	NothingDue    Remedy = ""               // the facts ask for no event
	Reissue       Remedy = "event_restored" // issue the event again
	LoseConsent   Remedy = "consent_lost"   // the code was in the event and nowhere else: only a new consent helps
	RestoreLetter Remedy = "dead_letter_restored"
)

// Due is the event that must be somewhere for a mailbox: in a work queue, waiting for its time, or as a dead letter.
// If it is nowhere, the mailbox stands still for ever, and Remedy says what helps.
type Due struct {
	Remedy  Remedy
	Kind    events.Kind
	Attempt string
	Proof   *events.Proof
	Lane    events.Lane // with RestoreLetter: where the work was given up
	Finding *Finding    // with RestoreLetter: why
	Since   time.Time   // when the facts that say so were last changed
}

// GrantDue is what token-worker must find, or put right. It answers for the mailbox until warmy-worker has taken over.
func (f Facts) GrantDue(now time.Time) Due {
	latest, answered := f.Claim.Latest()
	switch {
	case f.ended(), f.over() && !f.tokensGone():
		return Due{}
	case f.Grant.Tokens != nil:
		return f.tokensDue(now)
	case f.grantSpeaks(latest, answered):
		if f.Grant.Phase == GrantRedeeming && codeDead(f.Grant.CodeAt, now) {
			return Due{Remedy: LoseConsent, Kind: events.CodeReceived, Attempt: f.Grant.Attempt, Since: newest(f.Grant.Since, f.Grant.CodeAt)}
		}
	case answered && latest.CodeHash != "" && codeDead(latest.AnsweredAt, now):
		return Due{Remedy: LoseConsent, Kind: events.CodeReceived, Attempt: latest.ID, Since: latest.AnsweredAt}
	}
	return Due{}
}

// over reports whether nothing is left to do for the registration of the mailbox.
func (f Facts) over() bool { return f.ended() || f.Registration.Phase == Registered }

// ended reports whether the mailbox was never invited, or erased.
func (f Facts) ended() bool { return f.Invitation.ID == "" || !f.Invitation.ErasedAt.IsZero() }

// tokensDue is what must exist while tokens are stored and no registration was begun with them: the refresh lane proves
// them, and asks for the registration. The proof itself travels in events and may be lost with them.
func (f Facts) tokensDue(now time.Time) Due {
	g, r := f.Grant, f.Registration
	due := Due{Kind: events.RefreshRequested, Attempt: g.Tokens.Attempt, Since: newest(g.Tokens.SavedAt, g.Since, r.Since)}
	switch {
	case g.deadWithTokens():
		due.Remedy, due.Lane, due.Finding = RestoreLetter, events.Lane(g.Stage), g.Finding
	case !g.Phase.known(), g.Phase == GrantRedeeming && !codeDead(g.CodeAt, now):
		return Due{} // a newer version's, or a newer code is in hand and its tokens will replace these
	case r.Phase != RegistrationNone && r.Phase != RegistrationDead, r.open():
		return Due{} // a POST may be under way, whichever attempt it was made for
	case r.Attempt == g.Tokens.Attempt && r.Phase == RegistrationDead:
		return Due{} // warmy-worker's
	case g.Withheld():
		return g.againDue(due, now)
	case r.Attempt == g.Tokens.Attempt && r.Proof != nil:
		return Due{} // warmy-worker's
	default:
		due.Remedy = Reissue
	}
	return due
}

// againDue is the next request for withheld tokens. It waits as a timer until then.
func (g Grant) againDue(due Due, now time.Time) Due {
	asked := due.Since
	if g.Finding != nil {
		asked = newest(asked, g.Finding.At)
	}
	if due.Since = asked.Add(AskAgain); now.Before(due.Since) {
		return Due{}
	}
	due.Remedy = Reissue
	return due
}

// known reports whether this build knows the phase: what a newer one is at is not to be mended.
func (p GrantPhase) known() bool {
	switch p {
	case GrantNone, GrantRedeeming, GrantSaved, GrantNeedsConsent, GrantMismatch, GrantDead:
		return true
	}
	return false
}

// RegistrationDue is what warmy-worker must find, or put right.
func (f Facts) RegistrationDue(now time.Time) Due {
	g, r := f.Grant, f.Registration.Work()
	due := Due{Remedy: Reissue, Attempt: r.Attempt, Proof: r.Proof, Since: newest(r.Since, r.AbsentAt)}
	granted := g.Tokens.from(r.Attempt)
	switch {
	case f.ended(), r.Phase == Registered:
		return Due{}
	case r.Phase == Uncertain:
		due.Kind = events.RegistrationUnclear
	case r.Phase == Posting && !now.Before(r.Lease):
		due.Kind, due.Since = events.RegistrationUnclear, newest(r.Since, r.Lease)
	case r.Phase == RegistrationNone && granted && r.Proof != nil && !g.deadWithTokens() && !g.Withheld():
		due.Kind, due.Since = events.RegistrationRequested, newest(due.Since, g.Since, g.Tokens.SavedAt)
	case r.Phase == RegistrationNone && granted && f.Registration.Phase == Registered && !g.deadWithTokens() && !g.Withheld():
		due.Kind, due.Since = events.RefreshRequested, newest(due.Since, g.Since, g.Tokens.SavedAt) // it is to be posted again, and must be proven first
	case r.Phase == RegistrationDead && (granted || r.Unsettled):
		return r.letterDue(due)
	default:
		return Due{}
	}
	return due
}

// letterDue is the dead letter of a registration. Its replay begins with the listing when a POST is unsettled, else with
// the proof, because the one that is kept may be an earlier consent's.
func (r Registration) letterDue(due Due) Due {
	due.Remedy, due.Kind, due.Lane, due.Finding = RestoreLetter, events.RefreshRequested, events.Lane(r.Stage), r.Finding
	if r.Unsettled {
		due.Kind = events.RegistrationUnclear
	}
	return due
}

// Abandoned makes an intent Uncertain whose owner is gone, and reports whether it was one: the POST may have reached Warmy.
func (r Registration) Abandoned(now time.Time) (Registration, bool) {
	if w := r.Work(); w.Phase != Posting || now.Before(w.Lease) {
		return r, false
	}
	return r.Unclear(interrupted(), now), true
}

// LoseCode returns the grant that says that the code of an attempt is gone with its event.
func (f Facts) LoseCode(attempt string, now time.Time) Grant {
	g := f.Grant
	if latest, _ := f.Claim.Latest(); g.Attempt != attempt && latest.ID == attempt {
		lost := events.New(events.CodeReceived, CodeSeed(f.Invitation.ID, attempt, latest.CodeHash), latest.AnsweredAt)
		g = Grant{Attempt: attempt, EventID: lost.ID, CodeAt: latest.AnsweredAt, Tokens: g.Tokens, First: g.first()}
	}
	return g.needsConsent(ConsentLost, codeLost(), now)
}

func codeLost() *fault.Fault {
	return &fault.Fault{
		Class: fault.NeedsConsent, Code: "code_event_lost", Reason: ConsentLost, Forecast: fault.ByPerson,
		Cause:  "the event that held the authorization code is gone: its stream was purged or restored",
		Remedy: "apologise to the owner and send the link again",
	}
}

func newest(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
