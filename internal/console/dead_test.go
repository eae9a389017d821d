package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func letter(stage events.Lane, class fault.Class, forecast fault.Forecast, box string) events.DeadLetter {
	return events.DeadLetter{
		Version: 1, Event: json.RawMessage(`{"sealed":"canary"}`), Mailbox: box, App: "main", Account: "main", Campaign: "spring",
		Stage: stage, Class: string(class), Code: "some_code", Cause: "it broke", Remedy: "mend it", Forecast: string(forecast),
		DiedAt: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
	}
}

// fiveLetters adds one replayable letter of each forecast and one of the code lane.
func fiveLetters(w *consoletest.World) {
	for i, f := range fault.Forecasts() {
		w.Dead.Add(letter(events.Register, fault.Transient, f, fmt.Sprintf("box%d", i)))
	}
	w.Dead.Add(letter(events.Code, fault.Transient, fault.ByTime, "box9"))
}

func bulk(t *testing.T, w *consoletest.World, role, verb, body string) answer {
	t.Helper()
	return call(t, w, role, "POST", "/api/v1/dead/"+verb, body)
}

func TestReplayByDefaultTakesOnlyWhatTimeOrASettingCanHelp(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	fiveLetters(w)
	a := bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"dry_run":true}`)
	var p console.Preview
	a.decode(t, &p)
	if p.Count != 2 || p.Refused != 1 || p.Remedy == "" || p.LeftOut["by_person"] != 1 || p.LeftOut["never"] != 1 || p.ByClass["transient"] != 2 {
		t.Fatalf("preview = %+v", p)
	}
	if len(w.Dead.Replayed()) != 0 {
		t.Fatal("a dry run replayed")
	}
	a = bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":2,"rate":1000,"reason":"Warmy is back"}`)
	if a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var j console.Job
	a.decode(t, &j)
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobDone || j.Done != 2 {
		t.Errorf("job = %+v", j)
	}
	if diff := cmp.Diff([]uint64{1, 2}, w.Dead.Replayed()); diff != "" {
		t.Errorf("replayed:\n%s", diff)
	}
	trail := w.Audit.Entries()
	if len(trail) != 2 || trail[0].Action != "dead.replay" || trail[0].Count != 2 || trail[0].Reason != "Warmy is back" || trail[1].Outcome != "done" {
		t.Errorf("trail = %+v", trail)
	}
}

func waitForJob(t *testing.T, w *consoletest.World, id string) (j console.Job) {
	t.Helper()
	w.Eventually(t, "the job ends", func() bool {
		call(t, w, console.Viewer, "GET", "/api/v1/replays/"+id, "").decode(t, &j)
		return j.Ended()
	})
	return j
}

func TestACodeIsNeverReplayed(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	fiveLetters(w)
	a := bulk(t, w, console.Admin, "replay", `{"selection":{"stages":["code"]},"confirm":1}`)
	if p := a.problem(t); p.Status != http.StatusConflict || p.Preview == nil || p.Preview.Refused != 1 || p.Preview.Remedy == "" {
		t.Errorf("problem = %+v", p)
	}
	if len(w.Dead.Replayed()) != 0 {
		t.Error("a code was replayed")
	}
}

