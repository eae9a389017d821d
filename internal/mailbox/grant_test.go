package mailbox_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

const mb = "mbxmbxmbxmbxmbxmbxmbxmbx"

// need is the time that a redeem is given.
const need = 5 * time.Second

// codeOf is the event of the nth attempt's code, received n minutes after at.
func codeOf(n int) events.Event {
	received := at.Add(time.Duration(n) * time.Minute)
	e := events.New(events.CodeReceived, fmt.Sprintf("seed%d", n), received)
	e.Mailbox, e.App, e.Account, e.Attempt = mb, "main", "agency", fmt.Sprintf("att%02d", n)
	e.Deadline, e.Sealed = received.Add(mailbox.CodeLife), []byte("sealed")
	return e
}

func faultOf(class fault.Class, reason string) *fault.Fault {
	return &fault.Fault{Class: class, Code: "test_" + string(class), Cause: "a test", Forecast: fault.ByTime, Reason: reason}
}

func tokens(access string, expiry time.Time) mailbox.Tokens {
	return mailbox.Tokens{
		Access: secret.New(access), Refresh: secret.New(access + "-refresh"), IDToken: secret.New(access + "-id"),
		Nonce: secret.New("nonce"), Expiry: expiry, Scope: []string{"Mail.Send"},
	}
}

// claimed is a grant whose code n is being redeemed by w1, in its first send.
func claimed(t *testing.T, g mailbox.Grant, n int) mailbox.Grant {
	t.Helper()
	e := codeOf(n)
	next, verdict := g.Claim(e, "w1", e.At, need)
	if verdict != mailbox.Proceed {
		t.Fatalf("claim of code %d: verdict %v", n, verdict)
	}
	return next
}

// savedGrant is a grant with the tokens of code n.
func savedGrant(t *testing.T, n int) mailbox.Grant {
	t.Helper()
	now := codeOf(n).At.Add(time.Second)
	return claimed(t, mailbox.Grant{}, n).Save(tokens(fmt.Sprintf("access%d", n), now.Add(time.Hour)), now)
}

