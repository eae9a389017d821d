package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// granted says that the owner of an address consented, and the tokens wait for their registration.
func granted(w *consoletest.World, address string) {
	w.Grants.Put(w.Links.Mailbox("main", address), mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "x", Tokens: &mailbox.Tokens{Attempt: "x", SavedAt: w.Now()}})
}

// answered says that the owner's code has come.
func answered(w *consoletest.World, address string) {
	w.Claims.Put(w.Links.Mailbox("main", address), mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "x", AnsweredAt: w.Now()}}})
}

func campaignOf(t *testing.T, w *consoletest.World, id string) (view console.CampaignView) {
	t.Helper()
	call(t, w, console.Viewer, "GET", "/api/v1/campaigns/"+id, "").decode(t, &view)
	return view
}

func statusOf(t *testing.T, w *consoletest.World) (s console.Status) {
	t.Helper()
	call(t, w, console.Viewer, "GET", "/api/v1/status", "").decode(t, &s)
	return s
}

// Account main makes 60 calls a minute, one for each mailbox. Account other makes 30, and two for each mailbox.
func TestEveryoneIsToldTheSameEstimate(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	spring := importCSV(t, w, "Spring", "email\na@a.example\nb@a.example\nc@a.example\nd@a.example\n").Campaign
	autumn := importCSV(t, w, "Autumn", "email,account\ne@a.example,other\nf@a.example,other\n").Campaign
	granted(w, "a@a.example")
	granted(w, "b@a.example")
	answered(w, "c@a.example")
	w.Eventually(t, "three are under way", func() bool { return statusOf(t, w).InPipeline == 3 })
	until := w.Now().Add(5 * time.Minute)
	w.Legs.Load("warmy/main", leg.Load{Waiting: 5, PerMinute: 30, NotBefore: until, Seen: w.Now()}) // three are of reconnects

	one := campaignOf(t, w, spring)
	want := leg.Load{Waiting: 5, Coming: 1, Calls: 6, PerMinute: 30, NotBefore: until, DoneAt: until.Add(12 * time.Second)}
	if len(one.Legs) != 1 || one.Legs[0].Name != "warmy/main" || one.Legs[0].Load != want || !one.DoneBy.Equal(want.DoneAt) {
		t.Errorf("the campaign: %+v, done by %v, want %+v", one.Legs, one.DoneBy, want)
	}
	if other := campaignOf(t, w, autumn); len(other.Legs) != 0 || !other.DoneBy.IsZero() {
		t.Errorf("a campaign that waits for nothing but owners, of an account without workers: %+v", other)
	}
	var list console.CampaignList
	call(t, w, console.Viewer, "GET", "/api/v1/campaigns", "").decode(t, &list)
	if s := statusOf(t, w); !s.DoneAt.Equal(want.DoneAt) || s.ETASeconds != 312 || len(list.Campaigns) != 2 || !list.Campaigns[0].DoneBy.Equal(want.DoneAt) && !list.Campaigns[1].DoneBy.Equal(want.DoneAt) {
		t.Errorf("the status: done at %v, in %v s; the list: %+v", s.DoneAt, s.ETASeconds, list)
	}
	for path, words := range map[string]string{
		"/campaigns/" + spring: "5 waiting and 1 on their way, 30/min, no call before 12:05 UTC: done at about 12:05 UTC",
		"/campaigns":           "12:05 UTC",
		"/":                    "done in about 5 minutes",
	} {
		if page := call(t, w, console.Viewer, "GET", path, ""); page.status != http.StatusOK || !strings.Contains(page.body, words) {
			t.Errorf("page %s (%d) does not say %q", path, page.status, words)
		}
	}

	granted(w, "e@a.example")
	w.Eventually(t, "four are under way", func() bool { return statusOf(t, w).InPipeline == 4 })
	if s := statusOf(t, w); !s.DoneAt.IsZero() || s.ETASeconds != 0 {
		t.Errorf("one waits at an account that nobody serves, and all are done at %v", s.DoneAt)
	}
	w.Legs.Load("warmy/other", leg.Load{Waiting: 1}) // never called: the configured pace holds
	other := campaignOf(t, w, autumn)
	if want := w.Now().Add(4 * time.Second); len(other.Legs) != 1 || other.Legs[0].Calls != 2 || !other.DoneBy.Equal(want) {
		t.Errorf("two calls at 30 a minute: %+v, done by %v", other.Legs, other.DoneBy)
	}
	if s := statusOf(t, w); !s.DoneAt.Equal(want.DoneAt) {
		t.Errorf("the latest account is done at %v, all at %v", want.DoneAt, s.DoneAt)
	}

	call(t, w, console.Worker, "POST", "/api/v1/legs/hold", `{"name":"microsoft/main"}`)
	if s, one := statusOf(t, w), campaignOf(t, w, spring); !s.DoneAt.IsZero() || !one.DoneBy.IsZero() {
		t.Errorf("a code cannot pass, and all are done at %v, the campaign at %v", s.DoneAt, one.DoneBy)
	}
	if other := campaignOf(t, w, autumn); other.DoneBy.IsZero() {
		t.Error("nothing of this campaign has to pass there")
	}
	w.Legs.SetDown(true)
	if one := campaignOf(t, w, spring); one.Funnel.Total != 4 || len(one.Legs) != 0 || !one.DoneBy.IsZero() {
		t.Errorf("without the store: %+v", one)
	}
}

