package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// twice is a world whose second POST Warmy has answered with another id, which the listing does not show; the dead letter of
// its listing comes with it.
func twice(t *testing.T) (*world, events.Event) {
	t.Helper()
	w := connected(t)
	w.warmy.update = false
	if !w.run(t.Context(), reconnectOf("job", w.now)) || len(w.letters) != 1 || !w.registrations.get().Two() {
		t.Fatalf("%+v, %+v", w.letters, w.registrations.get())
	}
	return w, w.letters[0].event
}

// TestASecondIDIsNotForgottenByAReplay replays the dead letter again and again, while the listing shows neither mailbox.
func TestASecondIDIsNotForgottenByAReplay(t *testing.T) {
	t.Parallel()
	w, e := twice(t)
	w.warmy.lag, w.warmy.bornAt = 24*time.Hour, w.now
	for seq := range uint64(3) {
		w.now = w.now.Add(time.Minute)
		if !w.run(t.Context(), e.Replayed(seq, w.now)) {
			t.Fatal("it does not end")
		}
		last := w.letters[len(w.letters)-1].fault
		if got := w.registrations.get(); w.warmy.posts != 2 || got.WarmyID != "w1" || got.Again.OtherID != "w2" {
			t.Errorf("after %d POSTs: %+v, %+v", w.warmy.posts, got, got.Again)
		}
		if len(w.letters) != int(seq)+2 || last.Code != "warmy_second_id" || !strings.Contains(last.Cause, "w2") || w.status().Reason != mailbox.ReconnectFailed {
			t.Errorf("nobody is told of the second id: %+v, %+v", last, w.status())
		}
	}
}

// TestNothingIsPostedWhileWarmyMayHaveTheMailboxTwice asks for a POST in every way.
func TestNothingIsPostedWhileWarmyMayHaveTheMailboxTwice(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]func(*world) events.Event{
		"a newer consent":       func(*world) events.Event { return codeOf(1) },
		"an operator's request": func(w *world) events.Event { return reconnectOf("another job", w.now) },
	} {
		for _, givenUp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, given up %v", name, givenUp), func(t *testing.T) {
				t.Parallel()
				w, e := twice(t)
				if givenUp { // over a listing that failed
					reg := w.registrations.get().Recheck(w.now)
					w.registrations.put(reg.Bury(e, passing("x"), w.now))
				}
				w.now = w.now.Add(time.Minute)
				if !w.run(t.Context(), asks(w)) {
					t.Fatal("it does not end")
				}
				last := w.letters[len(w.letters)-1]
				if w.warmy.posts != 2 || len(w.letters) < 2 || last.fault.Code != "warmy_second_id" || !strings.Contains(last.fault.Cause, "w2") {
					t.Errorf("%d POSTs; %+v", w.warmy.posts, w.letters)
				}
				if reg := w.registrations.get(); reg.WarmyID != "w1" || reg.Again.OtherID != "w2" || w.status().Reason != mailbox.ReconnectFailed {
					t.Errorf("%+v, %+v, %+v", reg, reg.Again, w.status())
				}
				work := w.registrations.get().Work()
				decided := e.Follow(events.RegistrationDecided, w.now)
				decided.Attempt, decided.Decision = work.Attempt, &events.Decision{WarmyID: "w1", Posts: work.Posts, Forced: true}
				w.warmy.update, w.warmy.ids = true, []string{"w1"}
				if !w.run(t.Context(), decided) {
					t.Fatal("it does not end")
				}
				w.now = w.now.Add(time.Minute)
				replayed := last.event.Replayed(7, w.now)
				if last.event.Kind == events.ReconnectRequested {
					replayed = reconnectOf("a third job", w.now)
				}
				if !w.run(t.Context(), replayed) {
					t.Fatal("it does not end")
				}
				w.still(t, "", 3)
				w.check(t)
			})
		}
	}
}

// TestWhatAnEarlierVersionBeganBesideTwoIDsIsNotPosted has a record of a build that began a third POST, for another consent.
func TestWhatAnEarlierVersionBeganBesideTwoIDsIsNotPosted(t *testing.T) {
	t.Parallel()
	for _, phase := range []mailbox.RegistrationPhase{mailbox.RegistrationNone, mailbox.RegistrationDead} {
		for _, asked := range []bool{false, true} {
			w, e := twice(t)
			reg := w.registrations.get()
			again := *reg.Again
			again.Work = mailbox.Registration{Phase: phase, Attempt: "att01", Proof: reg.Proof, Since: w.now}
			again.Request, reg.Again = "old", &again
			w.registrations.put(reg)
			asks := e.Follow(events.RegistrationRequested, w.now)
			if asks.Proof = reg.Proof; asked {
				if o := w.deliver(t.Context(), asks); !o.dead || w.warmy.posts != 2 {
					t.Errorf("%q: %+v, %d POSTs", phase, o, w.warmy.posts)
				}
			}
			w.warmy.ids = []string{"w2"}
			if !w.run(t.Context(), e.Replayed(7, w.now)) {
				t.Fatal("it does not end")
			}
			if got := w.registrations.get(); got.WarmyID != "w2" || got.Two() || got.Attempt != "att00" || w.warmy.posts != 2 {
				t.Errorf("%q, asked %v: the replay ends as %+v after %d POSTs", phase, asked, got, w.warmy.posts)
			}
		}
	}
}

