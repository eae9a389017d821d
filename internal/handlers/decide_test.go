package handlers_test

import (
	"testing"

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
