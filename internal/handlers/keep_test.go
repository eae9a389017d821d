package handlers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

const day = 24 * time.Hour

// resting is a world whose mailbox is registered and has been idle for d under a policy of 25 days, and its timer.
func resting(t *testing.T, d time.Duration) (*world, events.Event) {
	t.Helper()
	w := newWorld()
	w.policy = mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: 25 * day}
	if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered {
		t.Fatalf("%+v", w.status())
	}
	timer, due, err := w.timers().Timer(t.Context(), mb)
	if err != nil || !due {
		t.Fatalf("no timer: %v", err)
	}
	w.now = w.now.Add(d)
	return w, timer
}

func (w *world) timers() handlers.IdleTimers {
	return handlers.IdleTimers{Invitations: w.invitations, Grants: w.grants, Policy: w.policy, Apps: []string{"main"}, Now: w.clock}
}

func revokedByMicrosoft() error {
	return &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50173", Reason: mailbox.Revoked, Forecast: fault.ByPerson}
}

func TestAnIdleGrantIsRefreshedAndGetsItsNextTimer(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 0)
	for round := 1; round <= 5; round++ {
		if timer.NotBefore.Before(w.now.Add(22*day)) || timer.NotBefore.After(w.now.Add(28*day)) {
			t.Fatalf("round %d: the timer goes off at %v, now is %v", round, timer.NotBefore, w.now)
		}
		w.now = timer.NotBefore
		o := w.deliver(t.Context(), timer)
		tokens := w.grants.get().Tokens
		if o.err != nil || len(o.follow) != 1 || w.microsoft.refreshes != round || tokens.Rotation != round || !tokens.SavedAt.Equal(w.now) {
			t.Fatalf("round %d: %+v, %+v", round, o, tokens)
		}
		if o.follow[0].ID != timer.ID || o.follow[0].Kind != events.GrantIdle {
			t.Fatalf("followed by %+v", o.follow[0])
		}
		timer = o.follow[0]
	}
	if w.status().State != mailbox.StateRegistered || w.outcomes[handlers.RefreshDone] != 5 {
		t.Errorf("%+v, counted %v", w.status(), w.outcomes)
	}
	w.check(t)
}

func TestATimerOfTokensThatWereUsedMeanwhileOnlyMovesOn(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 20*day)
	w.grants.put(w.grants.get().Rotate(w.microsoft.tokens(), w.now))
	w.now = timer.NotBefore
	o := w.deliver(t.Context(), timer)
	if o.err != nil || len(o.follow) != 1 || w.microsoft.refreshes != 0 || !o.follow[0].NotBefore.After(w.now.Add(15*day)) {
		t.Errorf("%+v after %d refreshes", o, w.microsoft.refreshes)
	}
}

func TestATimerEndsWithoutACall(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world){
		"the policy is off": func(w *world) { w.policy.Mode = mailbox.RefreshOff },
		"erased":            func(w *world) { inv := w.invitations.get(); inv.ErasedAt = w.now; w.invitations.put(inv) },
		"revoked":           func(w *world) { w.grants.put(w.grants.get().Revoke(fault.Of(revokedByMicrosoft()), w.now)) },
		"given up":          func(w *world) { w.grants.put(w.grants.get().Bury(codeOf(0), passing("x"), w.now)) },
	} {
		w, timer := resting(t, 30*day)
		change(w)
		if o := w.deliver(t.Context(), timer); o.err != nil || len(o.follow) != 0 || w.microsoft.refreshes != 0 || w.outcomes[handlers.RefreshEnded] != 1 {
			t.Errorf("%s: %+v after %d refreshes", name, o, w.microsoft.refreshes)
		}
		if _, due, err := w.timers().Timer(t.Context(), mb); due || err != nil {
			t.Errorf("%s: a new timer, %v", name, err)
		}
	}
}

func TestAnAppThatIsGoneGetsNoTimer(t *testing.T) {
	t.Parallel()
	w, _ := resting(t, 0)
	timers := w.timers()
	timers.Apps = []string{"another"}
	if _, due, err := timers.Timer(t.Context(), mb); due || err != nil {
		t.Errorf("due %v, %v", due, err)
	}
}

