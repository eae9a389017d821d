package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

func TestAMailboxIsReconnectedByNameAndBySelection(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "acme.csv", "email\nada@a.example\nbob@a.example\n")).want(t, 0)
	ada := tm.w.Links.Mailbox("main", "ada@a.example")
	reg := mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: tm.w.Now()}
	tm.w.Grants.Put(ada, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a1", Tokens: &mailbox.Tokens{Attempt: "a1", SavedAt: tm.w.Now()}})
	tm.w.Registrations.Put(ada, reg)
	tm.w.Eventually(t, "one is registered", func() bool {
		return len(decode[console.MailboxList](t, tm.run(t, "mailbox", "list", "--state", "registered", "-o", "json").want(t, 0)).Mailboxes) == 1
	})
	if r := tm.run(t, "mailbox", "reconnect", "--app", "main", "--dry-run", "--canary", "1").want(t, 0); !strings.Contains(r.out, "invited") || !strings.Contains(r.out, "registered") {
		t.Errorf("%s", r.out)
	}
	tm.run(t, "mailbox", "reconnect").want(t, 64)
	tm.run(t, "mailbox", "reconnect", "ada@a.example", "--campaign", "x").want(t, 64)
	tm.run(t, "mailbox", "reconnect", "ada@a.example", "--app", "main,second").want(t, 64)
	tm.run(t, "mailbox", "reconnect", "--why", "nosuch", "--yes").want(t, 64)
	for _, bad := range [][]string{{"--max-failure", "NaN"}, {"--max-failure", "101"}, {"--rate", "NaN"}, {"--rate", "Inf"}, {"--told-before", "soon"}} {
		if r := tm.run(t, append([]string{"mailbox", "reconnect", "--app", "main", "--yes"}, bad...)...).want(t, 64); !strings.Contains(r.talk, bad[0]) {
			t.Errorf("%s: %s", bad, r.talk)
		}
	}
	if r := tm.run(t, "mailbox", "explain", "eve@a.example").want(t, 1); !strings.Contains(r.talk, "kindling mailbox list --all") {
		t.Errorf("no remedy: %s", r.talk)
	}
	before, since := tm.w.Now().Add(-time.Minute).Format(time.RFC3339), tm.w.Now().Add(time.Minute).Format(time.RFC3339)
	for when, n := range map[string]int{before: 0, since: 1} {
		if got := decode[console.MailboxList](t, tm.run(t, "mailbox", "list", "--told-before", when, "-o", "json").want(t, 0)); len(got.Mailboxes) != n {
			t.Errorf("told before %s: %+v", when, got)
		}
		if r := tm.run(t, "mailbox", "reconnect", "--told-before", when, "--dry-run", "-o", "json").want(t, 0); !strings.Contains(r.out, fmt.Sprintf(`"count": %d`, n)) {
			t.Errorf("told before %s: %s", when, r.out)
		}
	}
	tm.run(t, "mailbox", "reconnect", "--app", "main").want(t, 64) // nobody can be asked
	if n := len(tm.w.Published.All()); n != 0 {
		t.Fatalf("%d were asked for", n)
	}
	tm.run(t, "mailbox", "reconnect", "ada@a.example", "--yes", "--detach", "--reason", "rotated").want(t, 0)
	tm.w.Eventually(t, "it is asked for", func() bool { return len(tm.w.Published.All()) == 1 })
	reg.Again = &mailbox.Again{Work: mailbox.Registration{Phase: mailbox.RegistrationDead, Attempt: "a1", Since: tm.w.Now().Add(time.Second)}}
	tm.w.Registrations.Put(ada, reg)
	if r := tm.run(t, "mailbox", "explain", "ada@a.example").want(t, 0); !strings.Contains(r.out+r.talk, "reconnecting given up") && !strings.Contains(r.out+r.talk, "dead letter") {
		t.Errorf("%s %s", r.out, r.talk)
	}
}
