package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// Reconnections go at the pace of their account, which takes hours: they hold up each other there, and nothing else.
func TestReconnectionsHoldUpNoOtherJob(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids := registered(t, w, 10)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 1})
	var jobs [5]console.Job
	for i := range jobs {
		body := fmt.Sprintf(`{"selection":{"ids":[%q,%q]},"confirm":2,"rate":10000}`, ids[2*i], ids[2*i+1])
		reconnect(t, w, console.Worker, body).decode(t, &jobs[i])
	}
	w.Eventually(t, "the first is asked for", func() bool { return len(w.Published.All()) == 1 })
	w.Dead.Add(letter(events.Register, fault.Transient, fault.ByTime, "box"))
	var discard console.Job
	bulk(t, w, console.Admin, "discard", `{"selection":{"all":true},"confirm":1,"rate":10000}`).decode(t, &discard)
	if discard = waitForJob(t, w, discard.ID); discard.State != console.JobDone {
		t.Errorf("the discard: %+v", discard)
	}
	if n := len(w.Published.All()); n != 1 {
		t.Errorf("%d are under way, and the account makes one call in a minute", n)
	}
	if first := jobOf(t, w, jobs[0].ID); first.State != console.JobRunning || first.Note != "" {
		t.Errorf("the first: %+v", first)
	}
	for _, j := range jobs[1:] {
		if j = jobOf(t, w, j.ID); j.State != console.JobWaiting || j.Note == "" {
			t.Errorf("another of the same account: %+v", j)
		}
	}
	if a := call(t, w, console.Worker, "POST", "/api/v1/replays/"+jobs[4].ID+"/cancel", ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if last := waitForJob(t, w, jobs[4].ID); last.State != console.JobCancelled || last.Done != 0 {
		t.Errorf("cancelled while it waited: %+v", last)
	}
}

func jobOf(t *testing.T, w *consoletest.World, id string) (j console.Job) {
	t.Helper()
	call(t, w, console.Viewer, "GET", "/api/v1/replays/"+id, "").decode(t, &j)
	return j
}

// Those of an account keep their order, and those of another need not wait.
func TestReconnectionsOfOneAccountFollowOneAnother(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	ids, other := registered(t, w, 3), registeredAt(t, w, "other", 3)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 1})
	start := func(ids ...string) {
		t.Helper()
		body := fmt.Sprintf(`{"selection":{"ids":["%s"]},"confirm":%d,"rate":10000}`, strings.Join(ids, `","`), len(ids))
		if a := reconnect(t, w, console.Worker, body); a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	start(ids[0], ids[1])
	w.Eventually(t, "the first is asked for", func() bool { return len(w.Published.All()) == 1 })
	start(other[0])
	w.Eventually(t, "that of the other account is asked for", func() bool { return len(w.Published.All()) == 2 })
	start(ids[2], other[1])
	start(other[2])
	w.Registrations.Put(ids[0], connectedAs(w, told(w, mailbox.Registered)))
	w.Eventually(t, "all are asked for", func() bool { return len(w.Published.All()) == 6 })
	var asked []mailbox.ID
	for _, e := range w.Published.All() {
		asked = append(asked, e.Mailbox)
	}
	if want := []mailbox.ID{ids[0], other[0], ids[1], ids[2], other[1], other[2]}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

// registeredAt imports n mailboxes of the account that Warmy has.
func registeredAt(t *testing.T, w *consoletest.World, account string, n int) (ids []string) {
	t.Helper()
	csv := "email,account\n"
	for i := range n {
		csv += fmt.Sprintf("%s%d@a.example,%s\n", account, i, account)
	}
	importCSV(t, w, "Autumn", csv)
	for i := range n {
		ids = append(ids, w.Links.Mailbox("main", fmt.Sprintf("%s%d@a.example", account, i)))
		granted(w, fmt.Sprintf("%s%d@a.example", account, i))
		w.Registrations.Put(ids[i], connectedAs(w, nil))
	}
	w.Eventually(t, "they are registered", func() bool {
		var list console.MailboxList
		call(t, w, console.Viewer, "GET", "/api/v1/mailboxes?state=registered&account="+account, "").decode(t, &list)
		return len(list.Mailboxes) == n
	})
	return ids
}
