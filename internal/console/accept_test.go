package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

const (
	bossTenant = "11111111-2222-4333-8444-555555555555"
	bossObject = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
)

// mismatch has somebody else consent for ada@a.example.
func mismatch(t *testing.T, w *consoletest.World, alias bool) mailbox.ID {
	t.Helper()
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	w.Grants.Put(id, mailbox.Grant{
		Phase: mailbox.GrantMismatch, Attempt: "att", Since: w.Now(),
		Finding: &mailbox.Finding{Class: fault.Permanent, Code: "identity_mismatch", Cause: "b•••@a.example consented", Remedy: "decide"},
		Consented: &mailbox.Account{
			Proof: events.Proof{TenantID: bossTenant, ObjectID: bossObject}, Address: secret.New("Boss@a.example"), Alias: alias,
		},
	})
	w.Eventually(t, "the console knows", func() bool { return state(t, w, id) == "mismatch " })
	return id
}

func state(t *testing.T, w *consoletest.World, id mailbox.ID) string {
	t.Helper()
	m := show(t, w, id)
	return string(m.State) + " " + m.ReasonCode
}

func show(t *testing.T, w *consoletest.World, id mailbox.ID) console.MailboxView {
	t.Helper()
	var m console.MailboxView
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id, "").decode(t, &m)
	return m
}

func TestBothAddressesOfAMismatchAreShown(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := mismatch(t, w, true)
	m := show(t, w, id)
	if want := (console.OtherAccount{Address: "Boss@a.example", TenantID: bossTenant, ObjectID: bossObject, Alias: true}); m.Address != "ada@a.example" ||
		m.Consented == nil || *m.Consented != want || m.Accepted != nil {
		t.Errorf("%+v, consented %+v", m, m.Consented)
	}
	explained := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id+"/explain", "").body
	page := call(t, w, console.Worker, "GET", "/mailboxes/"+id, "").body
	for name, text := range map[string]string{"explain": explained, "page": page} {
		if !strings.Contains(text, "ada@a.example") || !strings.Contains(text, "Boss@a.example") {
			t.Errorf("%s lacks an address:\n%s", name, text)
		}
	}
	if !strings.Contains(page, "Accept the alias</button>") || strings.Contains(page, "other_account") {
		t.Errorf("the page does not offer what to do:\n%s", page)
	}
	if viewer := call(t, w, console.Viewer, "GET", "/mailboxes/"+id, "").body; strings.Contains(viewer, "Accept the alias</button>") {
		t.Error("the button is shown to somebody who may not press it")
	}
	if list := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes", "").body; strings.Contains(list, "Boss@") {
		t.Error("a list shows who consented")
	}
}

func TestAnAcceptedAliasIsRecordedAndWaitsForItsOwner(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := mismatch(t, w, true)
	body := fmt.Sprintf(`{"tenant_id":%q,"object_id":%q,"reason":"same mailbox"}`, bossTenant, bossObject)
	var done console.Accepted
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/accept-alias", body).decode(t, &done)
	inv, _, _ := w.Invitations.Load(t.Context(), id)
	if done.Address != "ada@a.example" || done.Consented.Address != "Boss@a.example" || !done.Consented.Accepted ||
		done.Link != "https://connect.example/c/"+w.Links.Link(id, 1) || !done.ExpiresAt.Equal(inv.LinkExpiresAt) {
		t.Errorf("%+v", done)
	}
	if k := inv.Accepted; k == nil || k.Proof != (events.Proof{TenantID: bossTenant, ObjectID: bossObject}) || !k.Alias || !k.At.After(w.Now()) {
		t.Errorf("%+v", inv.Accepted)
	}
	if got := state(t, w, id); got != "needs_consent account_accepted" {
		t.Errorf("the mailbox is %s", got)
	}
	entries := w.Audit.Entries()
	entries = entries[len(entries)-2:]
	for i, outcome := range []string{"intent", "done"} {
		e := entries[i]
		if e.Action != "mailbox.accept_alias" || e.Target != id || e.Outcome != outcome || e.Reason != "account "+bossTenant+"/"+bossObject+": same mailbox" || strings.Contains(fmt.Sprint(e), "@") {
			t.Errorf("audit %+v", e)
		}
	}
	// Twice is as good as once, and a new link keeps the decision.
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/accept-alias", body).decode(t, &done)
	var link console.NewLink
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/reinvite", "{}").decode(t, &link)
	if m := show(t, w, id); m.Accepted == nil || !m.Consented.Accepted || m.LinkGeneration != 2 {
		t.Errorf("%+v", m)
	}
	w.Advance(20 * 24 * time.Hour)
	var late console.Accepted
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/accept-alias", body).decode(t, &late)
	if late.Link != "" || late.Mailbox != id {
		t.Errorf("a link that has expired is handed out: %+v", late)
	}
}

