package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

func containsAny(text string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

func TestTheFunnelFollowsTheFactsAndTheTime(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", "email\na@a.example\nb@a.example\nc@a.example\n")
	id := w.Links.Mailbox("main", "a@a.example")
	w.Claims.Put(id, mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "t1", StartedAt: w.Now(), AnsweredAt: w.Now(), CodeHash: "h"}}})
	w.Registrations.Put(w.Links.Mailbox("main", "b@a.example"), mailbox.Registration{Phase: mailbox.Registered, WarmyID: "4711", Since: w.Now()})
	state := func(s mailbox.State) int {
		var v console.CampaignView
		call(t, w, console.Viewer, "GET", "/api/v1/campaigns/"+report.Campaign, "").decode(t, &v)
		if v.Funnel.Total != 3 {
			t.Fatalf("total %d", v.Funnel.Total)
		}
		return v.Funnel.ByState[s]
	}
	w.Eventually(t, "one is registered and one has a code", func() bool {
		return state(mailbox.StateRegistered) == 1 && state(mailbox.StateCodeReceived) == 1 && state(mailbox.StateInvited) == 1
	})
	w.Advance(13 * time.Minute)
	if state(mailbox.StateNeedsConsent) != 1 || state(mailbox.StateCodeReceived) != 0 {
		t.Error("a dead code is still counted as received")
	}
	w.Advance(15 * 24 * time.Hour)
	var list console.MailboxList
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?reason=link_expired", "").decode(t, &list)
	if len(list.Mailboxes) != 1 || list.Mailboxes[0].Address != "c@a.example" || list.Mailboxes[0].Remedy != "issue a new link" {
		t.Errorf("list = %+v", list)
	}
}

func TestMailboxesAreListedInPages(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	csv := "email\n"
	for i := range 25 {
		csv += fmt.Sprintf("o%02d@a.example\n", i)
	}
	importCSV(t, w, "Spring", csv)
	var seen []string
	for cursor := ""; ; {
		var list console.MailboxList
		call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?limit=10&state=invited&cursor="+cursor, "").decode(t, &list)
		for _, m := range list.Mailboxes {
			seen = append(seen, m.Address)
		}
		if cursor = list.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 25 || seen[0] != "o00@a.example" || seen[24] != "o24@a.example" {
		t.Errorf("seen = %v", seen)
	}
	for _, query := range []string{"limit=201", "cursor=nosuch", "state=odd", "q=x"} {
		if a := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?"+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s got %d", query, a.status)
		}
	}
}

func TestAnAddressIsFoundWithoutStandingInAURL(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email,app\nada@a.example,main\nada@a.example,second\nbob@b.example,main\n")
	for body, want := range map[string]int{
		`{"address":"ADA@a.example"}`: 2, `{"address":"ada@a.example","app":"second"}`: 1, `{"contains":"b.exa"}`: 1, `{"address":"x@y.example"}`: 0,
	} {
		var list console.MailboxList
		call(t, w, console.Viewer, "POST", "/api/v1/mailboxes/find", body).decode(t, &list)
		if len(list.Mailboxes) != want {
			t.Errorf("%s found %d", body, len(list.Mailboxes))
		}
	}
	if a := call(t, w, console.Viewer, "POST", "/api/v1/mailboxes/find", `{"contains":"a"}`); a.status != http.StatusBadRequest {
		t.Errorf("got %d", a.status)
	}
}

func TestAReinvitationKillsTheOldLink(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	w.Advance(20 * 24 * time.Hour)
	var link console.NewLink
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/reinvite", `{"reason":"asked for it"}`).decode(t, &link)
	inv, _, _ := w.Invitations.Load(t.Context(), id)
	if link.Generation != 2 || link.Link != "https://connect.example/c/"+w.Links.Link(id, 2) || inv.LinkHash != mailbox.Hash(w.Links.Link(id, 2)) ||
		!inv.LinkExpiresAt.Equal(w.Now().Add(14*24*time.Hour)) {
		t.Errorf("link = %+v, invitation = %+v", link, inv)
	}
	var m console.MailboxView
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id, "").decode(t, &m)
	if m.LinkGeneration != 2 || m.ReasonCode != "" {
		t.Errorf("the console does not see its own write: %+v", m)
	}
}

func TestAConnectedMailboxGetsNoNewLink(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	w.Registrations.Put(id, mailbox.Registration{Phase: mailbox.Registered, WarmyID: "1", Since: w.Now()})
	w.Eventually(t, "it is registered", func() bool {
		return strings.Contains(call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id, "").body, `"registered"`)
	})
	a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/reinvite", `{"force":true}`)
	if p := a.problem(t); p.Status != http.StatusConflict || p.Code != "registered" {
		t.Errorf("problem = %+v", p)
	}
}