func TestABulkVerbNeedsTheCountItWasShown(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	fiveLetters(w)
	for body, code := range map[string]string{
		`{"selection":{"all":true}}`:                                                                "confirm_needed",
		`{"selection":{"all":true},"confirm":3}`:                                                    "count_changed",
		`{"selection":{},"confirm":2}`:                                                              "bad_selection",
		`{"selection":{"all":true,"stages":["code"]},"confirm":2}`:                                  "bad_selection",
		`{"selection":{"classes":["odd"]},"confirm":2}`:                                             "bad_selection",
		`{"selection":{"stages":["register.>"]},"confirm":2}`:                                       "bad_selection",
		`{"selection":{"all":true},"confirm":2,"rate":-1}`:                                          "bad_bulk",
		`{"selection":{"all":true},"confirm":2,"rate":1e-12}`:                                       "bad_bulk",
		`{"selection":{"all":true},"confirm":2,"max_failure":200}`:                                  "bad_bulk",
		`{"selection":{"codes":["no_such_code"]},"confirm":0}`:                                      "nothing_chosen",
		`{"selection":{"since":"2026-03-02T00:00:00Z","until":"2026-03-01T00:00:00Z"},"confirm":0}`: "bad_selection",
	} {
		if p := bulk(t, w, console.Worker, "replay", body).problem(t); p.Code != code {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if len(w.Dead.Replayed()) != 0 {
		t.Error("something was replayed")
	}
}

func TestOnlyAnAdminDiscards(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	fiveLetters(w)
	if a := bulk(t, w, console.Worker, "discard", `{"selection":{"all":true},"confirm":5}`); a.status != http.StatusForbidden {
		t.Fatalf("an operator got %d", a.status)
	}
	var j console.Job
	bulk(t, w, console.Admin, "discard", `{"selection":{"forecasts":["never"]},"confirm":1,"rate":1000}`).decode(t, &j)
	waitForJob(t, w, j.ID)
	if w.Dead.Len() != 4 {
		t.Errorf("%d are left", w.Dead.Len())
	}
}

func TestDeadLettersAreFilteredAndPagedWithoutTheirPayload(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for i := range 7 {
		w.Dead.Add(letter(events.Register, fault.Transient, fault.ByTime, fmt.Sprintf("box%d", i)))
		w.Dead.Add(letter(events.Refresh, fault.Permanent, fault.Never, fmt.Sprintf("box%d", i)))
	}
	var seen []uint64
	cursor := uint64(0)
	for range 10 {
		var list console.DeadList
		a := call(t, w, console.Viewer, "GET", fmt.Sprintf("/api/v1/dead?stage=register&limit=3&cursor=%d", cursor), "")
		a.decode(t, &list)
		for _, d := range list.Dead {
			seen = append(seen, d.Seq)
		}
		if cursor = list.Next; cursor == 0 {
			break
		}
	}
	if diff := cmp.Diff([]uint64{1, 3, 5, 7, 9, 11, 13}, seen); diff != "" {
		t.Errorf("seen:\n%s", diff)
	}
	one := call(t, w, console.Viewer, "GET", "/api/v1/dead/2", "")
	if one.status != 200 || slices.Contains([]byte(one.body), 0) || containsAny(one.body, "canary", "sealed") {
		t.Errorf("%d %s", one.status, one.body)
	}
	for _, query := range []string{"limit=0", "limit=-1", "limit=abc", "limit=1000000", "cursor=-1", "cursor=x", "sort=id;x", "class=odd", "id=*", "since=tomorrow"} {
		if a := call(t, w, console.Viewer, "GET", "/api/v1/dead?"+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s got %d", query, a.status)
		}
	}
	if a := call(t, w, console.Viewer, "GET", "/api/v1/dead/99", ""); a.status != http.StatusNotFound {
		t.Errorf("got %d", a.status)
	}
}

func TestACanaryThatDiesStopsTheReplay(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	deadMailboxes(t, w, 20)
	w.Advance(time.Minute)
	w.Dead.OnReplay(func(d events.DeadLetter) {
		w.Registrations.Put(d.Mailbox, buried(w.Now().Add(time.Second)))
	})
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":20,"rate":1000,"canary":5}`).decode(t, &j)
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobStopped || j.Done != 5 || j.DiedAgain != 5 || j.Note == "" {
		t.Fatalf("job = %+v", j)
	}
	w.Dead.OnReplay(func(d events.DeadLetter) {
		w.Registrations.Put(d.Mailbox, mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: w.Now()})
	})
	if a := call(t, w, console.Worker, "POST", "/api/v1/replays/"+j.ID+"/resume", ""); a.status != http.StatusAccepted {
		t.Fatalf("resume: %d %s", a.status, a.body)
	}
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobDone || j.Done != 20 || len(w.Dead.Replayed()) != 20 {
		t.Errorf("job = %+v", j)
	}
}

func TestAReplayEndsWhenItIsKnownWhatBecameOfEveryMailbox(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	deadMailboxes(t, w, 20)
	var replayed []string
	w.Dead.OnReplay(func(d events.DeadLetter) {
		replayed = append(replayed, d.Mailbox)
		w.Registrations.Put(d.Mailbox, mailbox.Registration{Phase: mailbox.Posting, Attempt: "a1", Since: w.Now()})
	})
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":20,"rate":1000,"max_failure":10}`).decode(t, &j)
	w.Eventually(t, "the job waits for the mailboxes", func() bool {
		call(t, w, console.Viewer, "GET", "/api/v1/replays/"+j.ID, "").decode(t, &j)
		return j.State == console.JobSettling
	})
	if j.Recovered != 0 || j.DiedAgain != 0 {
		t.Errorf("what is under way is counted: %+v", j)
	}
	for i, id := range replayed {
		if i < 3 {
			w.Registrations.Put(id, buried(w.Now().Add(-time.Hour))) // a worker whose clock is behind
			continue
		}
		w.Registrations.Put(id, mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: w.Now()})
	}
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobStopped || j.Done != 20 || j.DiedAgain != 3 || j.Recovered != 17 || j.Note == "" {
		t.Errorf("job = %+v", j)
	}
	if p := call(t, w, console.Worker, "POST", "/api/v1/replays/"+j.ID+"/resume", "").problem(t); p.Code != "nothing_left" {
		t.Errorf("problem = %+v", p)
	}
}

func TestAReplayDoesNotWaitForEverForMailboxesThatDoNotMove(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	deadMailboxes(t, w, 2)
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":2,"rate":1000}`).decode(t, &j)
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobDone || j.DiedAgain != 0 || j.Recovered != 0 || j.Note == "" {
		t.Errorf("job = %+v", j)
	}
}

func buried(at time.Time) mailbox.Registration {
	f := &fault.Fault{Class: fault.Transient, Code: "some_code", Cause: "it broke", Remedy: "mend it", Forecast: fault.ByTime}
	return mailbox.Registration{Attempt: "a1"}.Bury(events.Event{Kind: events.RegistrationRequested, Attempt: "a1"}, f, at)
}

