package handlers_test

import (
	"fmt"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// reconnectOf is an operator's request as the console publishes it.
func reconnectOf(job string, now time.Time) events.Event {
	e := events.New(events.ReconnectRequested, job, now)
	e.Mailbox, e.App, e.Account, e.Campaign = mb, "main", "agency", "camp"
	return e
}

// connected is a world whose mailbox was registered, at a Warmy that changes what is posted again.
func connected(t *testing.T) *world {
	t.Helper()
	w := newWorld()
	w.warmy.update = true
	if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered {
		t.Fatalf("%+v", w.status())
	}
	return w
}

// still checks that the mailbox is registered under the id that it had, for the given reason, after so many POSTs.
func (w *world) still(t *testing.T, reason string, posts int) {
	t.Helper()
	if got := w.status(); got.State != mailbox.StateRegistered || got.WarmyID != "w1" || got.Reason != reason || w.warmy.posts != posts {
		t.Errorf("%d POSTs, want %d; want reason %q of %+v, %+v", w.warmy.posts, posts, reason, got, w.registrations.get().Again)
	}
}

func TestANewConsentTellsWarmyOnce(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.now = at.Add(time.Minute)
	if !w.run(t.Context(), codeOf(1)) {
		t.Fatal("it does not end")
	}
	w.still(t, "", 2)
	if reg := w.registrations.get(); reg.Attempt != "att01" || !w.warmy.last.Access.Equal(w.grants.get().Tokens.Access) {
		t.Errorf("posted for %s", reg.Attempt)
	}
	if !w.run(t.Context(), codeOf(1), codeOf(0)) {
		t.Fatal("it does not end")
	}
	w.still(t, "", 2)
	w.check(t)
}

func TestAnOperatorsRequestIsPostedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before    func(*world)
		refreshes int
	}{
		"tokens are fresh":      {func(*world) {}, 0},
		"tokens live too short": {func(w *world) { w.now = w.now.Add(55 * time.Minute) }, 1},
		"their owner was never proven to Warmy": {func(w *world) {
			reg := w.registrations.get()
			reg.Proof = nil
			w.registrations.put(reg)
		}, 0},
		"an older worker took the newer consent's event": {func(w *world) {
			reg := w.registrations.get()
			reg.Attempt = "att99"
			w.registrations.put(reg)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			test.before(w)
			e := reconnectOf("job|1", w.now)
			if !w.run(t.Context(), e, e) {
				t.Fatal("it does not end")
			}
			w.still(t, "", 2)
			if w.microsoft.refreshes != test.refreshes {
				t.Errorf("%d refreshes", w.microsoft.refreshes)
			}
			if !w.run(t.Context(), e.Replayed(7, w.now)) {
				t.Fatal("it does not end")
			}
			w.still(t, "", 2)
			w.now = w.now.Add(time.Minute)
			if !w.run(t.Context(), reconnectOf("job|2", w.now)) {
				t.Fatal("it does not end")
			}
			w.still(t, "", 3)
			w.check(t)
		})
	}
}

func TestARequestForWhatIsNotRegisteredDoesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*world){
		"never registered": func(w *world) { w.registrations.put(mailbox.Registration{}) },
		"tokens are gone":  func(w *world) { w.grants.put(w.grants.get().Revoke(passing("x"), w.now)) },
		"erased": func(w *world) {
			inv := w.invitations.get()
			inv.ErasedAt = w.now
			w.invitations.put(inv)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			before(w)
			reg := w.registrations.get()
			if o := w.deliver(t.Context(), reconnectOf("job", w.now)); o.err != nil || len(o.follow) != 0 || w.warmy.posts != 1 || w.registrations.get() != reg {
				t.Errorf("%+v, %d POSTs", o, w.warmy.posts)
			}
		})
	}
}

// TestARequestIsNotLostInAnUnclearPost asks for another reconnection while the last one is unsettled: before the listing was
// asked, after the work was given up, and when the worker that posted is gone.
func TestARequestIsNotLostInAnUnclearPost(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(w *world, unclear events.Event){
		"unclear": func(*world, events.Event) {},
		"given up": func(w *world, unclear events.Event) {
			w.registrations.put(w.registrations.get().Bury(unclear, passing("x"), w.now))
		},
		"its worker is gone": func(w *world, _ events.Event) {
			reg := w.registrations.get()
			again := *reg.Again
			again.Work.Phase, again.Work.Lease = mailbox.Posting, w.now
			reg.Again = &again
			w.registrations.put(reg)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
			unclear := w.deliver(t.Context(), reconnectOf("job|1", w.now)).follow
			w.warmy.refuse, w.warmy.maybe = nil, false
			meanwhile(w, unclear[0])
			w.now = w.now.Add(time.Second)
			if !w.run(t.Context(), append(unclear, reconnectOf("job|2", w.now))...) {
				t.Fatal("it does not end")
			}
			w.still(t, "", 3)
			w.check(t)
		})
	}
}

