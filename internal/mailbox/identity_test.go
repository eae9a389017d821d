package mailbox_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

func TestOnlyTheSameAccountIsTheSame(t *testing.T) {
	t.Parallel()
	who := mailbox.Who(events.Proof{TenantID: "t", ObjectID: "o"})
	for name, p := range map[string]events.Proof{
		"another tenant": {TenantID: "t2", ObjectID: "o"}, "another object": {TenantID: "t", ObjectID: "o2"},
		"no tenant": {ObjectID: "o"}, "no object": {TenantID: "t"}, "nothing": {},
	} {
		if got := mailbox.Who(p); got == who || got == "" != (p.ObjectID == "") {
			t.Errorf("%s is %q", name, got)
		}
	}
	if len(who) != 32 || who != mailbox.Who(events.Proof{TenantID: "t", ObjectID: "o"}) {
		t.Errorf("%q", who)
	}
}

func TestAnIdentityIsBoundWhileItsHolderMayBeAtWarmy(t *testing.T) {
	t.Parallel()
	held := mailbox.Identity{Mailbox: "a", Intent: &mailbox.Registration{Phase: mailbox.Posting}}
	again := mailbox.Registration{Phase: mailbox.Registered, Again: &mailbox.Again{Work: mailbox.Registration{Phase: mailbox.RegistrationDead}}}
	for name, c := range map[string]struct {
		held   mailbox.Identity
		own    mailbox.Registration
		stored bool
		bound  bool
	}{
		"nothing was posted":              {mailbox.Identity{Mailbox: "a"}, mailbox.Registration{Phase: mailbox.Registered}, true, false},
		"the first intent stands":         {held, mailbox.Registration{}, false, true},
		"taken back, or declared absent":  {held, mailbox.Registration{}, true, false},
		"being posted":                    {held, mailbox.Registration{Phase: mailbox.Posting}, true, true},
		"unclear":                         {held, mailbox.Registration{Phase: mailbox.Uncertain}, true, true},
		"registered":                      {held, mailbox.Registration{Phase: mailbox.Registered}, true, true},
		"registered, a reconnection died": {held, again, true, true},
		"dead":                            {held, mailbox.Registration{Phase: mailbox.RegistrationDead}, true, false},
		"dead, unsettled":                 {held, mailbox.Registration{Phase: mailbox.RegistrationDead, Unsettled: true}, true, true},
		"a newer version's":               {held, mailbox.Registration{Phase: "later"}, true, true},
	} {
		if _, bound := c.held.Bound(c.own, c.stored); bound != c.bound {
			t.Errorf("%s: bound %v", name, bound)
		}
	}
	if _, mine := held.Intended("b"); mine {
		t.Error("another's intent is taken for its own")
	}
}

// TestAFirstIntentStandsUnderTheFirstAccountAlone: what was said once stays, whatever becomes of the tokens.
func TestAFirstIntentStandsUnderTheFirstAccountAlone(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	code := func(n int) events.Event {
		e := events.New(events.CodeReceived, string(rune('a'+n)), at.Add(time.Duration(n)*time.Minute))
		e.Attempt = "att" + e.ID
		return e
	}
	tokens := func(object string) mailbox.Tokens {
		return mailbox.Tokens{Access: secret.New("a"), Refresh: secret.New("r"), Whose: events.Proof{TenantID: "t", ObjectID: object}}
	}
	claimed := func(g mailbox.Grant, n int) mailbox.Grant { g, _ = g.Claim(code(n), "w", at, time.Second); return g }
	wrong := mailbox.Who(events.Proof{TenantID: "t", ObjectID: "wrong"})
	fresh := claimed(mailbox.Grant{}, 0)
	for name, c := range map[string]struct {
		grant mailbox.Grant
		who   string
	}{
		"no tokens were saved":    {fresh, ""},
		"two codes, no tokens":    {claimed(fresh.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), 1), ""},
		"saved":                   {fresh.Save(tokens("wrong"), at), wrong},
		"of nobody that is known": {fresh.Save(tokens(""), at), ""},
		"and then of somebody":    {claimed(fresh.Save(tokens(""), at), 1).Save(tokens("right"), at), ""},
		"another account later":   {claimed(fresh.Save(tokens("wrong"), at), 1).Save(tokens("right"), at), wrong},
		"another account, after those were destroyed": {
			claimed(fresh.Save(tokens("wrong"), at).Mismatch(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), 1).Save(tokens("right"), at), wrong,
		},
		"late tokens":              {merged(claimed(fresh.Fail(faultOf(fault.NeedsConsent, mailbox.CodeExpired), at), 1), fresh, tokens("wrong"), at), wrong},
		"an older version's grant": {claimed(mailbox.Grant{Phase: mailbox.GrantNeedsConsent, Attempt: "old"}, 1).Save(tokens("right"), at), ""},
		"the code was lost": {
			mailbox.Facts{Invitation: mailbox.Invitation{ID: "a"}, Grant: fresh.Save(tokens("wrong"), at)}.LoseCode("att9", at), wrong,
		},
	} {
		if who, ok := c.grant.FirstIntent(); ok != (c.who != "") || ok && who != c.who {
			t.Errorf("%s: %q, %v", name, who, ok)
		}
	}
}

func merged(g, mine mailbox.Grant, t mailbox.Tokens, at time.Time) mailbox.Grant {
	g, _ = g.Merge(mine, t, at)
	return g
}