func TestAMailboxThatWarmyHasGetsANewLinkWhenItsGrantDied(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	w.Registrations.Put(id, mailbox.Registration{Phase: mailbox.Registered, WarmyID: "4711", Attempt: "a1", Since: w.Now()})
	w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantNeedsConsent, Reason: mailbox.Revoked, Attempt: "a1", Since: w.Now()})
	w.Eventually(t, "it needs its owner, and Warmy's id is still there", func() bool {
		body := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id, "").body
		return strings.Contains(body, `"needs_consent"`) && strings.Contains(body, `"revoked"`) && strings.Contains(body, `"warmy_id":"4711"`)
	})
	if a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/reinvite", `{}`); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestABulkReinvitationTakesOnlyThoseALinkHelps(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", "email\na@a.example\nb@a.example\nc@a.example\n")
	refused := mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "t1", StartedAt: w.Now(), AnsweredAt: w.Now(), Refusal: mailbox.Declined}}}
	w.Claims.Put(w.Links.Mailbox("main", "a@a.example"), refused)
	w.Registrations.Put(w.Links.Mailbox("main", "b@a.example"), mailbox.Registration{Phase: mailbox.Registered, WarmyID: "1", Since: w.Now()})
	body := `{"selection":{"campaigns":["` + report.Campaign + `"]},%s}`
	w.Eventually(t, "the preview takes one", func() bool {
		var p console.Preview
		call(t, w, console.Worker, "POST", "/api/v1/mailboxes/reinvite", fmt.Sprintf(body, `"dry_run":true`)).decode(t, &p)
		return p.Count == 1 && p.ByState["needs_consent"] == 1 && p.LeftOut["registered"] == 1 && p.LeftOut["invited"] == 1
	})
	var j console.Job
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/reinvite", fmt.Sprintf(body, `"confirm":1`)).decode(t, &j)
	if j = waitForJob(t, w, j.ID); j.Done != 1 {
		t.Errorf("job = %+v", j)
	}
	inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "a@a.example"))
	if inv.LinkGeneration != 2 {
		t.Errorf("generation %d", inv.LinkGeneration)
	}
}

func TestLinksAreHandedOutToThoseWhoMayAndAudited(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", "email,external_id\na@a.example,=1+1\nb@a.example,\n")
	w.Registrations.Put(w.Links.Mailbox("main", "b@a.example"), mailbox.Registration{Phase: mailbox.Registered, WarmyID: "1", Since: w.Now()})
	path := "/api/v1/campaigns/" + report.Campaign + "/links"
	w.Eventually(t, "only one link is left", func() bool {
		return strings.Count(call(t, w, console.Worker, "GET", path, "").body, "https://connect.example/c/") == 1
	})
	a := call(t, w, console.Worker, "GET", path+"?format=jsonl", "")
	if !strings.Contains(a.body, w.Links.Link(w.Links.Mailbox("main", "a@a.example"), 1)) || a.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("%s", a.body)
	}
	if csv := call(t, w, console.Worker, "GET", path, "").body; !strings.Contains(csv, `"'=1+1"`) {
		t.Errorf("a formula is not guarded: %s", csv)
	}
	if a := call(t, w, console.Viewer, "GET", path, ""); a.status != http.StatusForbidden {
		t.Errorf("a viewer got %d", a.status)
	}
	trail := w.Audit.Entries()
	if last := trail[len(trail)-1]; last.Action != "campaign.links" || last.Outcome != "done" {
		t.Errorf("trail ends with %+v", last)
	}
}

func TestAnExplanationTellsTheWholeStoryInOrder(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	deadMailboxes(t, w, 1)
	id := w.Links.Mailbox("main", "owner0@a.example")
	w.Claims.Put(id, mailbox.Claim{Attempts: []mailbox.Attempt{
		{ID: "a0", StartedAt: w.Now().Add(-3 * time.Minute), AnsweredAt: w.Now().Add(-2 * time.Minute), Refusal: mailbox.Declined},
		{ID: "a1", StartedAt: w.Now().Add(-90 * time.Second), AnsweredAt: w.Now().Add(-time.Minute), CodeHash: "h"},
	}})
	d := letter(events.Register, fault.Transient, fault.ByTime, id)
	d.Tries = []events.Try{{At: w.Now(), Class: "transient", Code: "warmy_502", Cause: "Warmy answered 502"}}
	d.DiedAt = w.Now().Add(time.Second)
	w.Dead.Add(d)
	var e console.Explanation
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id+"/explain", "").decode(t, &e)
	var told []string
	for i, m := range e.Timeline {
		told = append(told, m.What)
		if i > 0 && m.At.Before(e.Timeline[i-1].At) {
			t.Error("the timeline is not in order")
		}
	}
	for _, want := range []string{"invited", "owner pressed connect", "came back without consent", "owner consented, code received", "tokens stored, sealed", "given up", "try failed: warmy_502", "dead letter 2"} {
		if !strings.Contains(strings.Join(told, "|"), want) {
			t.Errorf("%q is not told: %q", want, told)
		}
	}
	if e.Mailbox.State != mailbox.StateDead || e.Mailbox.Remedy != "mend it" || len(e.Dead) != 2 {
		t.Errorf("explanation = %+v", e.Mailbox)
	}
}

