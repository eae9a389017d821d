package warmy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// prompt is a Warmy that answers at once, and remembers when it was called.
type prompt struct{ called []time.Time }

func (p *prompt) RoundTrip(*http.Request) (*http.Response, error) {
	p.called = append(p.called, time.Now())
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"id":7}`))}, nil
}

// slowSessions is a store whose first write takes a while.
type slowSessions struct {
	takes time.Duration
	kept  []byte
}

func (s *slowSessions) Borrow(context.Context, string, time.Duration) ([]byte, uint64, error) {
	return s.kept, 0, nil
}

func (s *slowSessions) Keep(_ context.Context, _ string, _ uint64, state []byte, _ time.Duration) (uint64, error) {
	time.Sleep(s.takes) // of a bubble
	s.takes, s.kept = 0, state
	return 0, nil
}

// TestACallWhoseIntentTookTooLongLeavesAtAnotherTurn lets the store take a while for the intent to post, after the call's turn.
func TestACallWhoseIntentTookTooLongLeavesAtAnotherTurn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		account warmy.Account
		store   time.Duration // takes it for the intent
		keep    time.Duration // and for a session
		every   time.Duration
		turns   int
	}{
		"in time":               {account: bearer("http://warmy.example"), store: 200 * time.Millisecond, every: time.Second, turns: 1},
		"late":                  {account: bearer("http://warmy.example"), store: 3 * time.Second, every: time.Second, turns: 2},
		"in a session, late":    {account: session("http://warmy.example"), store: 3 * time.Second, every: time.Second, turns: 2},
		"a loan takes too long": {account: session("http://warmy.example"), keep: time.Second, every: 6 * time.Second, turns: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pace, w := &slowPace{every: c.every}, &prompt{}
				client := warmy.New(warmy.Config{
					Accounts: []warmy.Account{c.account}, Transport: w, Pace: pace, Sessions: &slowSessions{takes: c.keep}, Timeout: 15 * time.Second,
				})
				m, intents := mailboxOf(), 0
				m.Intend = func(context.Context) error {
					intents++
					time.Sleep(c.store)
					return nil
				}
				if id, err := client.Create(t.Context(), "main", m); err != nil || id != "7" {
					t.Fatalf("Create() = %q, %v", id, err)
				}
				if len(w.called) != 1 || len(pace.turns) != c.turns || intents != 1 || pace.begun != c.turns-1 {
					t.Fatalf("%d calls, %d intents, %d turns, %d of them begun; want %d", len(w.called), intents, len(pace.turns), pace.begun, c.turns)
				}
				if late := w.called[0].Sub(pace.turns[c.turns-1]); late > warmy.LeavesWithin {
					t.Errorf("it left %v after its turn", late)
				}
			})
		})
	}
}

// TestACallThatHasNoOtherTurnSoonIsTakenBack: its intent must not be held for longer than its lease.
func TestACallThatHasNoOtherTurnSoonIsTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace, w := &slowPace{}, &prompt{}
		client := warmy.New(warmy.Config{Accounts: []warmy.Account{bearer("http://warmy.example")}, Transport: w, Pace: pace})
		m := mailboxOf()
		m.Intend = func(context.Context) error {
			pace.every = 10 * time.Minute
			time.Sleep(time.Second)
			return nil
		}
		began := time.Now()
		_, err := client.Create(t.Context(), "main", m)
		wants(t, err, fault.RetryAfter, "warmy_not_sent")
		if took := time.Since(began); len(w.called) > 0 || took > 30*time.Second {
			t.Errorf("%d calls after %v", len(w.called), took)
		}
	})
}
