package warmy_test

import (
	"context"
	"errors"
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

// beats are turns at fixed times, whoever waits for them; every second one is another process's.
type beats struct{ every time.Duration }

func (b beats) Wait(ctx context.Context, _ string) error {
	apart := 2 * b.every
	next := time.Now().Add(time.Nanosecond).Truncate(apart).Add(apart)
	select {
	case <-time.After(time.Until(next)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (beats) Throttled(context.Context, string, time.Time, time.Duration) error { return nil }

// TestNoPaceIsTooSlowForASlowStore has the store take a second for each intent, at paces that leave no second turn within the
// life of an intent.
func TestNoPaceIsTooSlowForASlowStore(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{
		"a sixteenth of 55 a minute": 17700 * time.Millisecond, "two a minute": 30450 * time.Millisecond, "a sixteenth of two": 8 * time.Minute,
	} {
		for as, account := range map[string]warmy.Account{"bearer": bearer("http://warmy.example"), "session": session("http://warmy.example")} {
			t.Run(name+", "+as, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := &prompt{}
					client := warmy.New(warmy.Config{Accounts: []warmy.Account{account}, Transport: w, Pace: beats{every}})
					var intended time.Time // the last time
					m := mailboxOf()
					m.Intend = func(context.Context) error {
						intended = time.Now()
						time.Sleep(time.Second)
						return nil
					}
					began := time.Now()
					if id, err := client.Create(t.Context(), "main", m); err != nil || id != "7" || len(w.called) != 1 {
						t.Fatalf("Create() = %q, %v, after %d calls", id, err, len(w.called))
					}
					if left := w.called[0]; left.Sub(intended) > 22*time.Second || left.Sub(began) > 4*every {
						t.Errorf("it left %v after it was begun, %v after its intent", left.Sub(began), left.Sub(intended))
					}
				})
			})
		}
	}
}

// TestACallWhoseIntentCannotBeRenewedIsTakenBack: nothing was sent, so the outcome of the first intent is not unclear.
func TestACallWhoseIntentCannotBeRenewedIsTakenBack(t *testing.T) {
	t.Parallel()
	stale := errors.New("the token is too old by now")
	synctest.Test(t, func(t *testing.T) {
		w, intents := &prompt{}, 0
		client := warmy.New(warmy.Config{Accounts: []warmy.Account{bearer("http://warmy.example")}, Transport: w, Pace: beats{10 * time.Minute}})
		m := mailboxOf()
		m.Intend = func(context.Context) error {
			if intents++; intents == 2 {
				return stale
			}
			time.Sleep(time.Second)
			return nil
		}
		_, err := client.Create(t.Context(), "main", m)
		if wants(t, err, fault.RetryAfter, "warmy_not_sent"); !errors.Is(err, stale) || len(w.called) > 0 {
			t.Errorf("%v after %d calls", err, len(w.called))
		}
	})
}

// TestACallThatIsBrokenOffWhileItWaitsForAnotherTurnIsNotMade ends the worker.
func TestACallThatIsBrokenOffWhileItWaitsForAnotherTurnIsNotMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w, intents := &prompt{}, 0
		client := warmy.New(warmy.Config{Accounts: []warmy.Account{bearer("http://warmy.example")}, Transport: w, Pace: beats{10 * time.Minute}})
		m := mailboxOf()
		m.Intend = func(context.Context) error {
			if intents++; intents == 1 {
				time.AfterFunc(time.Minute, stop)
			}
			time.Sleep(time.Second)
			return nil
		}
		_, err := client.Create(ctx, "main", m)
		if wants(t, err, fault.Transient, "warmy_not_sent"); !errors.Is(err, context.Canceled) || len(w.called) > 0 || intents > 4 {
			t.Errorf("%v after %d calls and %d intents", err, len(w.called), intents)
		}
	})
}
