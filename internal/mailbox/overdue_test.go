package mailbox_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// restorable are facts as a restored backup may combine them, of the phases that this build knows.
func restorable(r *rapid.T) mailbox.Facts {
	instants := []time.Time{at.Add(-2 * time.Hour), at.Add(-time.Hour), at}
	instant := func(name string) time.Time { return rapid.SampledFrom(instants).Draw(r, name) }
	who := func(name string) string { return rapid.SampledFrom([]string{"att01", "att02"}).Draw(r, name) }
	finding := mailbox.Found(faultOf("permanent", ""), at)
	f := mailbox.Facts{Invitation: mailbox.Invitation{ID: mb, App: "main", Account: "agency", InvitedAt: at, LinkExpiresAt: at.Add(time.Hour)}}
	if rapid.Bool().Draw(r, "answered") {
		f.Claim.Attempts = []mailbox.Attempt{{ID: who("attempt"), CodeHash: "code", AnsweredAt: instant("answered at")}}
	}
	switch phase := rapid.SampledFrom([]mailbox.GrantPhase{"", "redeeming", "saved", "needs_consent", "mismatch", "dead"}).Draw(r, "grant"); phase {
	case mailbox.GrantNone:
	default:
		f.Grant = mailbox.Grant{Phase: phase, Attempt: who("grant of"), CodeAt: instant("code at"), Since: instant("grant since")}
		if phase == mailbox.GrantNeedsConsent {
			f.Grant.Reason = mailbox.Declined
			f.Grant.Stage = rapid.SampledFrom([]string{"", string(events.Refresh)}).Draw(r, "withheld")
		}
		if phase == mailbox.GrantDead {
			f.Grant.Stage, f.Grant.Finding = string(rapid.SampledFrom([]events.Lane{events.Code, events.Refresh}).Draw(r, "stage")), finding
		}
		if phase == mailbox.GrantSaved || rapid.Bool().Draw(r, "tokens") {
			f.Grant.Tokens = &mailbox.Tokens{Attempt: who("tokens of"), SavedAt: instant("saved at")}
		}
	}
	phase := rapid.SampledFrom([]mailbox.RegistrationPhase{"", "posting", "unclear", "registered", "dead"}).Draw(r, "registration")
	if phase != mailbox.RegistrationNone || rapid.Bool().Draw(r, "not posted") {
		f.Registration = mailbox.Registration{
			Phase: phase, Attempt: who("registration of"), Since: instant("registration since"), Lease: instant("lease"), Finding: finding,
			Stage: string(events.Register), Unsettled: phase == mailbox.RegistrationDead && rapid.Bool().Draw(r, "unsettled"),
		}
		if rapid.Bool().Draw(r, "proof") {
			f.Registration.Proof = &events.Proof{TenantID: "tid", ObjectID: "oid"}
		}
	}
	return f
}

// goesOn reports whether the handler of the event that is due has anything to do for these facts: one that has not would
// be issued again for ever.
func goesOn(f mailbox.Facts, due mailbox.Due, now time.Time) bool {
	e := events.New(due.Kind, "restored", now)
	e.Mailbox, e.Attempt, e.Proof = mb, due.Attempt, due.Proof
	tokens := f.Grant.Tokens
	switch due.Kind {
	case events.RefreshRequested:
		return tokens != nil && tokens.Attempt == due.Attempt
	case events.RegistrationRequested:
		_, verdict := f.Registration.Claim(e, "w1", now)
		return tokens != nil && tokens.Attempt == due.Attempt && due.Proof != nil && verdict == mailbox.Proceed
	case events.RegistrationUnclear:
		reg, _ := f.Registration.Abandoned(now)
		return reg.Reopen(now).Phase == mailbox.Uncertain
	case events.CodeReceived, events.GrantIdle, events.ReconnectRequested, events.ActivationRequested, events.RegistrationDecided:
	}
	return false // a code is never issued again; an idle grant has a timer, which the walk looks for in its own way
}

// stands reports whether a mailbox in this state is done with, or has somebody who will move it.
func stands(f mailbox.Facts, s mailbox.Status) bool {
	switch s.State {
	case mailbox.StateGranted, mailbox.StateRegistering, mailbox.StateUnclear:
		return false
	case mailbox.StateDead:
		return f.Grant.Tokens == nil // a dead code cannot be replayed: its letter is of no use
	case mailbox.StateNeedsConsent:
		return s.Reason == mailbox.Declined // else it is the clock that says so, and no fact
	default:
		return true
	}
}

