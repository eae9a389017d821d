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
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// registered imports n mailboxes that Warmy has, and one that it has not.
func registered(t *testing.T, w *consoletest.World, n int) (ids []mailbox.ID) {
	t.Helper()
	csv := "email\nwaiting@a.example\n"
	for i := range n {
		csv += fmt.Sprintf("owner%d@a.example\n", i)
	}
	importCSV(t, w, "Spring", csv)
	for i := range n {
		id := w.Links.Mailbox("main", fmt.Sprintf("owner%d@a.example", i))
		w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a1", Tokens: &mailbox.Tokens{Attempt: "a1", SavedAt: w.Now()}})
		w.Registrations.Put(id, connectedAs(w, nil))
		ids = append(ids, id)
	}
	w.Eventually(t, "all are registered", func() bool {
		var list console.MailboxList
		call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?state=registered&limit=200", "").decode(t, &list)
		return len(list.Mailboxes) == n
	})
	return ids
}

func connectedAs(w *consoletest.World, again *mailbox.Again) mailbox.Registration {
	return mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: w.Now(), Again: again}
}

func told(w *consoletest.World, phase mailbox.RegistrationPhase) *mailbox.Again {
	return &mailbox.Again{Work: mailbox.Registration{Phase: phase, Attempt: "a1", Since: w.Now().Add(time.Second)}}
}

func reconnect(t *testing.T, w *consoletest.World, role, body string) answer {
	t.Helper()
	return call(t, w, role, "POST", "/api/v1/mailboxes/reconnect", body)
}

func TestAReconnectionAsksOnceForEachRegisteredMailbox(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 3)
	var p console.Preview
	reconnect(t, w, console.Worker, `{"selection":{"apps":["main"]},"dry_run":true}`).decode(t, &p)
	if p.Count != 3 || p.LeftOut["invited"] != 1 || len(w.Published.All()) != 0 {
		t.Fatalf("%+v", p)
	}
	var j console.Job
	reconnect(t, w, console.Worker, `{"selection":{"apps":["main"]},"confirm":3,"rate":1000,"reason":"rotated"}`).decode(t, &j)
	w.Eventually(t, "all are asked for", func() bool { return len(w.Published.All()) == 3 })
	asked := map[string]bool{}
	for _, e := range w.Published.All() {
		if _, err := events.Encode(e); err != nil || e.Kind != events.ReconnectRequested || e.App != "main" || e.Account != "main" || e.Attempt != "" || e.Proof != nil {
			t.Errorf("%+v: %v", e, err)
		}
		asked[e.Mailbox] = true
	}
	for _, id := range ids {
		if !asked[id] {
			t.Errorf("nothing was asked for %s", id)
		}
		w.Registrations.Put(id, connectedAs(w, told(w, mailbox.Registered)))
	}
	if j = waitForJob(t, w, j.ID); j.State != console.JobDone || j.Recovered != 3 || j.DiedAgain != 0 {
		t.Errorf("%+v", j)
	}
}

func TestACanaryThatCannotBeReconnectedStopsTheRest(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 10)
	var j console.Job
	reconnect(t, w, console.Worker, `{"selection":{"all":true},"confirm":10,"rate":1000,"canary":2}`).decode(t, &j)
	w.Eventually(t, "the canary is asked for", func() bool { return len(w.Published.All()) == 2 })
	for _, e := range w.Published.All() {
		w.Registrations.Put(e.Mailbox, connectedAs(w, told(w, mailbox.RegistrationDead)))
	}
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.Done != 2 || j.DiedAgain != 2 || len(w.Published.All()) != 2 {
		t.Errorf("%+v", j)
	}
	var list console.MailboxList
	call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?state=registered&reason=reconnect_failed", "").decode(t, &list)
	if len(list.Mailboxes) != 2 || list.Mailboxes[0].Remedy == "" || list.Mailboxes[0].WarmyID != "7" {
		t.Errorf("%+v", list)
	}
}

func TestAReconnectionThatCannotBeStoredGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 2)
	w.Published.Down(true)
	var j console.Job
	reconnect(t, w, console.Worker, `{"selection":{"ids":["`+ids[0]+`","`+ids[1]+`"]},"confirm":2,"rate":1000}`).decode(t, &j)
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.Done != 0 {
		t.Fatalf("%+v", j)
	}
	w.Published.Down(false)
	if a := call(t, w, console.Worker, "POST", "/api/v1/replays/"+j.ID+"/resume", ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if j = waitForJob(t, w, j.ID); j.Done != 2 || len(w.Published.All()) != 2 {
		t.Errorf("%+v", j)
	}
}