// A listing settles all that are unclear at once, but none is believed before reconcile_after.
func TestUnclearMailboxesTakeTheCallsOfAListing(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	csv := "email\n"
	address := func(i int) string { return fmt.Sprintf("owner%d@a.example", i) }
	for i := range 250 {
		csv += address(i) + "\n"
	}
	spring := importCSV(t, w, "Spring", csv).Campaign
	for i := range 250 {
		granted(w, address(i))
		w.Registrations.Put(w.Links.Mailbox("main", address(i)), mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "x", Since: w.Now()})
	}
	w.Legs.Load("warmy/main", leg.Load{Waiting: 250, PerMinute: 60})
	w.Eventually(t, "all are unclear", func() bool { return campaignOf(t, w, spring).Funnel.ByState["unclear"] == 250 })
	want := leg.Load{Waiting: 250, Calls: 3, PerMinute: 60, DoneAt: w.Now().Add(time.Minute)}
	if one := campaignOf(t, w, spring); len(one.Legs) != 1 || one.Legs[0].Load != want || !one.DoneBy.Equal(want.DoneAt) {
		t.Errorf("%+v, want %+v", one.Legs, want)
	}
	w.Legs.Load("warmy/main", leg.Load{Waiting: 850, PerMinute: 60}) // 600 are of reconnects
	if one := campaignOf(t, w, spring); len(one.Legs) != 1 || one.Legs[0].Calls != 603 || !one.DoneBy.Equal(w.Now().Add(603*time.Second)) {
		t.Errorf("%+v", one.Legs)
	}
	for i := range 249 {
		w.Registrations.Put(w.Links.Mailbox("main", address(i)), connectedAs(w, nil))
	}
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 60})
	w.Eventually(t, "one is left", func() bool { return campaignOf(t, w, spring).Funnel.ByState["unclear"] == 1 })
	if one := campaignOf(t, w, spring); one.Legs[0].Calls != 1 || !one.DoneBy.Equal(want.DoneAt) {
		t.Errorf("one is looked up alone: %+v", one.Legs)
	}
}

func TestAnImportTellsWhatItAsksOfTheAccounts(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	w.Legs.Load("warmy/main", leg.Load{Waiting: 120, PerMinute: 60})
	report := importCSV(t, w, "Spring", "email,account\na@a.example,\nb@a.example,\nc@a.example,other\n")
	if len(report.Accounts) != 2 {
		t.Fatalf("%+v", report.Accounts)
	}
	for i, want := range []string{
		"2 mailboxes at 60/min take 2 s once they have consented; already there: 120 waiting, 60/min: done at about 12:02 UTC",
		"1 mailboxes (2 calls) at 30/min take 4 s once they have consented",
	} {
		if got := report.Accounts[i].Words(w.Now()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for i, served := range []bool{true, false} {
		data, err := json.Marshal(report.Accounts[i])
		if err != nil || strings.Contains(string(data), `"leg":`) != served {
			t.Errorf("a leg is told where a worker has served the account: %s", data)
		}
	}
	thousand := console.ImportedAccount{Account: "main", Invited: 1000, Calls: 1000, PerMinute: 55, Seconds: 1000. / 55 * 60}
	if got := thousand.Words(w.Now()); got != "1,000 mailboxes at 55/min take 18 min once they have consented" {
		t.Errorf("%q", got)
	}
	if again := importCSV(t, w, "Spring", "email,account\na@a.example,\n"); len(again.Accounts) != 0 {
		t.Errorf("a known mailbox asks for nothing: %+v", again.Accounts)
	}
}
