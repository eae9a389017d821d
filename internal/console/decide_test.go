package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// unsettled has a POST of ada@a.example without an answer.
func unsettled(t *testing.T, w *consoletest.World, change func(r *mailbox.Registration)) mailbox.ID {
	t.Helper()
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	reg := mailbox.Registration{
		Phase: mailbox.Uncertain, Attempt: "att", Posts: 2, Since: w.Now(), Proof: &events.Proof{TenantID: "tid", ObjectID: "oid"},
	}
	if change != nil {
		change(&reg)
	}
	w.Registrations.Put(id, reg)
	return id
}

func TestAnUnclearPostIsDecidedByAnOperator(t *testing.T) {
	t.Parallel()
	for verb, c := range map[string]struct {
		body   string
		want   events.Decision
		action string
		reason string
	}{
		"adopt":          {`{"warmy_id":"4711","reason":"seen there"}`, events.Decision{WarmyID: "4711", Posts: 2}, "mailbox.adopt", "Warmy id 4711: seen there"},
		"declare-absent": {`{"reason":"support says so","force":true}`, events.Decision{Posts: 2, Forced: true}, "mailbox.declare_absent", "POST 2, forced: support says so"},
	} {
		for name, change := range map[string]func(r *mailbox.Registration){
			"unclear": nil,
			"dead": func(r *mailbox.Registration) {
				r.Phase, r.Unsettled, r.Stage = mailbox.RegistrationDead, true, "reconcile"
			},
		} {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				w := consoletest.New(t)
				id := unsettled(t, w, change)
				before, _, _ := w.Registrations.Load(t.Context(), id)
				var done console.Decided
				call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/"+verb, c.body).decode(t, &done)
				if done.Mailbox != id || done.Address != "ada@a.example" || done.WarmyID != c.want.WarmyID || done.Posts != 2 {
					t.Errorf("%+v", done)
				}
				sent := w.Published.All()
				if len(sent) != 1 || sent[0].Kind != events.RegistrationDecided || sent[0].Mailbox != id || sent[0].Attempt != "att" || sent[0].Proof == nil ||
					sent[0].Account != "main" || sent[0].Decision == nil || *sent[0].Decision != c.want {
					t.Fatalf("published %+v", sent)
				}
				if after, _, _ := w.Registrations.Load(t.Context(), id); after != before {
					t.Errorf("the console wrote what warmy-worker alone writes: %+v", after)
				}
				entries := w.Audit.Entries()
				for i, e := range entries[len(entries)-2:] {
					if e.Action != c.action || e.Target != id || e.Outcome != []string{"intent", "done"}[i] || e.Reason != c.reason {
						t.Errorf("audit %+v", e)
					}
				}
			})
		}
	}
}

func TestOnlyAnUnclearPostIsDecidedAndOnlyForAReason(t *testing.T) {
	t.Parallel()
	phase := func(p mailbox.RegistrationPhase) func(r *mailbox.Registration) {
		return func(r *mailbox.Registration) { r.Phase = p }
	}
	for name, c := range map[string]struct {
		verb, body string
		change     func(r *mailbox.Registration)
		status     int
		code       string
	}{
		"registered":        {"adopt", `{"warmy_id":"1","reason":"x"}`, phase(mailbox.Registered), 409, "registered"},
		"never posted":      {"declare-absent", `{"reason":"x"}`, phase(mailbox.RegistrationNone), 409, "not_unclear"},
		"being posted":      {"declare-absent", `{"reason":"x"}`, phase(mailbox.Posting), 409, "not_unclear"},
		"dead and settled":  {"adopt", `{"warmy_id":"1","reason":"x"}`, phase(mailbox.RegistrationDead), 409, "not_unclear"},
		"no reason":         {"declare-absent", `{}`, nil, 400, "reason_missing"},
		"no id":             {"adopt", `{"reason":"x"}`, nil, 400, "bad_warmy_id"},
		"no such id":        {"adopt", `{"warmy_id":"../1","reason":"x"}`, nil, 400, "bad_warmy_id"},
		"an id for absence": {"declare-absent", `{"warmy_id":"1","reason":"x"}`, nil, 400, "bad_warmy_id"},
		"a long reason":     {"declare-absent", `{"reason":"` + strings.Repeat("x", 600) + `"}`, nil, 400, "reason_too_long"},
		"an unknown field":  {"declare-absent", `{"reason":"x","sure":true}`, nil, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := consoletest.New(t)
			id := unsettled(t, w, c.change)
			a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/"+c.verb, c.body)
			if p := a.problem(t); p.Status != c.status || c.code != "" && p.Code != c.code || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
			if sent := w.Published.All(); len(sent) != 0 {
				t.Errorf("published %+v", sent)
			}
		})
	}
}