func TestBadReconnectionsAreRefused(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 1)
	for body, want := range map[string]string{
		`{"selection":{}}`:                                         "bad_selection",
		`{"selection":{"all":true,"apps":["main"]}}`:               "bad_selection",
		`{"selection":{"apps":["nosuch"]}}`:                        "unknown_app",
		`{"selection":{"states":["invited"]},"confirm":1}`:         "nothing_chosen",
		`{"selection":{"all":true}}`:                               "confirm_needed",
		`{"selection":{"all":true},"confirm":2}`:                   "count_changed",
		`{"selection":{"all":true},"confirm":1,"rate":-1}`:         "bad_bulk",
		`{"selection":{"all":true},"confirm":1,"max_failure":101}`: "bad_bulk",
		`{"selection":{"all":true},"confirm":1,"canary":-1}`:       "bad_bulk",
		`{"selection":{"all":true},"force":true}`:                  "bad_json",
	} {
		if p := reconnect(t, w, console.Worker, body).problem(t); p.Code != want {
			t.Errorf("%s: %s, want %s", body, p.Code, want)
		}
	}
	for body, want := range map[string][2]string{
		`"rate":20000`:        {"rate 20000 is out of range", "0.01 to 10,000"},
		`"max_failure":100.5`: {"max_failure 100.5 is out of range", "percentage"},
		`"canary":-2`:         {"canary -2 is out of range", "0 means none"},
	} {
		p := reconnect(t, w, console.Worker, `{"selection":{"all":true},"confirm":1,`+body+`}`).problem(t)
		if p.Code != "bad_bulk" || p.Detail != want[0] || !strings.Contains(p.Remedy, want[1]) {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if a := reconnect(t, w, console.Viewer, `{"selection":{"all":true},"confirm":1}`); a.status != http.StatusForbidden {
		t.Errorf("a viewer got %d", a.status)
	}
	if len(w.Published.All()) != 0 {
		t.Errorf("asked for %+v", w.Published.All())
	}
}

func TestThePageReconnectsOneMailbox(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 2)
	b := newBrowser(t, w, console.Worker)
	if page := b.open(t, "/mailboxes/"+ids[0]); !strings.Contains(page.body, "Reconnect at Warmy") {
		t.Error("no button")
	}
	if page := b.send(t, "/mailboxes/reconnect", url.Values{"id": {ids[0]}}); !strings.Contains(page.body, "Reconnect 1 mailboxes") {
		t.Errorf("%s", page.body)
	}
	b.send(t, "/mailboxes/reconnect/confirm", url.Values{"filter": {"id=" + ids[0]}, "confirm": {"1"}, "rate": {"1000"}})
	w.Eventually(t, "it is asked for", func() bool { return len(w.Published.All()) == 1 })
}

// begin starts a reconnection of all registered mailboxes and waits until so many were asked for.
func begin(t *testing.T, w *consoletest.World, body string, asked int) (j console.Job) {
	t.Helper()
	reconnect(t, w, console.Worker, body).decode(t, &j)
	w.Eventually(t, "they are asked for", func() bool { return len(w.Published.All()) == asked })
	return j
}

// resume lets a stopped job go on.
func resume(t *testing.T, w *consoletest.World, id string) {
	t.Helper()
	if a := call(t, w, console.Worker, "POST", "/api/v1/replays/"+id+"/resume", ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

func TestACanaryThatIsUndecidedNeverLetsTheRestFollow(t *testing.T) {
	t.Parallel()
	for name, undecided := range map[string]func(w *consoletest.World) *mailbox.Again{
		"nothing was begun": func(*consoletest.World) *mailbox.Again { return nil },
		"waits":             func(w *consoletest.World) *mailbox.Again { return told(w, mailbox.RegistrationNone) },
		"unclear":           func(w *consoletest.World) *mailbox.Again { return told(w, mailbox.Uncertain) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := consoletest.New(t)
			registered(t, w, 10)
			j := begin(t, w, `{"selection":{"all":true},"confirm":10,"rate":1000,"canary":2}`, 2)
			first, second := w.Published.All()[0].Mailbox, w.Published.All()[1].Mailbox
			w.Registrations.Put(first, connectedAs(w, told(w, mailbox.Registered)))
			w.Registrations.Put(second, connectedAs(w, undecided(w)))
			j = waitForJob(t, w, j.ID)
			if j.State != console.JobStopped || j.Done != 2 || j.Recovered != 1 || !strings.Contains(j.Note, second) || strings.Contains(j.Note, first) ||
				!strings.Contains(j.Note, "replay resume "+j.ID) {
				t.Fatalf("%+v", j)
			}
			resume(t, w, j.ID)
			if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.Done != 2 {
				t.Fatalf("resumed, it does not wait for its canary: %+v", j)
			}
			w.Registrations.Put(second, connectedAs(w, told(w, mailbox.Registered)))
			resume(t, w, j.ID)
			w.Eventually(t, "the rest follows", func() bool { return len(w.Published.All()) == 10 })
		})
	}
}

func TestASecondIDFailsACanaryBeforeTheListingHasSpoken(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 10)
	j := begin(t, w, `{"selection":{"all":true},"confirm":10,"rate":1000,"canary":2}`, 2)
	for _, e := range w.Published.All() {
		again := told(w, mailbox.Uncertain)
		again.OtherID = "8"
		w.Registrations.Put(e.Mailbox, connectedAs(w, again))
	}
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.DiedAgain != 2 || j.Done != 2 || strings.Contains(j.Note, "no news") {
		t.Errorf("%+v", j)
	}
}

