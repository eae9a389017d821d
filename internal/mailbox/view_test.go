package mailbox_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// invited is all that is known of a mailbox whose owner has not pressed the button.
func invited() mailbox.Facts {
	return mailbox.Facts{Invitation: mailbox.Invitation{ID: mb, InvitedAt: at.Add(-time.Hour), LinkExpiresAt: at.Add(30 * 24 * time.Hour)}}
}

// answered adds the nth attempt, answered with a code at the time of its event, or refused for a reason.
func answered(t *testing.T, f mailbox.Facts, n int, reason string) mailbox.Facts {
	t.Helper()
	received := codeOf(n).At
	f.Claim = start(t, f.Claim, attempt(n, received.Add(-time.Second)), received.Add(-time.Second))
	state := attempt(n, at).StateHash
	if reason != "" {
		f.Claim, _, _ = f.Claim.Refuse(state, reason, received)
		return f
	}
	f.Claim, _, _ = f.Claim.Code(state, "code", received)
	return f
}

func TestViewShowsWhereAMailboxStands(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	with := func(g mailbox.Grant, r mailbox.Registration, change ...func(*mailbox.Facts)) mailbox.Facts {
		facts := answered(t, invited(), 1, "")
		facts.Grant, facts.Registration = g, r
		for _, c := range change {
			c(&facts)
		}
		return facts
	}
	declinedLater := func(facts *mailbox.Facts) { *facts = answered(t, *facts, 2, mailbox.Declined) }
	erased := func(facts *mailbox.Facts) { facts.Invitation.ErasedAt = at.Add(time.Hour) }
	accepted := func(t time.Time) func(*mailbox.Facts) {
		return func(facts *mailbox.Facts) { facts.Invitation.Accepted = &mailbox.Acceptance{At: t} }
	}
	first, saved := claimed(t, mailbox.Grant{}, 1), savedGrant(t, 1)
	renewing := claimed(t, saved, 2)
	one := posting(t, mailbox.Registration{}, 1)
	unclear := one.Unclear(f, at)
	registered := one.Created("4711", false, at)
	none := mailbox.Registration{}
	for name, test := range map[string]struct {
		facts  mailbox.Facts
		after  time.Duration
		state  mailbox.State
		reason string
		stage  string
	}{
		"nobody pressed the button":              {facts: invited(), state: mailbox.StateInvited},
		"the link ran out":                       {facts: invited(), after: 31 * 24 * time.Hour, state: mailbox.StateInvited, reason: mailbox.LinkExpired},
		"the button was pressed":                 {facts: mailbox.Facts{Invitation: invited().Invitation, Claim: claimOf(t, attempt(1, at))}, state: mailbox.StateInvited},
		"the owner declined":                     {facts: answered(t, invited(), 1, mailbox.Declined), state: mailbox.StateNeedsConsent, reason: mailbox.Declined},
		"the admin is needed":                    {facts: answered(t, invited(), 1, mailbox.AdminRequired), state: mailbox.StateNeedsConsent, reason: mailbox.AdminRequired},
		"a code came":                            {facts: answered(t, invited(), 1, ""), state: mailbox.StateCodeReceived},
		"a code came and was never seen":         {facts: answered(t, invited(), 1, ""), after: 12 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.CodeExpired},
		"declined first, then consented":         {facts: answered(t, answered(t, invited(), 0, mailbox.Declined), 1, ""), state: mailbox.StateCodeReceived},
		"the code is in hand":                    {facts: with(first, none), state: mailbox.StateRedeeming},
		"it is in hand, another declined":        {facts: with(first, none, declinedLater), after: 2 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.Declined},
		"it was in hand for too long":            {facts: with(first, none), after: 12 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.ConsentLost},
		"the code was dead":                      {facts: with(first.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), none), state: mailbox.StateNeedsConsent, reason: mailbox.CodeExpired},
		"someone else consented":                 {facts: with(saved.Mismatch(f, at), none), state: mailbox.StateMismatch},
		"the other account was accepted":         {facts: with(saved.Mismatch(f, at), none, accepted(at.Add(time.Second))), state: mailbox.StateNeedsConsent, reason: mailbox.AccountAccepted},
		"accepted, and then somebody else came":  {facts: with(saved.Mismatch(f, at), none, accepted(at.Add(-time.Second))), state: mailbox.StateMismatch},
		"accepted, and then declined":            {facts: with(saved.Mismatch(f, at), none, accepted(at.Add(time.Second)), declinedLater), after: 2 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.Declined},
		"accepted, and saved":                    {facts: with(saved, none, accepted(at.Add(-time.Second))), state: mailbox.StateGranted},
		"the tokens were revoked":                {facts: with(saved.Revoke(f, at), none), state: mailbox.StateNeedsConsent, reason: mailbox.Revoked},
		"the tokens are withheld":                {facts: with(saved.Withhold(faultOf(fault.NeedsConsent, mailbox.AdminRequired), at), none), state: mailbox.StateNeedsConsent, reason: mailbox.AdminRequired, stage: "refresh"},
		"withheld, another declined":             {facts: with(saved.Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at), none, declinedLater), after: 2 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.SignInFailed, stage: "refresh"},
		"withheld, a newer code in hand":         {facts: with(renewing.Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at), none), state: mailbox.StateGranted},
		"withheld, the newer code was refused":   {facts: with(renewing.Fail(faultOf(fault.NeedsConsent, mailbox.Declined), at).Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at), none), state: mailbox.StateNeedsConsent, reason: mailbox.SignInFailed, stage: "refresh"},
		"withheld, then rotated":                 {facts: with(saved.Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at).Rotate(tokens("new", at.Add(time.Hour)), at), none), state: mailbox.StateGranted},
		"withheld while a POST is unclear":       {facts: with(saved.Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at), unclear), state: mailbox.StateUnclear},
		"registered, withheld later":             {facts: with(saved.Withhold(faultOf(fault.NeedsConsent, mailbox.SignInFailed), at), registered), state: mailbox.StateRegistered},
		"the code died":                          {facts: with(first.Bury(codeOf(1), f, at), none), state: mailbox.StateDead, stage: "code"},
		"the proof died":                         {facts: with(saved.Bury(codeOf(1), f, at), none), state: mailbox.StateDead, stage: "code"},
		"a new consent after a death":            {facts: answered(t, with(first.Bury(codeOf(1), f, at), none), 2, ""), after: 2 * time.Minute, state: mailbox.StateCodeReceived},
		"tokens are stored":                      {facts: with(saved, none), state: mailbox.StateGranted},
		"granted, another declined":              {facts: with(saved, none, declinedLater), after: 2 * time.Minute, state: mailbox.StateGranted},
		"granted, a newer code in hand":          {facts: with(renewing, none), state: mailbox.StateGranted},
		"granted, the newer code died":           {facts: with(renewing.Bury(codeOf(2), f, at), none), state: mailbox.StateGranted},
		"granted, the newer code was refused":    {facts: with(renewing.Fail(faultOf(fault.NeedsConsent, mailbox.Declined), at), none), state: mailbox.StateGranted},
		"the refresh died":                       {facts: with(saved.Bury(codeOf(1).Follow(events.RefreshRequested, at), f, at), none), state: mailbox.StateDead, stage: "refresh"},
		"the refresh died, a newer code too old": {facts: with(renewing.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at).Bury(codeOf(1).Follow(events.RefreshRequested, at), f, at), none), state: mailbox.StateDead, stage: "refresh"},
		"posting":                                {facts: with(saved, one), state: mailbox.StateRegistering},
		"posting, for older tokens":              {facts: with(savedGrant(t, 2), one), state: mailbox.StateRegistering},
		"refused, tried again later":             {facts: with(saved, one.NotPosted(f, at)), state: mailbox.StateGranted},
		"unclear":                                {facts: with(saved, unclear), state: mailbox.StateUnclear},
		"unclear, for older tokens":              {facts: with(savedGrant(t, 2), unclear), state: mailbox.StateUnclear},
		"the registration died":                  {facts: with(saved, one.NotPosted(f, at).Bury(registerOf(1), f, at)), state: mailbox.StateDead, stage: "register"},
		"the listing died":                       {facts: with(saved, unclear.Bury(reconcileOf(1), f, at)), state: mailbox.StateDead, stage: "reconcile"},
		"older tokens' registration died":        {facts: with(savedGrant(t, 2), one.NotPosted(f, at).Bury(registerOf(1), f, at)), state: mailbox.StateGranted},
		"registered":                             {facts: with(saved, registered), state: mailbox.StateRegistered},
		"registered, revoked later":              {facts: with(saved.Revoke(f, at), registered), state: mailbox.StateNeedsConsent, reason: mailbox.Revoked},
		"registered, revoked, declined then":     {facts: with(saved.Revoke(f, at), registered, declinedLater), after: 2 * time.Minute, state: mailbox.StateNeedsConsent, reason: mailbox.Declined},
		"registered, revoked, a new code":        {facts: answered(t, with(saved.Revoke(f, at), registered), 2, ""), after: 2 * time.Minute, state: mailbox.StateCodeReceived},
		"registered, revoked, it is in hand":     {facts: with(claimed(t, saved.Revoke(f, at), 2), registered), after: time.Minute, state: mailbox.StateRedeeming},
		"registered, revoked, new tokens":        {facts: with(claimed(t, saved.Revoke(f, at), 2).Save(tokens("new", at.Add(time.Hour)), at), registered), state: mailbox.StateRegistered, reason: mailbox.ReconnectDue},
		"registered, revoked, somebody else's":   {facts: with(claimed(t, saved.Revoke(f, at), 2).Save(tokens("new", at.Add(time.Hour)), at).Mismatch(f, at.Add(2*time.Minute)), registered), after: 2 * time.Minute, state: mailbox.StateMismatch},
		"registered, a newer code in hand":       {facts: with(renewing, registered), state: mailbox.StateRegistered},
		"registered, its refresh died":           {facts: with(saved.Bury(codeOf(1).Follow(events.GrantIdle, at), f, at), registered), state: mailbox.StateRegistered},
		"registered, nothing of its grant known": {facts: with(mailbox.Grant{}, registered), state: mailbox.StateRegistered},
		"registered, declined later":             {facts: with(saved, registered, declinedLater), state: mailbox.StateRegistered},
		"registered, a newer consent saved":      {facts: with(savedGrant(t, 2), registered), state: mailbox.StateRegistered, reason: mailbox.ReconnectDue},
		"erased, whatever else":                  {facts: with(saved, registered, erased), state: mailbox.StateErased},
		"erased, not begun":                      {facts: with(mailbox.Grant{}, none, erased), state: mailbox.StateErased},
		"a phase of a newer version":             {facts: with(mailbox.Grant{Phase: "pondering", Attempt: "att01", CodeAt: at.Add(time.Minute)}, none), state: mailbox.StateRedeeming},
		"a newer version's registration":         {facts: with(saved, mailbox.Registration{Phase: "pondering", Attempt: "att01"}), state: mailbox.StateGranted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mailbox.View(test.facts, at.Add(time.Minute+test.after))
			if got.State != test.state || got.Reason != test.reason || got.Stage != test.stage {
				t.Errorf("%s (reason %q, stage %q), want %s (%q, %q)", got.State, got.Reason, got.Stage, test.state, test.reason, test.stage)
			}
			if test.facts.Registration.Phase == mailbox.Registered && test.facts.Invitation.ErasedAt.IsZero() && got.WarmyID != "4711" {
				t.Errorf("Warmy's id is seen as %q", got.WarmyID)
			}
			if got.Since.IsZero() && test.facts.Grant.Phase != "pondering" {
				t.Error("since when is not said")
			}
		})
	}
}

func TestViewExplainsWhatWentWrong(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	facts := answered(t, invited(), 1, "")
	facts.Grant = savedGrant(t, 1)
	facts.Registration = posting(t, mailbox.Registration{}, 1).NotPosted(f, at)
	for name, registration := range map[string]mailbox.Registration{
		"tried again": facts.Registration, "dead": facts.Registration.Bury(registerOf(1), f, at),
	} {
		facts.Registration = registration
		if got := mailbox.View(facts, at); got.Finding == nil || got.Finding.Code != f.Code {
			t.Errorf("%s: finding %+v", name, got.Finding)
		}
	}
	facts.Registration = registration4711(t)
	if got := mailbox.View(facts, at); got.Finding != nil || got.WarmyID != "4711" {
		t.Errorf("registered: %+v", got)
	}
	late := answered(t, invited(), 1, "")
	if got := mailbox.View(late, at.Add(time.Hour)); got.Finding == nil || got.Finding.Forecast != fault.ByPerson {
		t.Errorf("a code that nobody redeemed: %+v", got.Finding)
	}
}

func registration4711(t *testing.T) mailbox.Registration {
	t.Helper()
	return posting(t, mailbox.Registration{}, 1).Created("4711", false, at)
}