// same compares grants, secrets by what they hide.
func same(t *testing.T, want, got mailbox.Grant, what string) {
	t.Helper()
	byValue := cmp.Comparer(func(a, b secret.Text) bool { return a.Equal(b) })
	if diff := cmp.Diff(want, got, byValue, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestACodeIsSpentOnlyWhenNothingSpeaksAgainstIt(t *testing.T) {
	t.Parallel()
	first := claimed(t, mailbox.Grant{}, 1)
	sent := func(times int) mailbox.Grant { g := first; g.Sends = times; return g }
	saved := savedGrant(t, 1)
	replayed := codeOf(1).Replayed(7, at)
	expired := first.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at)
	dead := first.Bury(codeOf(1), faultOf(fault.Permanent, ""), at)
	deadSaved := saved.Bury(codeOf(1), faultOf(fault.Permanent, ""), at)
	mismatch := saved.Mismatch(faultOf(fault.Permanent, ""), at)
	revoked := saved.Revoke(faultOf(fault.NeedsConsent, ""), at)
	second := codeOf(2)
	for name, test := range map[string]struct {
		grant mailbox.Grant
		event events.Event
		owner string
		after time.Duration // from the event's time
		want  mailbox.Verdict
	}{
		"a code of which nothing is known":              {event: codeOf(1), want: mailbox.Proceed},
		"the same worker again, within its lease":       {grant: first, event: codeOf(1), after: time.Second, want: mailbox.Proceed},
		"another worker within the lease":               {grant: first, event: codeOf(1), owner: "w2", after: mailbox.RedeemLease - 1, want: mailbox.Wait},
		"another worker's replay within the lease":      {grant: first, event: replayed, owner: "w2", after: time.Second, want: mailbox.Wait},
		"another worker after the lease":                {grant: first, event: codeOf(1), owner: "w2", after: mailbox.RedeemLease, want: mailbox.Proceed},
		"the last send":                                 {grant: sent(mailbox.MaxSends - 1), event: codeOf(1), want: mailbox.Proceed},
		"a send too many":                               {grant: sent(mailbox.MaxSends), event: codeOf(1), want: mailbox.Refuse},
		"a code with just enough life":                  {event: codeOf(1), after: mailbox.CodeLife - need, want: mailbox.Proceed},
		"a code with too little life":                   {event: codeOf(1), after: mailbox.CodeLife - need + 1, want: mailbox.Refuse},
		"a sent code with too little life":              {grant: first, event: codeOf(1), after: mailbox.CodeLife, want: mailbox.Refuse},
		"tokens are saved":                              {grant: saved, event: codeOf(1), owner: "w2", want: mailbox.Resume},
		"tokens are saved, replayed after the deadline": {grant: saved, event: replayed, after: time.Hour, want: mailbox.Resume},
		"tokens are saved, but the proof died":          {grant: deadSaved, event: codeOf(1), want: mailbox.Resume},
		"the same, replayed":                            {grant: deadSaved, event: replayed, after: time.Hour, want: mailbox.Resume},
		"tokens are saved, a newer code is in hand":     {grant: claimed(t, saved, 2), event: codeOf(1), want: mailbox.Resume},
		"needs consent":                                 {grant: expired, event: codeOf(1), want: mailbox.Done},
		"dead":                                          {grant: dead, event: codeOf(1), want: mailbox.Done},
		"dead, replayed":                                {grant: dead, event: replayed, after: time.Second, want: mailbox.Proceed},
		"dead, replayed too late":                       {grant: dead, event: replayed, after: time.Hour, want: mailbox.Refuse},
		"someone else's tokens were destroyed":          {grant: mismatch, event: codeOf(1), want: mailbox.Done},
		"the same, replayed: mismatch":                  {grant: mismatch, event: replayed, want: mailbox.Done},
		"the tokens were revoked, replayed":             {grant: revoked, event: replayed, want: mailbox.Done},
		"a newer code won":                              {grant: claimed(t, first, 2), event: codeOf(1), want: mailbox.Done},
		"a newer code was refused":                      {grant: claimed(t, first, 2).Fail(faultOf(fault.NeedsConsent, mailbox.Declined), at), event: codeOf(1), want: mailbox.Done},
		"a newer code after tokens were saved":          {grant: saved, event: second, want: mailbox.Proceed},
		"a newer code after a mismatch":                 {grant: mismatch, event: second, want: mailbox.Proceed},
		"a newer code after a revocation":               {grant: revoked, event: second, want: mailbox.Proceed},
		"a newer code while another is in hand":         {grant: first, event: second, owner: "w2", want: mailbox.Proceed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owner := test.owner
			if owner == "" {
				owner = "w1"
			}
			now := test.event.At.Add(test.after)
			next, verdict := test.grant.Claim(test.event, owner, now, need)
			if verdict != test.want {
				t.Fatalf("verdict %v, want %v", verdict, test.want)
			}
			switch verdict {
			case mailbox.Proceed:
				if next.Phase != mailbox.GrantRedeeming || next.Attempt != test.event.Attempt || next.EventID != test.event.ID ||
					next.Owner != owner || !next.Lease.Equal(now.Add(mailbox.RedeemLease)) || next.Finding != nil || next.Tokens != test.grant.Tokens {
					t.Errorf("claimed %+v", next)
				}
			case mailbox.Refuse:
				if next.Phase != mailbox.GrantNeedsConsent || next.Owner != "" || next.Finding == nil || next.Attempt != test.event.Attempt {
					t.Errorf("refused %+v", next)
				}
			case mailbox.Resume, mailbox.Done, mailbox.Wait:
				same(t, test.grant, next, "the grant changed")
			}
		})
	}
}

func TestARefusedCodeSaysWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	first := claimed(t, mailbox.Grant{}, 1)
	late := at.Add(time.Hour)
	for name, test := range map[string]struct {
		grant  mailbox.Grant
		reason string
	}{
		"never sent: too old":                        {mailbox.Grant{}, mailbox.CodeExpired},
		"sent, no answer: lost on our side":          {first, mailbox.ConsentLost},
		"asked to wait, never looked at: too old":    {first.Fail(faultOf(fault.RetryAfter, ""), at), mailbox.CodeExpired},
		"held leg, never looked at: too old":         {first.Fail(faultOf(fault.LegDown, ""), at), mailbox.CodeExpired},
		"an older code was lost, this one too old":   {claimed(t, mailbox.Grant{}, 0), mailbox.CodeExpired},
		"failed without a clear answer: also a loss": {first.Fail(faultOf(fault.Transient, ""), at), mailbox.ConsentLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, verdict := test.grant.Claim(codeOf(1), "w2", late, need)
			if verdict != mailbox.Refuse || got.Reason != test.reason || got.Finding.Forecast != fault.ByPerson {
				t.Errorf("verdict %v, reason %q", verdict, got.Reason)
			}
		})
	}
}

func TestSendsAreCountedPerCode(t *testing.T) {
	t.Parallel()
	g := claimed(t, mailbox.Grant{}, 1)
	for sends := 1; sends <= mailbox.MaxSends; sends++ {
		if g.Sends != sends {
			t.Fatalf("%d sends are counted, want %d", g.Sends, sends)
		}
		if sends < mailbox.MaxSends {
			g = claimed(t, g.Fail(faultOf(fault.Transient, ""), at), 1)
		}
	}
	if next := claimed(t, g, 2); next.Sends != 1 {
		t.Errorf("a newer code begins with %d sends", next.Sends)
	}
	for _, class := range []fault.Class{fault.RetryAfter, fault.LegDown} {
		if held := g.Fail(faultOf(class, ""), at); held.Sends != mailbox.MaxSends-1 {
			t.Errorf("%s: %d sends are left counted", class, held.Sends)
		}
	}
}

