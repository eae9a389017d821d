package sandbox

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// TestAnOperatorsWordGoesTheWholeWay: of two POSTs without an answer one took effect. The listing would be asked in an hour;
// the operator knows now. Warmy's filter confirms that it has the one; that it will never have the other he must insist on.
func TestAnOperatorsWordGoesTheWholeWay(t *testing.T) {
	t.Parallel()
	w := startListing(t, time.Hour)
	report, err := w.importCSV(t.Context(), "unclear", []byte("email\nmade@a.example\nlost@a.example\n"))
	if err != nil || report.Invited != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	w.campaign = report.Campaign
	for address, took := range map[string]bool{"made@a.example": true, "lost@a.example": false} {
		rule := trouble.Rule{Kind: trouble.ServerError, Op: warmyapi.OpCreate, Address: address, Times: 1, PerAddress: true, Commit: took}
		if err := w.world.Warmy.Fault(rule); err != nil {
			t.Fatal(err)
		}
	}
	made, lost := w.unclear("made@a.example"), w.unclear("lost@a.example")
	at := w.world.Warmy.Mailboxes(made.Email)
	if len(at) != 1 || len(w.world.Warmy.Mailboxes(lost.Email)) != 0 {
		t.Fatalf("Warmy has %+v", at)
	}
	id := fmt.Sprint(at[0].ID)
	w.decide(made, "/adopt", console.Decision{WarmyID: id, Reason: "seen on its page"})
	if got := w.reaches(made.Mailbox, ""); got.WarmyID != id || len(w.world.Warmy.Posts(made.Email)) != 1 {
		t.Errorf("%+v after %d POSTs", got, len(w.world.Warmy.Posts(made.Email)))
	}
	w.decide(lost, "/declare-absent", console.Decision{Reason: "support: it never arrived", Force: true})
	if got := w.reaches(lost.Mailbox, ""); got.WarmyID == "" || len(w.world.Warmy.Posts(lost.Email)) != 2 || len(w.world.Warmy.Mailboxes(lost.Email)) != 1 {
		t.Errorf("%+v after %d POSTs", got, len(w.world.Warmy.Posts(lost.Email)))
	}
	if twice := w.world.Warmy.CreatedTwice(); len(twice) != 0 {
		t.Errorf("made twice: %v", twice)
	}
}

// unclear has the owner consent and waits until the mailbox's POST is of unknown outcome.
func (w *aliasWorld) unclear(address string) console.LinkView {
	w.t.Helper()
	l := w.link(address)
	if out, err := (crowd.Crowd{}).Visit(w.t.Context(), l.Link, l.Email, crowd.Accept); err != nil || out.Stage != crowd.Returned {
		w.t.Fatalf("%+v, %v", out, err)
	}
	w.poll("its POST is unclear", func() error {
		var m console.MailboxView
		if err := w.do(w.t.Context(), http.MethodGet, "/mailboxes/"+l.Mailbox, "", nil, &m); err != nil {
			return err
		}
		if m.State != mailbox.StateUnclear {
			return fmt.Errorf("it is %s, %q", m.State, m.Code)
		}
		return nil
	})
	return l
}

// decide says what became of a POST.
func (w *aliasWorld) decide(l console.LinkView, verb string, body console.Decision) {
	w.t.Helper()
	var done console.Decided
	if err := w.post(w.t.Context(), "/mailboxes/"+l.Mailbox+verb, body, &done); err != nil || done.Mailbox != l.Mailbox || done.Posts != 1 {
		w.t.Fatalf("%+v, %v", done, err)
	}
}
