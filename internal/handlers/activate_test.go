package handlers_test

import (
	"fmt"
	"testing"

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
				w.script = map[int]mode{12: errAfter} // the POST
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
