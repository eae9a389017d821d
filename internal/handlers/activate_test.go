package handlers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func TestANewMailboxIsStartedIfItsAccountSaysSo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		accounts []string
		unclear  bool
		starts   int
	}{
		"by default":                {nil, false, 0},
		"another account says so":   {[]string{"other"}, false, 0},
		"its account says so":       {[]string{"agency"}, false, 1},
		"the listing has shown it":  {[]string{"agency"}, true, 1},
		"shown, and nobody says so": {nil, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.activated = test.accounts
			if test.unclear {
				clean := newWorld()
				clean.run(t.Context(), codeOf(0))
				w.script = map[int]mode{slices.Index(clean.steps, "create") + 1: errAfter}
			}
			if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered || len(w.warmy.started) != test.starts {
				t.Errorf("started %v, %+v", w.warmy.started, w.status())
			}
			w.warmy.update = true
			if !w.run(t.Context(), reconnectOf("job", w.now)) || len(w.warmy.started) != test.starts {
				t.Errorf("a reconnection started %v", w.warmy.started)
			}
			w.check(t)
		})
	}
}

func TestAMailboxThatCannotBeStartedStaysRegistered(t *testing.T) {
	t.Parallel()
	for class, dead := range map[fault.Class]bool{fault.Permanent: true, fault.Transient: false, fault.LegDown: false, fault.RetryAfter: false} {
		w, e := granted(t)
		w.activated = []string{"agency"}
		w.warmy.still = classed(class, "warmy_change_refused")
		o := w.deliver(t.Context(), e)
		if len(o.follow) != 1 || o.follow[0].Kind != events.ActivationRequested {
			t.Fatalf("%+v", o)
		}
		start := w.deliver(t.Context(), o.follow[0])
		if got := w.status(); start.dead != dead || (start.err == nil) != dead || got.State != mailbox.StateRegistered || got.WarmyID != "w1" {
			t.Errorf("%s: %+v, %+v", class, start, got)
		}
		w.warmy.still = nil
		if !w.run(t.Context(), o.follow[0]) || w.registrations.get().Activated.IsZero() {
			t.Errorf("%s: it is not started", class)
		}
	}
}

// TestAStartSurvivesAnyStepThatFails breaks each step from the registration on in each way.
func TestAStartSurvivesAnyStepThatFails(t *testing.T) {
	t.Parallel()
	for step := range 12 {
		for _, m := range failures() {
			t.Run(fmt.Sprintf("step %d, %s", step, m), func(t *testing.T) {
				t.Parallel()
				w, e := granted(t)
				w.activated = []string{"agency"}
				w.script = map[int]mode{len(w.steps) + 1 + step: m}
				if !w.run(t.Context(), e) {
					t.Fatal("it does not end")
				}
				if got := w.status(); got.State != mailbox.StateRegistered || len(w.warmy.started) == 0 || w.registrations.get().Activated.IsZero() {
					t.Errorf("%+v, started %v", got, w.warmy.started)
				}
				w.check(t)
			})
		}
	}
}

// TestAStartThatWasAskedForIsNotForgotten has a POST for a newer consent, or an operator, come before the start.
func TestAStartThatWasAskedForIsNotForgotten(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*world) events.Event{
		"a newer consent": func(*world) events.Event { return codeOf(1) },
		"a reconnection":  func(w *world) events.Event { return reconnectOf("job", w.now) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.activated, w.warmy.update = []string{"agency"}, true
			w.warmy.still = classed(fault.Permanent, "warmy_change_refused")
			start := w.deliver(t.Context(), e).follow[0]
			if o := w.deliver(t.Context(), start); !o.dead {
				t.Fatalf("%+v", o)
			}
			w.warmy.still, w.now = nil, at.Add(time.Minute)
			w.warmy.started = nil
			if !w.run(t.Context(), between(w)) || w.warmy.posts != 2 || len(w.warmy.started) != 0 {
				t.Fatalf("%d POSTs, started %v", w.warmy.posts, w.warmy.started)
			}
			if !w.run(t.Context(), start.Replayed(7, w.now), start) || len(w.warmy.started) != 1 || w.registrations.get().Activated.IsZero() {
				t.Errorf("started %v", w.warmy.started)
			}
			w.check(t)
		})
	}
}

// TestAMailboxOfAnOlderConsentsPostIsStarted has the newer consent's event settle that POST, and post before the older one's.
func TestAMailboxOfAnOlderConsentsPostIsStarted(t *testing.T) {
	t.Parallel()
	w, older := doubtful(t, true)
	w.activated, w.warmy.update = []string{"agency"}, true
	w.now = at.Add(time.Minute)
	if !w.run(t.Context(), codeOf(1)) || !w.run(t.Context(), older) {
		t.Fatal("it does not end")
	}
	if len(w.warmy.started) != 1 || w.registrations.get().Attempt != "att01" || w.registrations.get().Activated.IsZero() {
		t.Errorf("started %v, %+v", w.warmy.started, w.registrations.get())
	}
	w.check(t)
}

// TestAMailboxThatWarmyHadBeforeIsNotStarted: its operator may have paused it.
func TestAMailboxThatWarmyHadBeforeIsNotStarted(t *testing.T) {
	t.Parallel()
	for name, decided := range map[string]bool{"listed": false, "adopted by an operator": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.activated = []string{"agency"}
			w.warmy.ids, w.warmy.refuse = []string{"theirs"}, classed(fault.Unclear, mailbox.CodeTaken)
			o := w.deliver(t.Context(), e)
			if decided {
				o.follow = []events.Event{decision(w, e, events.Decision{WarmyID: "theirs"})}
			}
			if !w.run(t.Context(), o.follow...) || w.registrations.get().WarmyID != "theirs" || len(w.warmy.started) != 0 {
				t.Errorf("started %v, %+v", w.warmy.started, w.registrations.get())
			}
			w.check(t)
		})
	}
}

// TestAMailboxOfOurOwnThatIsTakenIsStarted: it was our first POST that made it.
func TestAMailboxOfOurOwnThatIsTakenIsStarted(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	w.activated = []string{"agency"}
	w.warmy.refuse, w.warmy.bornAt, w.warmy.lag = classed(fault.Unclear, mailbox.CodeTaken), w.now, 90*time.Second
	w.warmy.ids = []string{"w1"}
	if !w.run(t.Context(), e) || w.warmy.posts != 2 || len(w.warmy.started) != 1 {
		t.Errorf("started %v after %d POSTs, %+v", w.warmy.started, w.warmy.posts, w.registrations.get())
	}
}