// What the vendor's guide calls common errors is said where an operator looks: in the explanation of the mailbox.
func TestTheVendorsCommonErrorsAreExplainedWithTheirRemedies(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\na@a.example\n")
	id := w.Links.Mailbox("main", "a@a.example")
	tokens := &mailbox.Tokens{Attempt: "x", SavedAt: w.Now(), Expiry: w.Now()}
	asks := func(reason string) mailbox.Grant {
		return mailbox.Grant{Phase: mailbox.GrantNeedsConsent, Reason: reason, Attempt: "x", Since: w.Now()}
	}
	withheld := mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "x", Tokens: tokens, Since: w.Now()}.
		Withhold(&fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS53003", Reason: mailbox.AdminRequired, Cause: "a policy blocks", Remedy: "ask the admin"}, w.Now())
	for name, c := range map[string]struct {
		grant              mailbox.Grant
		reason, says, next string
	}{
		"nobody came back: redirect URI": {mailbox.Grant{}, "", "compare the app's redirect URI with the one registered in Azure", "waits for the owner"},
		"the admin has to grant":         {asks(mailbox.AdminRequired), mailbox.AdminRequired, "'Grant admin consent' in the Azure portal", "waits for the tenant's admin"},
		"asked again and again":          {asks(mailbox.SignInFailed), mailbox.SignInFailed, "leave edge.start_prompt: consent out", "waits for the owner"},
		"tokens are kept":                {withheld, mailbox.AdminRequired, "ask the admin", "waits for the tenant's admin; the tokens are kept, and Microsoft is asked for them again every six hours"},
	} {
		w.Grants.Put(id, c.grant)
		var e console.Explanation
		w.Eventually(t, name, func() bool {
			call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id+"/explain", "").decode(t, &e)
			return e.Mailbox.ReasonCode == c.reason && e.Mailbox.Next == c.next
		})
		if !strings.Contains(e.Mailbox.Remedy, c.says) {
			t.Errorf("%s: %q", name, e.Mailbox.Remedy)
		}
		if kept := strings.Contains(fmt.Sprint(e.Timeline), "the old ones are kept"); kept != c.grant.Withheld() {
			t.Errorf("%s: kept is told: %t", name, kept)
		}
	}
}

func TestStatusGivesEverythingAtAGlance(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\na@a.example\nb@a.example\n")
	w.Registrations.Put(w.Links.Mailbox("main", "b@a.example"), mailbox.Registration{Phase: mailbox.Registered, WarmyID: "1", Since: w.Now()})
	w.Grants.Put(w.Links.Mailbox("main", "a@a.example"), mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "x", Tokens: &mailbox.Tokens{Attempt: "x", SavedAt: w.Now()}})
	call(t, w, console.Worker, "POST", "/api/v1/legs/hold", `{"name":"warmy/main"}`)
	var s console.Status
	w.Eventually(t, "the status counts both", func() bool {
		call(t, w, console.Viewer, "GET", "/api/v1/status", "").decode(t, &s)
		return s.Funnel.ByState[mailbox.StateRegistered] == 1 && s.InPipeline == 1
	})
	if s.Rate != 0.2 || s.LastHour != 1 || s.ETASeconds != 0 || !s.DoneAt.IsZero() {
		t.Errorf("rate %v, hour %d, eta %v", s.Rate, s.LastHour, s.ETASeconds)
	}
	want := []leg.Leg{{Name: "microsoft/main", State: leg.Open}, {Name: "warmy/main", State: leg.Held, Code: "held_by_operator", Cause: "held by an operator", By: "operator one"}}
	want[1].Load = leg.Load{Waiting: 1, Calls: 1, PerMinute: 60}
	if diff := cmp.Diff(want, s.Legs); diff != "" {
		t.Errorf("legs:\n%s", diff)
	}
	call(t, w, console.Worker, "POST", "/api/v1/legs/release", `{"name":"warmy/main"}`)
	call(t, w, console.Viewer, "GET", "/api/v1/status", "").decode(t, &s)
	if s.ETASeconds != 1 || !s.DoneAt.Equal(w.Now().Add(time.Second)) {
		t.Errorf("released: done at %v, in %v s", s.DoneAt, s.ETASeconds)
	}
}

func TestUntilAllFactsAreReadTheConsoleSaysSo(t *testing.T) {
	t.Parallel()
	w := consoletest.NewUnready(t)
	a := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes", "")
	if p := a.problem(t); p.Status != http.StatusServiceUnavailable || p.Code != "catching_up" {
		t.Errorf("problem = %+v", p)
	}
	if a := call(t, w, console.Viewer, "GET", "/api/v1/legs", ""); a.status != http.StatusOK {
		t.Errorf("legs need no facts: %d", a.status)
	}
}

func TestACampaignThatThereIsNotIsAnErrorAndNotAnEmptyList(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\na@a.example\n")
	for _, path := range []string{"/api/v1/mailboxes?campaign=nope", "/api/v1/dead?campaign=nope"} {
		if a := call(t, w, console.Viewer, "GET", path, ""); a.status != http.StatusBadRequest || a.problem(t).Code != "unknown_campaign" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	var list console.MailboxList
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?campaign=Spring", "").decode(t, &list)
	if len(list.Mailboxes) != 1 {
		t.Errorf("by its name: %+v", list)
	}
}