// deadMailboxes imports n mailboxes whose registration died.
func deadMailboxes(t *testing.T, w *consoletest.World, n int) {
	t.Helper()
	csv := "email\n"
	for i := range n {
		csv += fmt.Sprintf("owner%d@a.example\n", i)
	}
	importCSV(t, w, "Spring", csv)
	for i := range n {
		id := w.Links.Mailbox("main", fmt.Sprintf("owner%d@a.example", i))
		w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a1", Tokens: &mailbox.Tokens{Attempt: "a1", SavedAt: w.Now()}})
		w.Registrations.Put(id, buried(w.Now()))
		w.Dead.Add(letter(events.Register, fault.Transient, fault.ByTime, id))
	}
	w.Eventually(t, "all are dead", func() bool {
		var s console.Status
		call(t, w, console.Viewer, "GET", "/api/v1/status", "").decode(t, &s)
		return s.Funnel.ByState[mailbox.StateDead] == n
	})
}

func TestAReplayCanBeCancelledAndResumed(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	deadMailboxes(t, w, 10)
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":10,"rate":0.5}`).decode(t, &j)
	call(t, w, console.Worker, "POST", "/api/v1/replays/"+j.ID+"/cancel", "")
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobCancelled || j.Done != 0 {
		t.Fatalf("job = %+v", j)
	}
	if a := call(t, w, console.Worker, "POST", "/api/v1/replays/nosuch/cancel", ""); a.status != http.StatusNotFound {
		t.Errorf("got %d", a.status)
	}
}

func TestAStoreThatIsAwayStopsAReplayAndKeepsItsPlace(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	fiveLetters(w)
	w.Dead.OnReplay(func(events.DeadLetter) { w.Dead.SetDown(true) })
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"all":true},"confirm":2,"rate":1000}`).decode(t, &j)
	j = waitForJob(t, w, j.ID)
	if j.State != console.JobStopped || j.Done != 1 {
		t.Fatalf("job = %+v", j)
	}
	w.Dead.SetDown(false)
	w.Dead.OnReplay(nil)
	call(t, w, console.Worker, "POST", "/api/v1/replays/"+j.ID+"/resume", "")
	if j = waitForJob(t, w, j.ID); j.State != console.JobDone || j.Done != 2 {
		t.Errorf("job = %+v", j)
	}
}

func TestAnUnknownFilterValueIsRefusedWithTheKnownOnes(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	old := w.Links.Mailbox("retired", "old@a.example")
	w.Invitations.Put(old, mailbox.Invitation{ID: old, Campaign: "spring", App: "retired", Account: "gone", Address: "old@a.example", InvitedAt: w.Now()})
	w.Eventually(t, "a mailbox of an app that is no longer configured is found", func() bool {
		return call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?app=retired&account=gone", "").status == http.StatusOK
	})
	for _, c := range []struct{ method, path, body, known string }{
		{"GET", "/mailboxes?app=mian", "", "main, second"},
		{"GET", "/mailboxes?account=mian", "", "main, other"},
		{"GET", "/mailboxes?reason=odd", "", mailbox.Declined},
		{"GET", "/mailboxes?state=odd", "", "needs_consent"},
		{"GET", "/dead?app=mian", "", "main, second"},
		{"GET", "/dead?account=mian", "", "main, other"},
		{"GET", "/dead?class=odd", "", "leg_down"},
		{"GET", "/dead?stage=odd", "", "reconcile"},
		{"GET", "/dead?forecast=odd", "", "by_person"},
		{"POST", "/dead/replay", `{"selection":{"apps":["mian"]},"dry_run":true}`, "main, second"},
		{"POST", "/mailboxes/reinvite", `{"selection":{"accounts":["mian"]},"dry_run":true}`, "main, other"},
		{"POST", "/mailboxes/reinvite", `{"selection":{"reasons":["odd"]},"dry_run":true}`, mailbox.Declined},
		{"POST", "/mailboxes/reinvite", `{"selection":{"states":["odd"]},"dry_run":true}`, "needs_consent"},
		{"POST", "/campaigns?name=X&dry_run=many", "email\n", "dry_run"},
		{"POST", "/campaigns?name=X&tariff_plan_type_id=many", "email\n", "use the id"},
	} {
		kind := "application/json"
		if strings.HasPrefix(c.path, "/campaigns") {
			kind = "text/csv"
		}
		p := call(t, w, console.Admin, c.method, "/api/v1"+c.path, c.body, "Content-Type", kind).problem(t)
		if p.Status != http.StatusBadRequest || !strings.Contains(p.Remedy, c.known) || strings.Contains(p.Remedy, "/api/") {
			t.Errorf("%s %s %s: %+v", c.method, c.path, c.body, p)
		}
	}
	if a := call(t, w, console.Viewer, "GET", "/api/v1/dead?code=anything", ""); a.status != http.StatusOK {
		t.Errorf("a code is free text: %d", a.status)
	}
}