func TestARegisteredMailboxWhoseGrantDiedNeedsItsOwnerUntilHeConsentsAgain(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 30*day)
	w.microsoft.dead = revokedByMicrosoft()
	o := w.deliver(t.Context(), timer)
	if got := w.status(); o.err != nil || len(o.follow) != 0 || got.State != mailbox.StateNeedsConsent || got.Reason != mailbox.Revoked || got.WarmyID != "w1" {
		t.Fatalf("%+v, %+v", o, got)
	}
	w.microsoft.dead, w.warmy.update = nil, true
	again := codeOf(int(w.now.Sub(at) / time.Minute))
	if !w.run(t.Context(), again) {
		t.Fatal("it does not end")
	}
	if got := w.status(); got.State != mailbox.StateRegistered || got.Reason != "" || got.WarmyID != "w1" || w.warmy.posts != 2 {
		t.Errorf("%+v after %d POSTs", got, w.warmy.posts)
	}
	if _, due, err := w.timers().Timer(t.Context(), mb); !due || err != nil {
		t.Errorf("no timer for the new tokens: %v", err)
	}
	w.check(t)
}

func TestInvalidGrantIsNotBelievedWhenSomebodyElseHasJustRotatedTheTokens(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 30*day)
	theirs := w.microsoft.tokens()
	w.microsoft.onRefresh = func() { w.grants.put(w.grants.get().Rotate(theirs, w.now)) }
	w.microsoft.dead = revokedByMicrosoft()
	o := w.deliver(t.Context(), timer)
	if o.err != nil || len(o.follow) != 1 || w.status().State != mailbox.StateRegistered || !w.grants.get().Tokens.Access.Equal(theirs.Access) {
		t.Errorf("%+v, %+v", o, w.status())
	}
}

func TestTokensThatArriveAfterTheGrantWasCalledRevokedAreStored(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 30*day)
	w.grants.onSave = func(mailbox.Grant) {
		w.grants.put(w.grants.get().Revoke(fault.Of(revokedByMicrosoft()), w.now))
	}
	o := w.deliver(t.Context(), timer)
	if o.err != nil || len(o.follow) != 1 || w.status().State != mailbox.StateRegistered || w.grants.get().Tokens == nil {
		t.Errorf("%+v, %+v", o, w.status())
	}
}

func TestWhatAKeepAliveCannotDoIsTheBussToRepeatHoldOrBury(t *testing.T) {
	t.Parallel()
	for class, dead := range map[fault.Class]bool{fault.Transient: false, fault.RetryAfter: false, fault.LegDown: false, fault.Permanent: true} {
		w, timer := resting(t, 30*day)
		w.microsoft.dead = classed(class, "x")
		o := w.deliver(t.Context(), timer)
		if o.dead != dead || w.grants.get().Tokens == nil || w.status().State != mailbox.StateRegistered || w.outcomes[handlers.RefreshFailed] != 1 {
			t.Errorf("%s: %+v, %+v", class, o, w.status())
		}
		if !dead {
			continue
		}
		if _, due, _ := w.timers().Timer(t.Context(), mb); due {
			t.Error("what was given up gets a timer")
		}
		w.microsoft.dead = nil
		if o = w.deliver(t.Context(), timer.Replayed(7, w.now)); o.err != nil || len(o.follow) != 1 || w.grants.get().Phase != mailbox.GrantSaved {
			t.Errorf("the replay: %+v, %+v", o, w.grants.get())
		}
	}
}

// noTurn is a pace at which it is never anybody's turn.
type noTurn struct{}

func (noTurn) Turn(context.Context, string) (bool, error) { return false, nil }

func TestAMailboxWhoseTurnHasNotComeIsAskedAgainLater(t *testing.T) {
	t.Parallel()
	w, timer := resting(t, 30*day)
	w.pace = noTurn{}
	o := w.deliver(t.Context(), timer)
	if o.err != nil || len(o.follow) != 1 || w.microsoft.refreshes != 0 {
		t.Fatalf("%+v", o)
	}
	if wait := o.follow[0].NotBefore.Sub(w.now); wait < time.Minute || wait > 10*time.Minute {
		t.Errorf("asked again after %v", wait)
	}
}

