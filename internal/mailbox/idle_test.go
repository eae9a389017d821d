package mailbox_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

const day = 24 * time.Hour

func TestDueTimesAreSpreadAndStayInTheirBounds(t *testing.T) {
	t.Parallel()
	keep := mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: 25 * day}
	saved := mailbox.Tokens{SavedAt: at, Expiry: at.Add(75 * time.Minute)}
	perDay := map[int]int{}
	for i := range 1000 {
		id := fmt.Sprintf("mb%d", i)
		due := keep.Due(id, saved)
		if due != keep.Due(id, saved) {
			t.Fatal("a mailbox has two due times")
		}
		if after := due.Sub(at); after < 25*day*9/10 || after > 25*day*11/10 {
			t.Fatalf("due after %v", after)
		}
		perDay[int(due.Sub(at)/day)]++
	}
	for d := 23; d < 27; d++ { // five days share a thousand
		if n := perDay[d]; n < 100 || n > 300 {
			t.Errorf("%d are due on day %d: %v", n, d, perDay)
		}
	}
}

func TestAnAccessTokenIsRefreshedBeforeItRunsOut(t *testing.T) {
	t.Parallel()
	keep := mailbox.KeepAlive{Mode: mailbox.RefreshAlways, Margin: 10 * time.Minute}
	rapid.Check(t, func(r *rapid.T) {
		life := time.Duration(rapid.IntRange(1, 28*60).Draw(r, "life")) * time.Minute
		tokens := mailbox.Tokens{SavedAt: at, Expiry: at.Add(life)}
		id := rapid.StringMatching(`[a-z2-7]{24}`).Draw(r, "id")
		due := keep.Due(id, tokens)
		if !due.Before(tokens.Expiry) || due.Before(at.Add(life/2)) {
			r.Fatalf("tokens that live %v are due after %v", life, due.Sub(at))
		}
		if !keep.Idle(id, tokens, due) || keep.Idle(id, tokens, at) {
			r.Fatal("idle at the wrong time")
		}
		if next := keep.Next(id, tokens, at.Add(365*day)); next.Before(at.Add(365*day)) || next.After(at.Add(365*day+time.Hour)) {
			r.Fatalf("an overdue refresh waits until %v", next)
		}
	})
}

func TestNothingIsDueWhenThePolicyIsOff(t *testing.T) {
	t.Parallel()
	for _, keep := range []mailbox.KeepAlive{{}, {Mode: mailbox.RefreshOff, After: day}} {
		tokens := mailbox.Tokens{SavedAt: at.Add(-365 * day)}
		if keep.On() || keep.Idle(mb, tokens, at) || !keep.Due(mb, tokens).IsZero() || !keep.Next(mb, tokens, at).IsZero() {
			t.Errorf("%+v refreshes", keep)
		}
	}
}

func TestTheTimersOfOneConsentShareAnID(t *testing.T) {
	t.Parallel()
	inv := mailbox.Invitation{ID: mb, App: "main", Account: "agency", Campaign: "camp"}
	first, second := mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "att01"}, at), mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "att01"}, at.Add(day))
	other := mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "att02"}, at)
	if first.ID != second.ID || first.ID == other.ID || !second.NotBefore.Equal(at.Add(day)) {
		t.Errorf("%+v, %+v, %+v", first, second, other)
	}
	if _, err := events.Encode(first); err != nil {
		t.Error(err)
	}
}

func TestOnlyAGrantThatCanBeRefreshedIsDue(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	invited := mailbox.Invitation{ID: mb}
	saved := savedGrant(t, 1)
	for name, test := range map[string]struct {
		facts mailbox.Facts
		due   bool
	}{
		"saved":               {mailbox.Facts{Invitation: invited, Grant: saved}, true},
		"registered":          {mailbox.Facts{Invitation: invited, Grant: saved, Registration: registration4711(t)}, true},
		"a newer code":        {mailbox.Facts{Invitation: invited, Grant: claimed(t, saved, 2)}, true},
		"never invited":       {mailbox.Facts{Grant: saved}, false},
		"erased":              {mailbox.Facts{Invitation: mailbox.Invitation{ID: mb, ErasedAt: at}, Grant: saved}, false},
		"revoked":             {mailbox.Facts{Invitation: invited, Grant: saved.Revoke(f, at)}, false},
		"given up":            {mailbox.Facts{Invitation: invited, Grant: saved.Bury(codeOf(1).Follow(events.GrantIdle, at), f, at)}, false},
		"no tokens":           {mailbox.Facts{Invitation: invited, Grant: claimed(t, mailbox.Grant{}, 1)}, false},
		"of a newer version":  {mailbox.Facts{Invitation: invited, Grant: mailbox.Grant{Phase: "pondering", Tokens: saved.Tokens}}, false},
		"another app's grant": {mailbox.Facts{Invitation: mailbox.Invitation{ID: mb, App: "gone"}, Grant: saved}, true}, // token-worker knows which apps it serves
	} {
		if got := test.facts.IdleDue(); got != test.due {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLateTokensOfARefreshWinOverARevocationOnly(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.NeedsConsent, mailbox.Revoked)
	saved := savedGrant(t, 1)
	mine, late := *saved.Tokens, tokens("late", at.Add(2*time.Hour))
	for name, test := range map[string]struct {
		grant mailbox.Grant
		ok    bool
		phase mailbox.GrantPhase
	}{
		"unchanged":              {saved, true, mailbox.GrantSaved},
		"called revoked":         {saved.Revoke(f, at), true, mailbox.GrantSaved},
		"given up":               {saved.Bury(codeOf(1).Follow(events.GrantIdle, at), f, at), true, mailbox.GrantSaved},
		"a newer code in hand":   {claimed(t, saved, 2), true, mailbox.GrantRedeeming},
		"revoked and a new code": {claimed(t, saved.Revoke(f, at), 2), true, mailbox.GrantRedeeming},
		"renewed by others":      {saved.Rotate(tokens("theirs", at.Add(time.Hour)), at), false, mailbox.GrantSaved},
		"another account's":      {saved.Mismatch(f, at), false, mailbox.GrantMismatch},
		"a newer consent's":      {savedGrant(t, 2), false, mailbox.GrantSaved},
		"a newer one's, revoked": {savedGrant(t, 2).Revoke(f, at), false, mailbox.GrantNeedsConsent},
	} {
		got, ok := test.grant.Renew(mine, late, at)
		if ok != test.ok || got.Phase != test.phase || ok && (!got.Tokens.Access.Equal(late.Access) || got.Reason != "" || got.Tokens.Rotation != 1) {
			t.Errorf("%s: %v, %+v", name, ok, got)
		}
	}
}