// TestARequestAsksForTheListingItself has the worker stop between the save that makes an earlier POST unclear and what follows.
func TestARequestAsksForTheListingItself(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
	unclear := w.deliver(t.Context(), reconnectOf("job|1", w.now)).follow
	w.warmy.refuse, w.warmy.maybe = nil, false
	w.registrations.put(w.registrations.get().Bury(unclear[0], passing("x"), w.now))
	w.now = w.now.Add(time.Second)
	w.script = map[int]mode{len(w.steps) + 5: killBefore}
	if !w.run(t.Context(), reconnectOf("job|2", w.now)) || w.steps[len(w.steps)-1] != "publish" {
		t.Fatalf("it does not end: %v", numbered(w.steps, w.script))
	}
	w.still(t, "", 3)
	w.check(t)
}

// TestARequestIsGivenUpWithTheListingItWaitsFor, or both would ask for each other without end.
func TestARequestIsGivenUpWithTheListingItWaitsFor(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
	w.warmy.ids, w.warmy.twice = []string{"w1", "w2"}, true
	unclear := w.deliver(t.Context(), reconnectOf("job|1", w.now)).follow
	w.warmy.refuse, w.now = nil, w.now.Add(time.Second)
	if !w.run(t.Context(), append(unclear, reconnectOf("job|2", w.now))...) || len(w.letters) != 2 || w.warmy.posts != 2 {
		t.Fatalf("%+v after %d POSTs", w.letters, w.warmy.posts)
	}
	if got := w.status(); got.Reason != mailbox.ReconnectFailed || got.Finding.Code != "warmy_listed_twice" || w.letters[1].fault.Code != "earlier_post_given_up" {
		t.Errorf("%+v, %+v", w.letters, got)
	}
	w.warmy.ids, w.now = []string{"w1"}, w.now.Add(time.Minute)
	if !w.run(t.Context(), w.letters[0].event.Replayed(7, w.now)) {
		t.Fatal("it does not end")
	}
	w.now = w.now.Add(time.Minute)
	if !w.run(t.Context(), reconnectOf("job|3", w.now)) {
		t.Fatal("it does not end")
	}
	w.still(t, "", 3)
	w.check(t)
}

func TestTheListingSettlesAReconnectionOfUnclearOutcome(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.warmy.refuse = classed(fault.Unclear, "warmy_taken")
	o := w.deliver(t.Context(), reconnectOf("job", w.now))
	if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationUnclear {
		t.Fatalf("%+v", o)
	}
	w.still(t, mailbox.Reconnecting, 2)
	w.warmy.maybe = false
	if !w.run(t.Context(), o.follow...) {
		t.Fatal("it does not end")
	}
	w.still(t, mailbox.ReconnectUnsure, 2)
	if f := w.status().Finding; f == nil || f.Code != "warmy_reconnect_unproven" {
		t.Errorf("finding %+v", f)
	}
}

func TestAMailboxThatIsGoneAtWarmyIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.warmy.refuse, w.warmy.ids = classed(fault.Unclear, "warmy_timeout"), nil
	o := w.deliver(t.Context(), reconnectOf("job", w.now))
	w.warmy.refuse, w.warmy.ids, w.warmy.lag = nil, []string{"old"}, time.Hour // the listing shows none of them
	w.warmy.update, w.warmy.bornAt = false, w.now
	if !w.run(t.Context(), o.follow...) {
		t.Fatal("it does not end")
	}
	reg := w.registrations.get()
	if reg.Phase != mailbox.Registered || reg.WarmyID != "w2" || reg.Again.Former != "w1" || reg.Two() || w.warmy.posts != 3 {
		t.Errorf("%+v, %+v", reg, reg.Again)
	}
}

func TestAnOperatorsWordSettlesASecondID(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d             events.Decision
		wants, reason string
		posts         int
	}{
		"the known id":    {events.Decision{WarmyID: "w1", Forced: true}, "w1", mailbox.ReconnectUnsure, 2},
		"the second id":   {events.Decision{WarmyID: "w2", Forced: true}, "w2", mailbox.ReconnectUnsure, 2},
		"declared absent": {events.Decision{Forced: true}, "w1", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			w.warmy.update, w.warmy.twice = false, true
			o := w.deliver(t.Context(), reconnectOf("job", w.now))
			if o.err != nil || len(o.follow) != 1 || !w.registrations.get().Two() {
				t.Fatalf("%+v", o)
			}
			work := w.registrations.get().Work()
			decided := o.follow[0].Follow(events.RegistrationDecided, w.now)
			c.d.Posts = work.Posts
			decided.Attempt, decided.Proof, decided.Decision = work.Attempt, work.Proof, &c.d
			w.warmy.update = true
			if c.d.WarmyID == "" {
				w.warmy.ids = []string{"w1"}
			}
			if !w.run(t.Context(), decided) {
				t.Fatal("it does not end")
			}
			w.now = w.now.Add(time.Hour)
			if o := w.deliver(t.Context(), o.follow[0]); o.dead || o.err != nil { // the listing that was asked for
				t.Errorf("%+v", o)
			}
			if got := w.status(); got.WarmyID != c.wants || got.Reason != c.reason || got.Two || w.warmy.posts != c.posts {
				t.Errorf("%+v after %d POSTs", got, w.warmy.posts)
			}
		})
	}
}

