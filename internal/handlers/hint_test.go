package handlers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// seen is what Warmy says of a mailbox.
type seen struct {
	address, state string
	err            error
	looks          int
	status         string
}

func (s *seen) Look(context.Context, string, string) (handlers.Looked, error) {
	s.looks++
	return handlers.Looked{Address: s.address, State: s.state, Status: s.status}, s.err
}

type names map[string]mailbox.ID

func (n names) Mailbox(app, whose string) mailbox.ID { return n[app+"|"+whose] }

func (w *world) heed(s *seen) handlers.HeedHint {
	return handlers.HeedHint{
		Invitations: w.invitations, Registrations: w.registrations, Warmy: s, IDs: names{"main|" + address: mb}, Apps: []string{"second", "main"}, Now: w.clock,
	}
}

func TestAHintLeadsToFreshTokensAtWarmyOnceADay(t *testing.T) {
	t.Parallel()
	w := connected(t)
	s := &seen{address: address, state: "reconnect"}
	for n := range 3 {
		evs, err := w.heed(s).Handle(t.Context(), events.NewHint("agency", "w1", "ev", w.now))
		if err != nil || len(evs) != 1 {
			t.Fatalf("%+v, %v", evs, err)
		}
		if !w.run(t.Context(), evs...) {
			t.Fatal("it does not end")
		}
		w.still(t, "", 2+n/2)
		if w.microsoft.refreshes != 1+n/2 {
			t.Errorf("%d refreshes", w.microsoft.refreshes)
		}
		if n == 1 {
			w.now = w.now.Add(24 * time.Hour)
		}
	}
	w.check(t)
}

func TestAHintAboutADeadGrantAsksItsOwner(t *testing.T) {
	t.Parallel()
	w := connected(t)
	w.microsoft.dead = revokedByMicrosoft()
	evs, err := w.heed(&seen{address: address, state: "credentials"}).Handle(t.Context(), events.NewHint("agency", "w1", "ev", w.now))
	if err != nil || !w.run(t.Context(), evs...) {
		t.Fatal(err)
	}
	if got := w.status(); got.State != mailbox.StateNeedsConsent || got.Reason != mailbox.Revoked || got.WarmyID != "w1" || w.warmy.posts != 1 {
		t.Errorf("%+v, %d POSTs", got, w.warmy.posts)
	}
}

func TestWhatWarmyCannotUseIsRepaired(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]seen{
		"reconnect":             {state: "reconnect"},
		"credentials":           {state: "credentials"},
		"less secure":           {state: "less_secure"},
		"blocked":               {status: "blocked"},
		"blocked, and critical": {status: "blocked", state: "critical"},
	} {
		s.address = address
		w := connected(t)
		evs, err := w.heed(&s).Handle(t.Context(), events.NewHint("agency", "w1", "ev", w.now))
		if err != nil || len(evs) != 1 || evs[0].Kind != events.ReconnectRequested {
			t.Errorf("%s: %+v, %v", name, evs, err)
		}
	}
}

func TestAHintIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seen   seen
		hint   events.Hint
		before func(*world)
		err    bool
	}{
		"Warmy can use it":            {seen{address: address, state: "trial"}, events.NewHint("agency", "w1", "ev", at), nil, false},
		"Warmy says nothing of it":    {seen{address: address}, events.NewHint("agency", "w1", "ev", at), nil, false},
		"blocked, for another reason": {seen{address: address, state: "full_storage", status: "blocked"}, events.NewHint("agency", "w1", "ev", at), nil, false},
		"running":                     {seen{address: address, status: "active"}, events.NewHint("agency", "w1", "ev", at), nil, false},
		"an address of nobody's":      {seen{address: "else@example.com", state: "reconnect"}, events.NewHint("agency", "w1", "ev", at), nil, true},
		"another id":                  {seen{address: address, state: "reconnect"}, events.NewHint("agency", "w2", "ev", at), nil, true},
		"another account":             {seen{address: address, state: "reconnect"}, events.NewHint("other", "w1", "ev", at), nil, true},
		"Warmy does not answer":       {seen{err: passing("warmy_timeout")}, events.NewHint("agency", "w1", "ev", at), nil, true},
		"Warmy does not know it":      {seen{err: classed(fault.Permanent, "warmy_gone")}, events.NewHint("agency", "w1", "ev", at), nil, true},
		"erased": {seen{address: address, state: "reconnect"}, events.NewHint("agency", "w1", "ev", at), func(w *world) {
			inv := w.invitations.get()
			inv.ErasedAt = at
			w.invitations.put(inv)
		}, true},
		"not registered": {seen{address: address, state: "reconnect"}, events.NewHint("agency", "w1", "ev", at), func(w *world) {
			w.registrations.put(mailbox.Registration{})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connected(t)
			if test.before != nil {
				test.before(w)
			}
			s := test.seen
			evs, err := w.heed(&s).Handle(t.Context(), test.hint)
			if len(evs) != 0 || (err != nil) != test.err || s.looks != 1 {
				t.Errorf("%+v, %v, %d looks", evs, err, s.looks)
			}
			if f := fault.Of(err); f.Code == "hint_unknown" && !strings.Contains(f.Remedy, "ignore it") {
				t.Errorf("the remedy is %q", f.Remedy)
			}
			if test.seen.err != nil && !errors.Is(err, test.seen.err) {
				t.Errorf("the class is lost: %v", err)
			}
		})
	}
}