// two has Warmy answer with another id than the one that it had, and its listing show that one alone.
func two(r *mailbox.Registration) {
	at := r.Since
	r.Phase, r.WarmyID, r.Posts = mailbox.Registered, "4711", 7
	r.Again = &mailbox.Again{Work: mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", Posts: 3, Since: at}, OtherID: "4712"}
}

func TestAnOperatorSaysWhichOfTwoIDsCounts(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := unsettled(t, w, two)
	if page := call(t, w, console.Worker, "GET", "/mailboxes/"+id, "").body; !strings.Contains(page, "Take this id</button>") || strings.Contains(page, "Post it once more</button>") {
		t.Errorf("the page does not offer what to do:\n%s", page)
	}
	if p := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/declare-absent", `{"reason":"x"}`).problem(t); p.Code != "registered" {
		t.Errorf("%+v", p)
	}
	var done console.Decided
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/adopt", `{"warmy_id":"4712","reason":"seen there"}`).decode(t, &done)
	sent := w.Published.All()
	if len(sent) != 1 || *sent[0].Decision != (events.Decision{WarmyID: "4712", Posts: 3}) || done.Posts != 3 {
		t.Errorf("%+v, published %+v", done, sent)
	}
}

// TestADecisionSpeaksOfThePostThatIsUnsettled has a mailbox that was posted again, and again without an answer.
func TestADecisionSpeaksOfThePostThatIsUnsettled(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := unsettled(t, w, func(r *mailbox.Registration) {
		two(r)
		r.Again.Work.Phase, r.Again.OtherID = mailbox.Uncertain, ""
	})
	var done console.Decided
	call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/declare-absent", `{"reason":"x"}`).decode(t, &done)
	entries, sent := w.Audit.Entries(), w.Published.All()
	if done.Posts != 3 || entries[len(entries)-1].Reason != "POST 3: x" || len(sent) != 1 || sent[0].Decision.Posts != 3 {
		t.Errorf("%+v, %+v, published %+v", done, entries[len(entries)-1], sent)
	}
}

func TestADecisionThatCannotBeRecordedOrStoredIsNone(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := unsettled(t, w, nil)
	w.Published.Down(true)
	a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/adopt", `{"warmy_id":"1","reason":"x"}`)
	entries := w.Audit.Entries()
	if p := a.problem(t); p.Status != http.StatusServiceUnavailable || entries[len(entries)-1].Outcome != "failed" {
		t.Errorf("%+v, %+v", p, entries[len(entries)-1])
	}
	w.Published.Down(false)
	if a := call(t, w, console.Viewer, "POST", "/api/v1/mailboxes/"+id+"/adopt", `{"warmy_id":"1","reason":"x"}`); a.status != http.StatusForbidden {
		t.Errorf("a viewer decides: %d", a.status)
	}
	if sent := w.Published.All(); len(sent) != 0 {
		t.Errorf("published %+v", sent)
	}
}

func TestThePageOffersToDecide(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := unsettled(t, w, nil)
	if page := call(t, w, console.Worker, "GET", "/mailboxes/"+id, "").body; !strings.Contains(page, "Take this id</button>") || !strings.Contains(page, "Post it once more</button>") {
		t.Errorf("the page does not offer what to do:\n%s", page)
	}
	if page := call(t, w, console.Viewer, "GET", "/mailboxes/"+id, "").body; strings.Contains(page, "Take this id</button>") {
		t.Error("the button is shown to somebody who may not press it")
	}
	form := url.Values{"warmy_id": {"4711"}, "reason": {"seen there"}, "force": {"yes"}}
	a := call(t, w, console.Worker, "POST", "/mailboxes/"+id+"/adopt", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	sent := w.Published.All()
	if a.status != http.StatusOK || !strings.Contains(a.body, "4711 is taken for it") || len(sent) != 1 || !sent[0].Decision.Forced {
		t.Errorf("%d, %+v\n%s", a.status, sent, a.body)
	}
}

// TestAReasonIsCountedInCharacters: as the forms do, without what the console puts before it.
func TestAReasonIsCountedInCharacters(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	id := unsettled(t, w, nil)
	for _, c := range []struct{ path, field string }{
		{"/mailboxes/" + id + "/declare-absent", "reason"}, {"/mailboxes/" + id + "/reinvite", "reason"}, {"/legs/hold", "cause"},
	} {
		body := func(n int) string {
			name := ""
			if c.field == "cause" {
				name = `"name":"warmy/main",`
			}
			return `{` + name + `"` + c.field + `":"` + strings.Repeat("я", n) + `"}`
		}
		if p := call(t, w, console.Worker, "POST", "/api/v1"+c.path, body(501)).problem(t); p.Code != "reason_too_long" ||
			p.Detail != c.field+" is 501 characters long" || !strings.Contains(p.Remedy, "500") {
			t.Errorf("%s: %+v", c.path, p)
		}
		if a := call(t, w, console.Worker, "POST", "/api/v1"+c.path, body(500)); strings.Contains(a.body, "reason_too_long") {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
	}
	if page := call(t, w, console.Worker, "GET", "/mailboxes/"+id, "").body; strings.Count(page, `name="reason" required maxlength="500"`) != 2 {
		t.Errorf("the form counts otherwise:\n%s", page)
	}
}
