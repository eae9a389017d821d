package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/warmyapi"
)

// TestAMailboxIsReconnectedWhateverWarmyMakesOfASecondPOST goes the whole way for each of the three things that Warmy may do.
func TestAMailboxIsReconnectedWhateverWarmyMakesOfASecondPOST(t *testing.T) {
	t.Parallel()
	w := startAlias(t)
	l := w.link("lone@a.example")
	if out, err := (crowd.Crowd{}).Visit(t.Context(), l.Link, l.Email, crowd.Accept); err != nil || out.Stage != crowd.Returned {
		t.Fatalf("%+v, %v", out, err)
	}
	first := w.reaches(l.Mailbox, "")
	for n, test := range []struct{ duplicate, reason string }{
		{warmyapi.DuplicateUpdates, ""},
		{warmyapi.DuplicateRefused, mailbox.ReconnectUnsure},
		{warmyapi.DuplicateSecond, mailbox.ReconnectFailed},
	} {
		switches := w.world.Warmy.Switches()
		switches.Duplicate = test.duplicate
		w.world.Warmy.Turn(switches)
		one := 1
		body := console.BulkReconnect{Selection: console.MailboxSelection{IDs: []mailbox.ID{l.Mailbox}}, BulkOptions: console.BulkOptions{Confirm: &one, Reason: test.duplicate}}
		var job console.Job
		if err := w.post(t.Context(), "/mailboxes/reconnect", body, &job); err != nil {
			t.Fatal(err)
		}
		w.poll("it is posted", func() error {
			if got := len(w.world.Warmy.Posts(l.Email)); got != n+2 {
				return fmt.Errorf("%d POSTs", got)
			}
			return nil
		})
		if got := w.reaches(l.Mailbox, test.reason); got.WarmyID != first.WarmyID || test.reason != "" && got.Remedy == "" {
			t.Errorf("%s: %+v", test.duplicate, got)
		}
	}
	var dead console.DeadList
	w.poll("the second id has a dead letter", func() error {
		if err := w.do(t.Context(), http.MethodGet, "/dead", "", nil, &dead); err != nil || len(dead.Dead) != 1 {
			return errors.Join(err, fmt.Errorf("%d dead letters", len(dead.Dead)))
		}
		return nil
	})
	if dead.Dead[0].Code != "warmy_listed_twice" || dead.Dead[0].Remedy == "" || dead.Dead[0].State != mailbox.StateRegistered {
		t.Errorf("%+v", dead.Dead[0])
	}
}

// reaches waits until the mailbox is registered, for the given reason.
func (w *aliasWorld) reaches(id mailbox.ID, reason string) (m console.MailboxView) {
	w.t.Helper()
	w.poll("it is registered with reason "+reason, func() error {
		if err := w.do(w.t.Context(), http.MethodGet, "/mailboxes/"+id, "", nil, &m); err != nil {
			return err
		}
		if m.State != mailbox.StateRegistered || m.ReasonCode != reason {
			return fmt.Errorf("it is %s, %q, %q", m.State, m.ReasonCode, m.Code)
		}
		return nil
	})
	return m
}
