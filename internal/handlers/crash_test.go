package handlers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/mailbox"
)

// stale makes the tokens live too short, so that a refresh comes between redeem and POST.
func stale(w *world) { w.microsoft.life = 5 * time.Minute }

// stories are the ways that a mailbox can go without a failure of ours.
func stories() map[string]func(*world) {
	return map[string]func(*world){
		"straight on":                      func(*world) {},
		"the listing lags behind":          func(w *world) { w.warmy.lag = settle / 2 },
		"tokens that live too short":       stale,
		"an app that asks for no id_token": func(w *world) { w.microsoft.nameless = true },
	}
}

func TestAMailboxIsRegisteredWhenNothingFails(t *testing.T) {
	t.Parallel()
	for name, prepare := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			prepare(w)
			if !w.run(t.Context(), codeOf(0)) {
				t.Fatal("it does not end")
			}
			if got := w.status(); got.State != mailbox.StateRegistered || got.WarmyID != "w1" || w.warmy.posts != 1 {
				t.Errorf("ends as %+v after %d POSTs", got, w.warmy.posts)
			}
			w.check(t)
		})
	}
}

// TestOneFailureAnywhere fails every step of every story in every way, delivers again what the bus would, and asks
// for the invariants.
func TestOneFailureAnywhere(t *testing.T) {
	t.Parallel()
	for name, prepare := range stories() {
		clean := newWorld()
		prepare(clean)
		clean.run(t.Context(), codeOf(0))
		for n := range clean.steps {
			for _, m := range failures() {
				t.Run(fmt.Sprintf("%s/%d %s/%s", name, n+1, clean.steps[n], m), func(t *testing.T) {
					t.Parallel()
					w := newWorld()
					prepare(w)
					w.script = map[int]mode{n + 1: m}
					if !w.run(t.Context(), codeOf(0)) {
						t.Fatalf("it does not end: %v", numbered(w.steps, w.script))
					}
					got := w.status()
					if lost := losesAnswer(clean.steps, n, m); lost && (got.State != mailbox.StateNeedsConsent || got.Reason != mailbox.ConsentLost) {
						t.Errorf("the tokens were lost, but the mailbox ends as %s %s", got.State, got.Reason)
					} else if !lost && (got.State != mailbox.StateRegistered || len(w.warmy.ids) != 1) {
						t.Errorf("ends as %s %s, %d times at Warmy", got.State, got.Reason, len(w.warmy.ids))
					}
					w.check(t)
				})
			}
		}
	}
}

// losesAnswer reports whether a failure at step n of a clean run takes the only copy of the tokens along: there is none
// but in the worker's memory between the answer and the save.
func losesAnswer(steps []string, n int, m mode) bool {
	redeem := slices.Index(steps, "redeem")
	switch n {
	case redeem:
		return m == errAfter || m == killAfter || m == panicAfter
	case redeem + 1: // the save
		return m == killBefore || m == panicBefore
	}
	return false
}

// TestTwoFailuresAnywhere fails every pair of steps, the second perhaps in the recovery from the first.
func TestTwoFailuresAnywhere(t *testing.T) {
	t.Parallel()
	const horizon = 40 // the longest recovery is shorter
	for name, prepare := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for first := 1; first <= horizon; first++ {
				for second := first + 1; second <= horizon; second++ {
					for _, a := range failures() {
						for _, b := range failures() {
							endsWell(t, prepare, map[int]mode{first: a, second: b})
						}
					}
				}
			}
		})
	}
}

func endsWell(t *testing.T, prepare func(*world), script map[int]mode) {
	t.Helper()
	w := newWorld()
	prepare(w)
	w.script = script
	if !w.run(t.Context(), codeOf(0)) {
		t.Fatalf("it does not end: %v", numbered(w.steps, w.script))
	}
	got := w.status()
	lost := got.State == mailbox.StateNeedsConsent && got.Reason == mailbox.ConsentLost && len(w.warmy.ids) == 0
	if !lost && (got.State != mailbox.StateRegistered || len(w.warmy.ids) != 1) {
		t.Errorf("ends as %s %s %+v", got.State, got.Reason, got.Finding)
	}
	w.check(t)
	if t.Failed() {
		t.Fatalf("script %v", script)
	}
}

// TestRandomFailures delivers three consents of one mailbox and replays of them, with many failures and duplicates.
func TestRandomFailures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		w.microsoft.life = time.Duration(rapid.SampledFrom([]int{3, 11, 60}).Draw(r, "life")) * time.Minute
		w.warmy.lag = time.Duration(rapid.IntRange(0, 30).Draw(r, "lag")) * time.Second
		w.script = map[int]mode{}
		for range rapid.IntRange(0, 8).Draw(r, "failures") {
			w.script[rapid.IntRange(1, 80).Draw(r, "step")] = rapid.SampledFrom(failures()).Draw(r, "mode")
		}
		e := codeOf(0)
		if !w.run(t.Context(), e) {
			r.Fatalf("it does not end: %v", numbered(w.steps, w.script))
		}
		before := w.status()
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 120).Draw(r, "minutes")) * time.Minute)
		w.run(t.Context(), e, e.Replayed(7, at), e)
		after := w.status()
		if before.State == mailbox.StateRegistered && after.State != mailbox.StateRegistered {
			r.Errorf("registered, then %s", after.State)
		}
		if after.State != mailbox.StateRegistered && after.State != mailbox.StateNeedsConsent {
			r.Errorf("ends as %s %s", after.State, after.Stage)
		}
		for _, b := range w.breaches {
			r.Error(b)
		}
		if len(w.warmy.ids) > 1 {
			r.Errorf("Warmy has the mailbox %d times: %v", len(w.warmy.ids), numbered(w.steps, w.script))
		}
	})
}
