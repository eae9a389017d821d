package cli_test

import (
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// consented has another account consent for an imported mailbox.
func (tm *terminal) consented(t *testing.T, alias bool) mailbox.ID {
	t.Helper()
	tm.run(t, "campaign", "import", tm.file(t, "one.csv", "email\nada@a.example\n"), "--name", "Spring", "--yes").want(t, 0)
	id := tm.w.Links.Mailbox("main", "ada@a.example")
	tm.w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantMismatch, Attempt: "att", Since: tm.w.Now(), Consented: &mailbox.Account{
		Proof: events.Proof{TenantID: "tid", ObjectID: "oid"}, Address: secret.New("boss@a.example"), Alias: alias,
	}})
	return id
}

func TestAnAliasIsShownAndAcceptedFromTheCommandLine(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	id := tm.consented(t, true)
	for _, verb := range []string{"show", "explain"} {
		if r := tm.run(t, "mailbox", verb, "ada@a.example").want(t, 0); !strings.Contains(r.out, "boss@a.example consented, of which the invited address is an alias") {
			t.Errorf("%s does not say who consented:\n%s", verb, r.out)
		}
	}
	r := tm.run(t, "mailbox", "accept-alias", "ada@a.example").want(t, 64)
	if inv, _, _ := tm.w.Invitations.Load(t.Context(), id); inv.Accepted != nil || !strings.Contains(r.talk, "--yes") {
		t.Errorf("accepted unasked: %s", r.talk)
	}
	r = tm.run(t, "mailbox", "accept-alias", "ada@a.example", "--yes", "-o", "json").want(t, 0)
	done := decode[console.Accepted](t, r)
	inv, _, _ := tm.w.Invitations.Load(t.Context(), id)
	if done.Link != "https://connect.example/c/"+tm.w.Links.Link(id, 1) || inv.Accepted == nil || !inv.Accepted.Alias ||
		!strings.Contains(r.talk, "ada@a.example was invited, boss@a.example consented") {
		t.Errorf("%+v, %+v, said %s", done, inv.Accepted, r.talk)
	}
	if r := tm.run(t, "mailbox", "show", id).want(t, 0); !strings.Contains(r.out, "an operator has accepted it") {
		t.Errorf("show does not tell:\n%s", r.out)
	}
}

func TestADifferentAccountNeedsInsistenceAndAReason(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	id := tm.consented(t, false)
	for _, c := range []struct {
		exit int
		says string
		args []string
	}{
		{1, "is no alias", nil},
		{64, "--reason", []string{"--other-account"}},
		{0, "", []string{"--other-account", "--reason", "took over"}},
	} {
		r := tm.run(t, append([]string{"mailbox", "accept-alias", id, "--yes"}, c.args...)...).want(t, c.exit)
		if c.says != "" && !strings.Contains(r.talk, c.says) {
			t.Errorf("%v: %s", c.args, r.talk)
		}
		if inv, _, _ := tm.w.Invitations.Load(t.Context(), id); (inv.Accepted != nil) != (c.exit == 0) {
			t.Errorf("%v: accepted %+v", c.args, inv.Accepted)
		}
	}
}

func TestThereIsNothingToAcceptWithoutAMismatch(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "one.csv", "email\nada@a.example\n"), "--name", "Spring", "--yes").want(t, 0)
	if r := tm.run(t, "mailbox", "accept-alias", "ada@a.example", "--yes").want(t, 1); !strings.Contains(r.talk, "no other account") {
		t.Error(r.talk)
	}
}
