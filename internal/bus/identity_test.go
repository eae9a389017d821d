package bus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// TestTwoWorkersPostOneMicrosoftMailboxOnce invites twenty mailboxes twice, under two ids each, and lets all owners consent
// at once. Two workers race for each of them.
func TestTwoWorkersPostOneMicrosoftMailboxOnce(t *testing.T) { //nolint:paralleltest // a bubble
	for name, nameless := range map[string]bool{"known when the tokens are saved": false, "known when they are proven": true} { //nolint:paralleltest // as above
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { raceForTwins(t, nameless) }) //nolint:thelper // the test itself
		})
	}
}

func raceForTwins(t *testing.T, nameless bool) {
	t.Helper()
	const pairs = 20
	f := newFleet(t)
	f.who, f.nameless = func(id string) events.Proof { return ownAccount(strings.TrimRight(id, "ab")) }, nameless
	f.serve(t, events.Code, events.Refresh)
	for _, twin := range []string{"%da", "%db"} {
		for i := range pairs {
			if err := f.bus.Publish(t.Context(), f.consent(t, fmt.Sprintf("twin"+twin, i), time.Now())); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting(t, f.bus, "REGISTER", 2*pairs)
	for _, owner := range []string{"w1", "w2"} {
		f.serveAs(t, bustest.Connect(t, f.server), owner, events.Register, events.Reconcile)
	}
	time.Sleep(10 * time.Minute) // who comes while the other one is posted waits for a lease
	for i := range pairs {
		f.oneOf(t, fmt.Sprintf("twin%da", i), fmt.Sprintf("twin%db", i))
	}
	if letters := deadLetters(t, f.bus); len(letters) != pairs {
		t.Errorf("%d dead letters, want %d", len(letters), pairs)
	}
}

// oneOf wants one of the mailboxes at Warmy, and the other one dead for that.
func (f *fleet) oneOf(t *testing.T, ids ...string) {
	t.Helper()
	registered, posts := 0, 0
	for _, id := range ids {
		posts += f.posts[id+"-owner"]
		switch got := f.status(t, id); {
		case got.State == mailbox.StateRegistered:
			registered++
		case got.State != mailbox.StateDead || got.Finding == nil || got.Finding.Code != handlers.CodeSameMailbox:
			t.Errorf("%s ends as %+v", id, got)
		}
	}
	if registered != 1 || posts != 1 {
		t.Errorf("%v: %d registered after %d POSTs", ids, registered, posts)
	}
}
