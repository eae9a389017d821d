package handlers_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// decision is an operator's word about the POST of a world that is in doubt.
func decision(w *world, e events.Event, d events.Decision) events.Event {
	decided := e.Follow(events.RegistrationDecided, w.now)
	d.Posts = w.registrations.get().Posts
	decided.Decision = &d
	return decided
}

func TestAnOperatorsWordSettlesAnUnclearPost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		created bool
		d       events.Decision
		dead    bool
		posts   int // in the end
		code    string
	}{
		"adopted":                    {true, events.Decision{WarmyID: "w1"}, false, 1, ""},
		"adopted when dead":          {true, events.Decision{WarmyID: "w1"}, true, 1, ""},
		"declared absent":            {false, events.Decision{}, false, 2, ""},
		"declared absent when dead":  {false, events.Decision{}, true, 2, ""},
		"adopted under another id":   {true, events.Decision{WarmyID: "w2"}, false, 1, "decision_refuted"},
		"adopted though not listed":  {false, events.Decision{WarmyID: "w1"}, false, 1, "decision_refuted"},
		"declared absent and listed": {true, events.Decision{}, false, 1, "decision_refuted"},
		"adopted by force":           {false, events.Decision{WarmyID: "w9", Forced: true}, false, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := doubtful(t, c.created)
			if c.dead {
				w.registrations.put(w.registrations.get().Bury(e, passing("warmy_unreachable"), w.now))
				w.now = w.now.Add(settle)
			}
			before := w.registrations.get()
			decided := decision(w, e, c.d)
			if c.posts > 1 {
				w.warmy.maybe = false // the operator knows
			}
			o := w.deliver(t.Context(), decided)
			if c.code != "" {
				if !o.dead || w.registrations.get() != before {
					t.Errorf("%+v, %+v", o, w.registrations.get())
				}
				if _, err := w.handlerOf(decided).Handle(t.Context(), decided); fault.Of(err).Code != c.code {
					t.Errorf("%v, want %s", err, c.code)
				}
				return
			}
			if o.err != nil || !w.run(t.Context(), o.follow...) || w.status().State != mailbox.StateRegistered || w.warmy.posts != c.posts {
				t.Errorf("%+v, ends as %+v after %d POSTs", o, w.status(), w.warmy.posts)
			}
			if id := w.registrations.get().WarmyID; c.d.WarmyID != "" && id != c.d.WarmyID {
				t.Errorf("registered under %s", id)
			}
			w.check(t)
		})
	}
}

func TestAWordAboutAnEarlierPostSaysNothingOfALaterOne(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	decided := decision(w, e, events.Decision{WarmyID: "w1", Forced: true})
	later := w.registrations.get()
	later.Posts++
	w.registrations.put(later)
	if _, err := w.handlerOf(decided).Handle(t.Context(), decided); fault.Of(err).Code != "decision_overtaken" || w.registrations.get() != later {
		t.Errorf("%v, %+v", err, w.registrations.get())
	}
}

// TestAnAbsenceIsNotConfirmedBeforeThePostHasHadItsTime lets the POST take effect 30 s after the time-out, and the operator speak
// after 20 s.
func TestAnAbsenceIsNotConfirmedBeforeThePostHasHadItsTime(t *testing.T) {
	t.Parallel()
	for name, forced := range map[string]bool{"confirmed": false, "forced": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := doubtful(t, true)
			w.now = w.registrations.get().Since
			w.warmy.bornAt, w.warmy.lag = w.now, 30*time.Second
			w.now = w.now.Add(20 * time.Second)
			before, decided := w.registrations.get(), decision(w, e, events.Decision{Forced: forced})
			_, err := w.handlerOf(decided).Handle(t.Context(), decided)
			if forced {
				if err != nil || !w.registrations.get().ProvenAbsent() {
					t.Errorf("the operator's own risk is refused: %v", err)
				}
				return
			}
			f := fault.Of(err)
			if f.Class != fault.RetryAfter || f.After != settle-20*time.Second || w.registrations.get() != before {
				t.Fatalf("%v, %+v", err, w.registrations.get())
			}
			w.now = w.now.Add(f.After)
			if _, err := w.handlerOf(decided).Handle(t.Context(), decided); fault.Of(err).Code != "decision_refuted" {
				t.Errorf("%v", err)
			}
			if !w.run(t.Context(), e) || w.warmy.posts != 1 || w.registrations.get().WarmyID != "w1" {
				t.Errorf("%d POSTs, %+v", w.warmy.posts, w.registrations.get())
			}
			w.check(t)
		})
	}
}