func TestAnAccountIsNotAcceptedByMistake(t *testing.T) {
	t.Parallel()
	insist := func(reason string) string {
		return fmt.Sprintf(`{"tenant_id":%q,"object_id":%q,"other_account":true,"reason":%q}`, bossTenant, bossObject, reason)
	}
	for name, c := range map[string]struct {
		alias  bool
		change func(w *consoletest.World, id mailbox.ID)
		body   string
		status int
		code   string
	}{
		"no alias":                  {false, nil, `{}`, 409, "not_an_alias"},
		"insisted without reason":   {false, nil, insist(""), 400, "reason_missing"},
		"another account meanwhile": {true, nil, fmt.Sprintf(`{"tenant_id":%q,"object_id":"other"}`, bossTenant), 409, "another_account"},
		"another tenant meanwhile":  {true, nil, fmt.Sprintf(`{"tenant_id":"other","object_id":%q}`, bossObject), 409, "another_account"},
		"nobody known": {true, func(w *consoletest.World, id mailbox.ID) {
			w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantMismatch, Attempt: "att", Since: w.Now()})
		}, insist("x"), 409, "no_mismatch"},
		"no mismatch": {true, func(w *consoletest.World, id mailbox.ID) { w.Grants.Put(id, mailbox.Grant{}) }, insist("x"), 409, "no_mismatch"},
		"registered": {true, func(w *consoletest.World, id mailbox.ID) {
			w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "att", Since: w.Now(), Tokens: &mailbox.Tokens{Attempt: "att"}})
			w.Registrations.Put(id, mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", WarmyID: "1", Since: w.Now()})
		}, `{}`, 409, "registered"},
		"store down":      {true, func(w *consoletest.World, _ mailbox.ID) { w.Grants.SetDown(true) }, `{}`, 503, ""},
		"trail down":      {true, func(w *consoletest.World, _ mailbox.ID) { w.Audit.SetDown(true) }, `{}`, 503, "audit_unavailable"},
		"unknown field":   {true, nil, `{"everything":true}`, 400, ""},
		"reason too long": {false, nil, insist(strings.Repeat("x", 600)), 400, "reason_too_long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := consoletest.New(t)
			id := mismatch(t, w, c.alias)
			if c.change != nil {
				c.change(w, id)
			}
			if name == "registered" {
				w.Eventually(t, "it is registered", func() bool { return state(t, w, id) == "registered " })
			}
			a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/accept-alias", c.body)
			if p := a.problem(t); p.Status != c.status || c.code != "" && p.Code != c.code || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
			if inv, _, _ := w.Invitations.Load(t.Context(), id); inv.Accepted != nil {
				t.Errorf("accepted: %+v", inv.Accepted)
			}
		})
	}
}

func TestADifferentAccountIsAcceptedAloneAndForAReason(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := mismatch(t, w, false)
	form := url.Values{"tenant_id": {bossTenant}, "object_id": {bossObject}, "other_account": {"yes"}, "reason": {"took over"}}
	a := call(t, w, console.Worker, "POST", "/mailboxes/"+id+"/accept-alias", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if a.status != http.StatusOK || !strings.Contains(a.body, "Boss@a.example is accepted for ada@a.example.") || !strings.Contains(a.body, w.Links.Link(id, 1)) {
		t.Errorf("%d\n%s", a.status, a.body)
	}
	inv, _, _ := w.Invitations.Load(t.Context(), id)
	if inv.Accepted == nil || inv.Accepted.Alias {
		t.Errorf("%+v", inv.Accepted)
	}
	if inv.Accepts(mailbox.Account{Proof: events.Proof{TenantID: bossTenant, ObjectID: "third"}, Alias: true}) {
		t.Error("a third account is accepted, too")
	}
	entries := w.Audit.Entries()
	if e := entries[len(entries)-1]; e.Action != "mailbox.accept_account" || !strings.HasSuffix(e.Reason, ": took over") {
		t.Errorf("audit %+v", e)
	}
}