// TestOneFailureAnywhereKeepsTheGrant fails every step of a keep-alive in every way. Whatever happens, the mailbox keeps
// tokens and a timer, and a grant that is good is never called revoked.
func TestOneFailureAnywhereKeepsTheGrant(t *testing.T) {
	t.Parallel()
	clean, timer := resting(t, 30*day)
	begun := len(clean.steps)
	clean.deliver(t.Context(), timer)
	for n := begun; n < len(clean.steps); n++ {
		for _, m := range failures() {
			t.Run(fmt.Sprintf("%s/%s", clean.steps[n], m), func(t *testing.T) {
				t.Parallel()
				w, timer := resting(t, 30*day)
				w.script = map[int]mode{n + 1: m}
				var next []events.Event
				for tries := 0; ; tries++ {
					o := w.deliver(t.Context(), timer)
					if next = o.follow; o.err == nil {
						break
					}
					if tries == 5 || o.dead {
						t.Fatalf("it does not end: %+v", o)
					}
				}
				tokens := w.grants.get().Tokens
				if len(next) != 1 || tokens == nil || !tokens.SavedAt.Equal(w.now) || w.microsoft.refreshes > 2 || w.status().State != mailbox.StateRegistered {
					t.Errorf("%d refreshes, %+v, %+v, next %+v", w.microsoft.refreshes, tokens, w.status(), next)
				}
				w.check(t)
			})
		}
	}
}

// TestMonthsOfKeepAliveUnderRandomNews lets months pass over a mailbox while its owner, Microsoft and operators do what
// they like, events come twice, and steps fail.
func TestMonthsOfKeepAliveUnderRandomNews(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		w.policy = mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: 25 * day}
		if !w.run(t.Context(), codeOf(0)) {
			r.Fatal("it does not end")
		}
		var timer *events.Event // the stream keeps one
		for range rapid.IntRange(1, 60).Draw(r, "weeks") {
			w.now = w.now.Add(7 * day)
			w.someNews(t.Context(), r)
			if e, due, err := w.timers().Timer(t.Context(), mb); err == nil && due && timer == nil {
				timer = &e // the walk
			}
			if timer == nil || timer.NotBefore.After(w.now) {
				continue
			}
			for range rapid.IntRange(1, 2).Draw(r, "copies") {
				timer = w.fire(t.Context(), r, *timer)
				if timer == nil {
					break
				}
			}
		}
		tokens := w.grants.get().Tokens
		keeps := w.policy.On() && tokens != nil && w.invitations.get().ErasedAt.IsZero()
		if keeps && w.now.Sub(later(tokens.SavedAt, w.switched)) > 28*day+14*day { // looked at once a week, and the walk comes before the timer
			r.Errorf("idle for %v: %+v", w.now.Sub(tokens.SavedAt), w.grants.get())
		}
		if !keeps && timer != nil && !timer.NotBefore.After(w.now) {
			r.Errorf("a timer without an end: %+v", timer)
		}
		for _, b := range w.breaches {
			r.Error(b)
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// someNews is what else may happen to the mailbox in a week.
func (w *world) someNews(ctx context.Context, r *rapid.T) {
	w.microsoft.dead = nil
	switch rapid.SampledFrom([]string{"", "", "", "", "used", "revoked", "consent", "erased", "switched"}).Draw(r, "news") {
	case "used":
		w.grants.put(w.grants.get().Rotate(w.microsoft.tokens(), w.now))
	case "revoked":
		w.microsoft.dead = revokedByMicrosoft()
	case "consent":
		w.run(ctx, codeOf(int(w.now.Sub(at)/time.Minute)))
	case "erased":
		if rapid.IntRange(0, 9).Draw(r, "really") == 0 {
			inv := w.invitations.get()
			inv.ErasedAt = w.now
			w.invitations.put(inv)
		}
	case "switched":
		w.switched = w.now
		w.policy.Mode = rapid.SampledFrom([]mailbox.RefreshMode{mailbox.RefreshOff, mailbox.RefreshKeepAlive}).Draw(r, "mode")
	}
}

// fire delivers a timer until it is handled, and returns the one that follows.
func (w *world) fire(ctx context.Context, r *rapid.T, timer events.Event) *events.Event {
	if rapid.IntRange(0, 3).Draw(r, "fails") == 0 {
		w.script = map[int]mode{len(w.steps) + rapid.IntRange(1, 6).Draw(r, "step"): rapid.SampledFrom(failures()).Draw(r, "how")}
	}
	defer func() { w.script = nil }()
	for range 10 {
		before := w.grants.get()
		refreshes := w.microsoft.refreshes
		o := w.deliver(ctx, timer)
		if w.microsoft.refreshes > refreshes && w.now.Sub(before.Tokens.SavedAt) < 20*day {
			r.Errorf("refreshed after %v", w.now.Sub(before.Tokens.SavedAt))
		}
		switch {
		case o.err != nil:
			continue
		case len(o.follow) == 0:
			return nil
		case len(o.follow) > 1 || o.follow[0].NotBefore.Before(w.now):
			r.Errorf("followed by %+v", o.follow)
		}
		return &o.follow[0]
	}
	r.Error("the timer is never handled")
	return nil
}