func TestTwoCodesOfOneInstantDoNotTakeTurns(t *testing.T) {
	t.Parallel()
	a, b := codeOf(1), codeOf(2)
	b.At = a.At
	g, _ := mailbox.Grant{}.Claim(a, "w1", at, need)
	g, verdict := g.Claim(b, "w1", at, need)
	if verdict != mailbox.Proceed {
		t.Fatalf("the second: %v", verdict)
	}
	if _, verdict = g.Claim(a, "w1", at, need); verdict != mailbox.Done {
		t.Errorf("the first again: %v", verdict)
	}
}

func TestAFailedRedeemKeepsWhatIsWorthMore(t *testing.T) {
	t.Parallel()
	again := claimed(t, claimed(t, mailbox.Grant{}, 1).Fail(faultOf(fault.Transient, ""), at), 1)
	renewing := claimed(t, savedGrant(t, 1), 2)
	for name, test := range map[string]struct {
		grant  mailbox.Grant
		fault  *fault.Fault
		phase  mailbox.GrantPhase
		reason string
	}{
		"transient":                         {again, faultOf(fault.Transient, ""), mailbox.GrantRedeeming, ""},
		"asked to wait":                     {again, faultOf(fault.RetryAfter, ""), mailbox.GrantRedeeming, ""},
		"permanent: the bus buries":         {again, faultOf(fault.Permanent, ""), mailbox.GrantRedeeming, ""},
		"dead after a clean first send":     {claimed(t, mailbox.Grant{}, 1), faultOf(fault.NeedsConsent, mailbox.CodeExpired), mailbox.GrantNeedsConsent, mailbox.CodeExpired},
		"dead after an unknown send":        {again, faultOf(fault.NeedsConsent, mailbox.CodeExpired), mailbox.GrantNeedsConsent, mailbox.ConsentLost},
		"an admin's matter, however often":  {again, faultOf(fault.NeedsConsent, mailbox.AdminRequired), mailbox.GrantNeedsConsent, mailbox.AdminRequired},
		"a newer code of a granted mailbox": {renewing, faultOf(fault.NeedsConsent, mailbox.CodeExpired), mailbox.GrantNeedsConsent, mailbox.CodeExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.grant.Fail(test.fault, at)
			if got.Phase != test.phase || got.Reason != test.reason || got.Owner != "" || !got.Lease.IsZero() || got.Finding == nil {
				t.Errorf("got %+v", got)
			}
			if got.Tokens != test.grant.Tokens {
				t.Error("saved tokens were lost")
			}
		})
	}
}

func TestSavedTokensCarryTheirAttempt(t *testing.T) {
	t.Parallel()
	now := at.Add(time.Hour)
	g := claimed(t, mailbox.Grant{}, 1).Save(tokens("a", now), now)
	if g.Phase != mailbox.GrantSaved || g.Tokens.Attempt != "att01" || !g.Tokens.SavedAt.Equal(now) || g.Owner != "" || !g.Lease.IsZero() {
		t.Errorf("saved %+v", g)
	}
	if g.Tokens.Fresh(now, 0) || !g.Tokens.Fresh(now.Add(-time.Second), 0) || g.Tokens.Fresh(now.Add(-time.Minute), time.Minute) {
		t.Error("freshness is judged wrongly")
	}
	if (*mailbox.Tokens)(nil).Fresh(at, 0) {
		t.Error("no tokens are fresh")
	}
}

func TestRotationKeepsWhatTheAnswerLeftOut(t *testing.T) {
	t.Parallel()
	g := savedGrant(t, 1)
	now := at.Add(2 * time.Hour)
	got := g.Rotate(mailbox.Tokens{Access: secret.New("new"), Expiry: now.Add(time.Hour)}, now)
	want := *g.Tokens
	want.Access, want.Expiry, want.SavedAt, want.Rotation = secret.New("new"), now.Add(time.Hour), now, 1
	if diff := cmp.Diff(want, *got.Tokens, cmp.Comparer(func(a, b secret.Text) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("rotated tokens (-want +got):\n%s", diff)
	}
	again := got.Rotate(mailbox.Tokens{Access: secret.New("x"), Refresh: secret.New("y"), Scope: []string{"User.Read"}}, now)
	if again.Tokens.Refresh.Reveal() != "y" || again.Tokens.Scope[0] != "User.Read" || again.Tokens.Rotation != 2 {
		t.Errorf("what the answer holds was not taken: %+v", again.Tokens)
	}
	if g.Tokens.Rotation != 0 {
		t.Error("the old value changed")
	}
	if none := (mailbox.Grant{}).Rotate(tokens("a", now), now); none.Tokens != nil {
		t.Error("tokens were rotated out of nothing")
	}
}