func TestASecondIDIsNeverTakenInSilence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		twice  bool
		finish []string // Warmy's ids after an operator has looked
		wants  string
	}{
		"both are listed, the older one is removed":     {true, []string{"w2"}, "w2"},
		"both are listed, the newer one is removed":     {true, []string{"w1"}, "w1"},
		"the older one is listed, and removed":          {false, []string{"w2"}, "w2"},
		"the older one is listed, the other is removed": {false, []string{"w1"}, "w1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			w.warmy.update, w.warmy.twice = false, test.twice
			o := w.deliver(t.Context(), reconnectOf("job", w.now))
			if o.err != nil || len(o.follow) != 1 {
				t.Fatalf("%+v", o)
			}
			e := o.follow[0]
			for range 2 { // the second is a redelivery
				w.now = e.NotBefore
				if o := w.deliver(t.Context(), e); !o.dead {
					t.Fatalf("no dead letter: %+v", o)
				}
				w.still(t, mailbox.ReconnectFailed, 2)
			}
			w.warmy.ids = test.finish
			if !w.run(t.Context(), e.Replayed(7, w.now)) {
				t.Fatal("it does not end")
			}
			if reg := w.registrations.get(); reg.WarmyID != test.wants || reg.Two() || reg.Work().Phase != mailbox.Registered || w.warmy.posts != 2 {
				t.Errorf("%+v, %+v", reg, reg.Again)
			}
		})
	}
}

func TestARefusedReconnectionLeavesTheMailboxRegistered(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.warmy.refuse = classed(fault.Permanent, "warmy_422")
	e := reconnectOf("job", w.now)
	if o := w.deliver(t.Context(), e); !o.dead {
		t.Fatalf("%+v", o)
	}
	w.still(t, mailbox.ReconnectFailed, 2)
	w.warmy.refuse = nil
	if !w.run(t.Context(), e.Replayed(7, w.now)) {
		t.Fatal("it does not end")
	}
	w.still(t, "", 3)
	w.check(t)
}

func TestUnusableTokensAreRefreshedOnce(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"a first POST": false, "a POST made again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			e, posts := codeOf(0), 0
			if again {
				w = connected(t)
				e, posts = reconnectOf("job", w.now), 1
			}
			w.warmy.refuse = classed(fault.Permanent, handlers.CodeUnusable)
			if !w.run(t.Context(), e) {
				t.Fatal("it does not end")
			}
			if w.microsoft.refreshes != 1 || w.warmy.posts != posts+2 || w.registrations.get().Work().Phase != mailbox.RegistrationDead {
				t.Errorf("%d refreshes, %d POSTs, %+v", w.microsoft.refreshes, w.warmy.posts, w.status())
			}
			w.now = at.Add(2 * time.Minute)
			w.warmy.refuse = nil
			if !w.run(t.Context(), codeOf(1)) {
				t.Fatal("it does not end")
			}
			w.still(t, "", posts+3)
			w.check(t)
		})
	}
}

func TestAWorkerThatIsCutOffAfterARefusalStillRefreshes(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	w.warmy.refuse = classed(fault.Permanent, handlers.CodeUnusable)
	first := w.deliver(t.Context(), e)
	w.warmy.refuse = nil
	second := w.deliver(t.Context(), e)
	if len(second.follow) != 1 || second.follow[0].ID != first.follow[0].ID || second.follow[0].Refused.IsZero() || w.warmy.posts != 1 {
		t.Errorf("%+v, then %+v; %d POSTs", first, second, w.warmy.posts)
	}
}

// TestAReconnectionSurvivesAnyStepThatFails breaks each step of it in each way.
func TestAReconnectionSurvivesAnyStepThatFails(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		for step := range 14 {
			for _, m := range failures() {
				t.Run(fmt.Sprintf("late %v, step %d, %s", late, step, m), func(t *testing.T) {
					t.Parallel()
					w := connected(t)
					if late {
						w.now = w.now.Add(55 * time.Minute)
					}
					w.script = map[int]mode{len(w.steps) + 1 + step: m}
					if !w.run(t.Context(), reconnectOf("job", w.now)) {
						t.Fatal("it does not end")
					}
					got := w.status()
					if got.State != mailbox.StateRegistered || got.WarmyID != "w1" || got.Reason != "" && got.Reason != mailbox.ReconnectUnsure || w.warmy.posts > 2 {
						t.Errorf("%+v, %d POSTs", got, w.warmy.posts)
					}
					if got.Reason == "" && w.warmy.posts != 2 {
						t.Errorf("the request was lost: %+v, %d POSTs", got, w.warmy.posts)
					}
					w.check(t)
				})
			}
		}
	}
}