func TestEveryMailboxThatStandsStillHasARemedyAndEveryRemedyGoesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		f, now := restorable(r), at.Add(time.Hour)
		halves := []mailbox.Due{f.GrantDue(now), f.RegistrationDue(now)}
		status := mailbox.View(f, now)
		none := halves[0].Remedy == mailbox.NothingDue && halves[1].Remedy == mailbox.NothingDue
		if none && !stands(f, status) {
			r.Fatalf("%+v stands still for ever as %s", f, status.State)
		}
		if !none && (status.State == mailbox.StateRegistered || status.State == mailbox.StateErased) {
			r.Fatalf("%s, but due: %+v", status.State, halves)
		}
		if halves[0].Remedy == mailbox.Reissue && halves[1].Remedy == mailbox.Reissue {
			r.Fatalf("both halves issue an event: %+v", halves)
		}
		for _, due := range halves {
			switch due.Remedy {
			case mailbox.NothingDue:
			case mailbox.Reissue, mailbox.RestoreLetter:
				if !goesOn(f, due, now) {
					r.Fatalf("%+v is due for %+v, and its handler does nothing", due, f)
				}
				if due.Since.IsZero() || due.Since.After(now) {
					r.Fatalf("due since %v", due.Since)
				}
			case mailbox.LoseConsent:
				next := f
				next.Grant = f.LoseCode(due.Attempt, now)
				after := mailbox.View(next, now)
				if next.Grant.Tokens != f.Grant.Tokens || after.State != mailbox.StateNeedsConsent || after.Reason != mailbox.ConsentLost {
					r.Fatalf("lost %+v: %+v", f, after)
				}
				if again := next.GrantDue(now); again.Remedy != mailbox.NothingDue {
					r.Fatalf("said to be lost twice: %+v", again)
				}
			}
		}
		f.Invitation.ErasedAt = at
		if f.GrantDue(now).Remedy != mailbox.NothingDue || f.RegistrationDue(now).Remedy != mailbox.NothingDue {
			r.Fatal("something is due for an erased mailbox")
		}
	})
}

func TestNothingIsDueWhileAWorkerMayBeAtIt(t *testing.T) {
	t.Parallel()
	code := codeOf(1)
	redeeming := mailbox.Facts{Invitation: mailbox.Invitation{ID: mb}, Grant: claimed(t, mailbox.Grant{}, 1)}
	posted := mailbox.Facts{Invitation: mailbox.Invitation{ID: mb}, Grant: savedGrant(t, 1), Registration: posting(t, mailbox.Registration{}, 1)}
	for name, due := range map[string]mailbox.Due{
		"a code that lives": redeeming.GrantDue(code.At.Add(mailbox.CodeLife)),
		"a POST on its way": posted.RegistrationDue(posted.Registration.Lease.Add(-time.Second)),
		"its grant":         posted.GrantDue(posted.Registration.Lease.Add(time.Hour)),
	} {
		if due.Remedy != mailbox.NothingDue {
			t.Errorf("%s: %+v", name, due)
		}
	}
}

func TestWithheldTokensAreAskedForAgainWhenTheirTimerIsLost(t *testing.T) {
	t.Parallel()
	proof := &events.Proof{TenantID: "tid", ObjectID: "oid"}
	asked := at.Add(time.Hour)
	f := mailbox.Facts{Invitation: mailbox.Invitation{ID: mb}}
	f.Grant = savedGrant(t, 1).Withhold(faultOf(fault.NeedsConsent, mailbox.AdminRequired), asked)
	for name, r := range map[string]mailbox.Registration{"never asked for": {}, "asked for before": {Attempt: "att01", Proof: proof}} {
		f.Registration = r
		early, due := f.GrantDue(asked.Add(mailbox.AskAgain-time.Second)), f.GrantDue(asked.Add(mailbox.AskAgain))
		if early.Remedy != mailbox.NothingDue || due.Remedy != mailbox.Reissue || due.Kind != events.RefreshRequested {
			t.Errorf("%s: %+v, then %+v", name, early, due)
		}
		if half := f.RegistrationDue(asked.Add(mailbox.AskAgain)); half.Remedy != mailbox.NothingDue {
			t.Errorf("%s: warmy-worker asks, too: %+v", name, half)
		}
	}
}

func TestALateEventOfALostCodeHasNoEffect(t *testing.T) {
	t.Parallel()
	received := at.Add(time.Minute)
	f := mailbox.Facts{Invitation: mailbox.Invitation{ID: mb}, Claim: mailbox.Claim{
		Attempts: []mailbox.Attempt{{ID: "att01", CodeHash: mailbox.Hash("code"), AnsweredAt: received}},
	}}
	now := received.Add(time.Hour)
	lost := f.LoseCode("att01", now)
	late := events.New(events.CodeReceived, mailbox.CodeSeed(mb, "att01", mailbox.Hash("code")), received)
	late.Mailbox, late.Attempt, late.Deadline = mb, "att01", received.Add(mailbox.CodeLife)
	if next, verdict := lost.Claim(late, "w1", now, need); verdict != mailbox.Done || next != lost {
		t.Errorf("verdict %v, grant %+v", verdict, next)
	}
}