func TestAnAbsenceIsNotConfirmedByASuspiciousListing(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	before, decided := w.registrations.get(), decision(w, e, events.Decision{})
	w.warmy.doubt = classed(fault.RetryAfter, "warmy_listing_suspicious")
	if _, err := w.handlerOf(decided).Handle(t.Context(), decided); fault.Of(err).Code != "warmy_listing_suspicious" || w.registrations.get() != before {
		t.Errorf("%v, %+v", err, w.registrations.get())
	}
}

func TestAWordThatSomethingElseHasContradictedIsHeard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d         events.Decision
		meanwhile func(mailbox.Registration) mailbox.Registration
		code      string
	}{
		"adopted, and so it was": {events.Decision{WarmyID: "w1"}, func(r mailbox.Registration) mailbox.Registration { return r.Created("w1", true, at) }, ""},
		"adopted, and another was": {
			events.Decision{WarmyID: "w1"}, func(r mailbox.Registration) mailbox.Registration { return r.Created("w2", true, at) }, "decision_overtaken",
		},
		"adopted, and declared absent": {
			events.Decision{WarmyID: "w1"}, func(r mailbox.Registration) mailbox.Registration { return r.DeclaredAbsent(at) }, "decision_overtaken",
		},
		"declared absent, and listed": {
			events.Decision{}, func(r mailbox.Registration) mailbox.Registration { return r.Created("w1", true, at) }, "decision_overtaken",
		},
		"declared absent, and so it was": {events.Decision{}, func(r mailbox.Registration) mailbox.Registration { return r.DeclaredAbsent(at) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := doubtful(t, true)
			decided := decision(w, e, c.d)
			next := c.meanwhile(w.registrations.get())
			w.registrations.put(next)
			_, err := w.handlerOf(decided).Handle(t.Context(), decided)
			if (c.code != "" || err != nil) && fault.Of(err).Code != c.code || w.registrations.get() != next {
				t.Errorf("%v, %+v", err, w.registrations.get())
			}
		})
	}
}

// TestAnOperatorSaysWhichOfTwoIDsCounts takes each of them, after the dead letter that asks for it.
func TestAnOperatorSaysWhichOfTwoIDsCounts(t *testing.T) {
	t.Parallel()
	for _, takes := range []string{"w1", "w2"} {
		for _, listed := range []bool{false, true} {
			w := connected(t)
			w.warmy.update, w.warmy.twice = false, listed
			o := w.deliver(t.Context(), reconnectOf("job", w.now))
			w.now = o.follow[0].NotBefore
			if o := w.deliver(t.Context(), o.follow[0]); !o.dead || !w.registrations.get().Two() {
				t.Fatalf("%+v", o)
			}
			e := o.follow[0]
			e.Attempt = w.registrations.get().Work().Attempt
			decided := e.Follow(events.RegistrationDecided, w.now)
			decided.Decision = &events.Decision{WarmyID: takes, Posts: w.registrations.get().Work().Posts, Forced: true}
			if o := w.deliver(t.Context(), decided); o.err != nil || o.dead {
				t.Fatalf("%+v", o)
			}
			reg := w.registrations.get()
			if reg.WarmyID != takes || reg.Two() || reg.Unresolved() || reg.Work().Phase != mailbox.Registered || w.warmy.posts != 2 {
				t.Errorf("%s: %+v, %+v", takes, reg, reg.Again)
			}
		}
	}
}

func TestAWordThatComesTwiceOrLateChangesNothing(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	w.warmy.maybe = false
	absent := decision(w, e, events.Decision{})
	first, second := w.deliver(t.Context(), absent), w.deliver(t.Context(), absent)
	if len(first.follow) != 1 || len(second.follow) != 1 || first.follow[0].ID != second.follow[0].ID {
		t.Errorf("%+v, %+v", first, second)
	}
	if !w.run(t.Context(), append(first.follow, e)...) || w.warmy.posts != 2 {
		t.Errorf("%d POSTs", w.warmy.posts)
	}
	if late := w.deliver(t.Context(), absent); late.err != nil || len(late.follow) != 0 || w.status().State != mailbox.StateRegistered {
		t.Errorf("%+v, %+v", late, w.status())
	}
	w.check(t)
}