// TestASecondIDIsDeclaredAbsentByForceAlone: that no listing shows it proves nothing.
func TestASecondIDIsDeclaredAbsentByForceAlone(t *testing.T) {
	t.Parallel()
	for _, forced := range []bool{false, true} {
		w := connected(t)
		w.warmy.update = false
		o := w.deliver(t.Context(), reconnectOf("job", w.now))
		work := w.registrations.get().Work()
		decided := o.follow[0].Follow(events.RegistrationDecided, w.now)
		decided.Attempt, decided.Decision = work.Attempt, &events.Decision{Posts: work.Posts, Forced: forced}
		w.warmy.bornAt, w.warmy.lag, w.now = w.now, time.Hour, w.now.Add(settle)
		_, err := w.handlerOf(decided).Handle(t.Context(), decided)
		if (err == nil) != forced || !forced && (fault.Of(err).Code != "decision_refuted" || !w.registrations.get().Two()) {
			t.Errorf("forced %v: %v, %+v", forced, err, w.registrations.get())
		}
	}
}

// TestAnAnswerIsSavedThoughTheStoreFails fails the saves that follow the POST, at a Warmy whose listing never shows what it made.
func TestAnAnswerIsSavedThoughTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		for _, a := range []mode{errBefore, errAfter, conflict} {
			for _, b := range []mode{errBefore, errAfter, conflict} {
				t.Run(fmt.Sprintf("again %v: %s, %s", again, a, b), func(t *testing.T) {
					t.Parallel()
					w, e := granted(t)
					if again {
						w, e = connected(t), reconnectOf("job", at)
						w.warmy.update = false
					}
					w.warmy.alias = true
					w.warmy.turn = func() { // the intent, the POST, the save of its answer; a reload; another save
						create := len(w.steps) + 4 // two loads, and the save of the intent, come first
						w.script = map[int]mode{create + 1: a, create + 3: b}
					}
					o := w.deliver(t.Context(), e)
					posts := map[bool]int{true: 2, false: 1}[again]
					id := fmt.Sprintf("w%d", posts)
					if reg := w.registrations.get(); o.err != nil || reg.Elsewhere != id || w.warmy.posts != posts {
						t.Fatalf("%+v after %v; %+v", o, numbered(w.steps, w.script), reg)
					}
					w.script, w.warmy.turn = nil, nil
					if !w.run(t.Context(), o.follow...) || w.warmy.posts != posts || len(w.letters) != 1 {
						t.Errorf("%d POSTs, %+v", w.warmy.posts, w.letters)
					}
					for _, b := range append(w.breaches, w.lost()...) {
						t.Error(b)
					}
				})
			}
		}
	}
}

// TestNoIDOfWarmysIsLostOrPostedOver has a Warmy that makes another mailbox of every POST, and an operator who reconnects,
// replays and removes mailboxes, in any order and with failures.
func TestNoIDOfWarmysIsLostOrPostedOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		w.warmy.update, w.warmy.twice = rapid.IntRange(0, 3).Draw(r, "update") == 0, true
		w.run(t.Context(), codeOf(0))
		jobs := 0
		run := func(queue ...events.Event) {
			w.script = map[int]mode{}
			for range rapid.IntRange(0, 3).Draw(r, "failures") {
				w.script[len(w.steps)+rapid.IntRange(1, 30).Draw(r, "step")] = rapid.SampledFrom(failures()).Draw(r, "mode")
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(r, "minutes")) * time.Minute)
			if !w.run(t.Context(), queue...) {
				r.Fatalf("it does not end: %v", numbered(w.steps, w.script))
			}
			w.warmy.maybe = w.registrations.get().Unresolved()
		}
		r.Repeat(map[string]func(*rapid.T){
			"reconnect": func(*rapid.T) {
				jobs++
				run(reconnectOf(fmt.Sprintf("job|%d", jobs), w.now))
			},
			"consent": func(*rapid.T) {
				jobs++
				e := codeOf(jobs)
				e.At, e.Deadline = w.now, w.now.Add(mailbox.CodeLife)
				run(e)
			},
			"replay": func(r *rapid.T) {
				if len(w.letters) == 0 {
					return
				}
				n, before := rapid.IntRange(0, len(w.letters)-1).Draw(r, "letter"), w.registrations.get()
				run(w.letters[n].event.Replayed(uint64(len(w.steps)), w.now))
				if before.Two() && !w.registrations.get().Two() && len(w.warmy.visible()) > 0 {
					w.answered = slices.DeleteFunc(w.answered, func(id string) bool { // the operator has looked
						return id == before.WarmyID || id == before.Again.OtherID
					})
				}
			},
			"remove": func(r *rapid.T) {
				if len(w.warmy.ids) > 1 {
					n := rapid.IntRange(0, len(w.warmy.ids)-1).Draw(r, "which")
					w.warmy.ids = slices.Delete(slices.Clone(w.warmy.ids), n, n+1)
				}
			},
			"listing": func(r *rapid.T) {
				w.warmy.lag = rapid.SampledFrom([]time.Duration{0, settle / 2}).Draw(r, "lag")
				w.warmy.alias = rapid.IntRange(0, 3).Draw(r, "alias") == 0
			},
			"": func(r *rapid.T) {
				for _, b := range w.breaches {
					r.Fatal(b)
				}
				if lost := w.lost(); len(lost) > 0 {
					r.Fatalf("nothing names %v: %+v, %+v", lost, w.registrations.get(), w.registrations.get().Again)
				}
			},
		})
	})
}
