package mailbox_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func TestLateTokensWinUnlessANewerConsentSavedItsOwn(t *testing.T) {
	t.Parallel()
	mine := claimed(t, mailbox.Grant{}, 1)
	renewing := claimed(t, savedGrant(t, 0), 1)
	now := at.Add(10 * time.Minute)
	late := tokens("late", now.Add(time.Hour))
	for name, test := range map[string]struct {
		mine, current mailbox.Grant
		want          string // access token that is stored then
		phase         mailbox.GrantPhase
		ok            bool
	}{
		"buried meanwhile":                    {mine, mine.Bury(codeOf(1), faultOf(fault.Transient, ""), at), "late", mailbox.GrantSaved, true},
		"declared lost meanwhile":             {mine, mine.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), "late", mailbox.GrantSaved, true},
		"claimed by another worker":           {mine, mine, "late", mailbox.GrantSaved, true},
		"ours are stored already":             {mine, savedGrant(t, 1), "access1", mailbox.GrantSaved, true},
		"a newer code is in hand":             {mine, claimed(t, mine, 2), "late", mailbox.GrantRedeeming, true},
		"a newer code is in hand, old tokens": {renewing, claimed(t, renewing, 2), "late", mailbox.GrantRedeeming, true},
		"a newer consent saved":               {mine, savedGrant(t, 2), "access2", mailbox.GrantSaved, false},
		"a newer consent replaced old tokens": {renewing, savedGrant(t, 2), "access2", mailbox.GrantSaved, false},
		"a newer one saved, a third in hand":  {mine, claimed(t, savedGrant(t, 2), 3), "access2", mailbox.GrantRedeeming, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := test.current.Merge(test.mine, late, now)
			if ok != test.ok || got.Phase != test.phase || got.Tokens.Access.Reveal() != test.want {
				t.Errorf("ok %v, phase %s, tokens %q", ok, got.Phase, got.Tokens.Access.Reveal())
			}
			if ok && got.Tokens.Attempt != "att01" {
				t.Errorf("they are said to come from %s", got.Tokens.Attempt)
			}
		})
	}
}

func TestNewsOfOldTokensLeavesANewerCodeInHandAlone(t *testing.T) {
	t.Parallel()
	renewing := claimed(t, savedGrant(t, 1), 2)
	f := faultOf(fault.Permanent, "")
	register := codeOf(1).Follow(events.RefreshRequested, at)
	for name, got := range map[string]mailbox.Grant{
		"rotated":  renewing.Rotate(tokens("new", at), at),
		"mismatch": renewing.Mismatch(f, at),
		"revoked":  renewing.Revoke(f, at),
		"buried":   renewing.Bury(register, f, at),
	} {
		want := renewing
		want.Tokens = got.Tokens
		same(t, want, got, name)
		if destroyed := got.Tokens == nil; destroyed != (name == "mismatch" || name == "revoked") {
			t.Errorf("%s: tokens destroyed: %v", name, destroyed)
		}
	}
}

func TestMismatchAndRevocationDestroyTheTokens(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.NeedsConsent, mailbox.AdminRequired)
	mismatch := savedGrant(t, 1).Mismatch(f, at)
	if mismatch.Phase != mailbox.GrantMismatch || mismatch.Tokens != nil || mismatch.Finding == nil {
		t.Errorf("mismatch %+v", mismatch)
	}
	revoked := savedGrant(t, 1).Revoke(f, at)
	if revoked.Phase != mailbox.GrantNeedsConsent || revoked.Reason != mailbox.Revoked || revoked.Tokens != nil {
		t.Errorf("revoked %+v", revoked)
	}
}

func TestBuryingKeepsTheBetterExplanation(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Transient, "")
	first := claimed(t, mailbox.Grant{}, 1)
	saved := savedGrant(t, 1)
	expired := first.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at)
	refresh := codeOf(1).Follow(events.RefreshRequested, at)
	for name, test := range map[string]struct {
		grant mailbox.Grant
		event events.Event
		stage string // "": unchanged
	}{
		"a code that was never claimed":            {mailbox.Grant{}, codeOf(1), "code"},
		"a code in hand":                           {first, codeOf(1), "code"},
		"a newer code before its claim":            {expired, codeOf(2), "code"},
		"a code that a newer one replaced":         {claimed(t, first, 2), codeOf(1), ""},
		"a code that needs its owner again":        {expired, codeOf(1), ""},
		"a code of someone else":                   {saved.Mismatch(f, at), codeOf(1), ""},
		"a proof after the tokens were saved":      {saved, codeOf(1), "code"},
		"a refresh":                                {saved, refresh, "refresh"},
		"a refresh after a newer code was refused": {claimed(t, saved, 2).Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), refresh, "refresh"},
		"a proof after a newer code was refused":   {claimed(t, saved, 2).Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), codeOf(1), ""},
		"a refresh of revoked tokens":              {saved.Revoke(f, at), refresh, ""},
		"a refresh of replaced tokens":             {savedGrant(t, 2), refresh, ""},
		"a dead one, for another cause":            {first.Bury(codeOf(1), faultOf(fault.Permanent, ""), at), codeOf(1).Replayed(7, at), "code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.grant.Bury(test.event, f, at.Add(time.Hour))
			if test.stage == "" {
				same(t, test.grant, got, "the grant changed")
				return
			}
			if got.Phase != mailbox.GrantDead || got.Stage != test.stage || got.Finding.Code != f.Code || got.Owner != "" {
				t.Errorf("buried %+v", got)
			}
			if got.Tokens != test.grant.Tokens {
				t.Error("saved tokens were lost")
			}
		})
	}
}

func TestAGrantWithGoodTokensLivesAgain(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	dead := savedGrant(t, 1).Bury(codeOf(1), f, at)
	alive, revived := dead.Revive(at)
	if !revived || alive.Phase != mailbox.GrantSaved || alive.Stage != "" || alive.Finding != nil {
		t.Errorf("revived %v: %+v", revived, alive)
	}
	for name, g := range map[string]mailbox.Grant{
		"not dead":               savedGrant(t, 1),
		"dead without tokens":    claimed(t, mailbox.Grant{}, 1).Bury(codeOf(1), f, at),
		"a newer code is dead":   claimed(t, savedGrant(t, 1), 2).Bury(codeOf(2), f, at),
		"nothing is known of it": {},
	} {
		got, revived := g.Revive(at)
		if revived {
			t.Errorf("%s: revived", name)
		}
		same(t, g, got, name)
	}
	if rotated := dead.Rotate(tokens("new", at), at); rotated.Phase != mailbox.GrantSaved || rotated.Stage != "" {
		t.Errorf("a refresh leaves it %+v", rotated)
	}
}