// TestReconnectionsDoNotCrowdTheirAccount: while a minute's worth of the account's calls is under way no more are asked for, and
// failures are counted of those that are decided.
func TestReconnectionsDoNotCrowdTheirAccount(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 100)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 30})
	j := begin(t, w, `{"selection":{"all":true},"confirm":100,"rate":10000,"max_failure":10}`, 30)
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.Done != 30 || !strings.Contains(j.Note, "30 mailboxes") {
		t.Fatalf("%+v", j)
	}
	resume(t, w, j.ID)
	for _, e := range w.Published.All()[:20] {
		w.Registrations.Put(e.Mailbox, connectedAs(w, told(w, mailbox.Registered)))
	}
	w.Eventually(t, "as many follow as are done", func() bool { return len(w.Published.All()) == 50 })
	for _, e := range w.Published.All()[20:24] {
		w.Registrations.Put(e.Mailbox, connectedAs(w, told(w, mailbox.RegistrationDead)))
	}
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || j.Done >= 60 || j.DiedAgain < 3 || strings.Contains(j.Note, "no news") {
		t.Errorf("%+v", j)
	}
}

// TestWhatWasNotToldSinceIsChosen: after a job that was lost, only the rest is taken, wherever it is chosen.
func TestWhatWasNotToldSinceIsChosen(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 4)
	w.Advance(time.Hour)
	rotated := w.Now().Format(time.RFC3339)
	w.Advance(time.Minute)
	w.Registrations.Put(ids[1], connectedAs(w, nil)) // registered since
	for i, phase := range []mailbox.RegistrationPhase{mailbox.Registered, mailbox.RegistrationDead} {
		reg := connectedAs(w, told(w, phase)) // told since, or at least tried
		reg.Since = reg.Since.Add(-2 * time.Hour)
		w.Registrations.Put(ids[2+i], reg)
	}
	query := "told_before=" + url.QueryEscape(rotated)
	w.Eventually(t, "one is left", func() bool {
		var list console.MailboxList
		call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?account=main&"+query, "").decode(t, &list)
		return len(list.Mailboxes) == 1 && list.Mailboxes[0].ID == ids[0]
	})
	var p console.Preview
	reconnect(t, w, console.Worker, `{"selection":{"told_before":"`+rotated+`"},"dry_run":true}`).decode(t, &p)
	if p.Count != 1 || len(p.LeftOut) != 0 || p.Selection != "told_before="+rotated {
		t.Errorf("%+v", p)
	}
	if p := reconnect(t, w, console.Worker, `{"selection":{"told_before":"`+rotated+`","ids":["`+ids[0]+`"]},"dry_run":true}`).problem(t); p.Code != "bad_selection" {
		t.Errorf("%+v", p)
	}
	if a := call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?told_before=yesterday", ""); a.status != http.StatusBadRequest {
		t.Errorf("%d", a.status)
	}
	b := newBrowser(t, w, console.Worker)
	if page := b.open(t, "/mailboxes?account=main&"+query); !strings.Contains(page.body, `<input type="hidden" name="told_before" value="`+rotated+`">`) ||
		!strings.Contains(page.body, `<input type="hidden" name="account" value="main">`) || !strings.Contains(page.body, ids[0]) || strings.Contains(page.body, ids[1]) {
		t.Errorf("the page does not carry the choice on:\n%s", page.body)
	}
	page := b.send(t, "/mailboxes/reconnect", url.Values{"told_before": {rotated}, "account": {"main"}})
	if !strings.Contains(page.body, "Reconnect 1 mailboxes") || !strings.Contains(page.body, "account=main told_before=") {
		t.Errorf("%s", page.body)
	}
	if page := b.send(t, "/mailboxes/reconnect", url.Values{"account": {"other"}}); !strings.Contains(page.body, "Nothing that is chosen can be done") {
		t.Errorf("the account does not choose:\n%s", page.body)
	}
}

func TestANumberThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 1)
	b := newBrowser(t, w, console.Worker)
	for _, field := range []string{"confirm", "canary", "max_failure", "rate"} {
		for _, text := range []string{"NaN", "nan", "Inf", "+Inf", "-Inf", "-1", "1e10", "many"} {
			form := url.Values{"filter": {"id=" + ids[0]}, "confirm": {"1"}}
			form.Set(field, text)
			if a := b.send(t, "/mailboxes/reconnect/confirm", form); a.status != http.StatusBadRequest || !strings.Contains(a.body, "is not a number") {
				t.Errorf("%s=%s: %d", field, text, a.status)
			}
		}
	}
	if a := reconnect(t, w, console.Worker, `{"selection":{"all":true},"confirm":1,"max_failure":NaN}`); a.status != http.StatusBadRequest {
		t.Errorf("%d", a.status)
	}
	if len(w.Published.All()) != 0 {
		t.Errorf("asked for %+v", w.Published.All())
	}
}
