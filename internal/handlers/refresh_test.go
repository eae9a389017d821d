package handlers_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// aged is a world whose tokens have d left to live, and the event that asks for their refresh.
func aged(t *testing.T, left time.Duration) (*world, events.Event) {
	t.Helper()
	w, register := granted(t)
	w.now = w.grants.get().Tokens.Expiry.Add(-left)
	return w, register.Follow(events.RefreshRequested, w.now)
}

func TestTokensThatLiveTooShortAreRotatedBeforeAnyoneUsesThem(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	before := w.grants.get().Tokens
	o := w.deliver(t.Context(), e)
	after := w.grants.get().Tokens
	if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationRequested || o.follow[0].Proof == nil {
		t.Fatalf("%+v", o)
	}
	if after.Rotation != 1 || after.Access.Equal(before.Access) || len(after.Scope) != 1 || after.Nonce.Empty() || !after.Fresh(w.now, margin) {
		t.Errorf("rotated to %+v", after)
	}
}

func TestFreshTokensAreNotRefreshedAgain(t *testing.T) {
	t.Parallel()
	w, e := aged(t, 11*time.Minute)
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 1 || w.microsoft.refreshes != 0 {
		t.Errorf("%+v after %d refreshes", o, w.microsoft.refreshes)
	}
}

func TestARevokedGrantNeedsItsOwner(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50173", Reason: mailbox.Revoked, Forecast: fault.ByPerson}
	o := w.deliver(t.Context(), e)
	if got := w.status(); o.err != nil || len(o.follow) != 0 || got.State != mailbox.StateNeedsConsent || got.Reason != mailbox.Revoked {
		t.Errorf("%+v, %+v", o, got)
	}
	for _, late := range []events.Event{e, codeOf(0).Replayed(7, at), codeOf(0).Follow(events.RegistrationRequested, at)} {
		if o := w.deliver(t.Context(), late); o.err != nil || len(o.follow) != 0 {
			t.Errorf("%s afterwards: %+v", late.Kind, o)
		}
	}
	w.check(t)
}

// A policy is not a death: what Microsoft withholds until somebody acts is kept, and good again afterwards.
func TestWithheldTokensAreKeptAndRecover(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{mailbox.AdminRequired, mailbox.SignInFailed, mailbox.Declined, ""} {
		w, e := aged(t, time.Minute)
		w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS53003", Reason: reason, Forecast: fault.ByPerson}
		o := w.deliver(t.Context(), e)
		if got := w.status(); o.err != nil || got.State != mailbox.StateNeedsConsent || got.Reason != reason || got.Finding == nil {
			t.Fatalf("%q: %+v, %+v", reason, o, got)
		}
		if w.grants.get().Tokens == nil {
			t.Fatalf("%q: the tokens were destroyed", reason)
		}
		if len(o.follow) != 1 || o.follow[0].Kind != events.RefreshRequested || !o.follow[0].NotBefore.Equal(w.now.Add(mailbox.AskAgain)) {
			t.Fatalf("%q: nobody asks again: %+v", reason, o.follow)
		}
		since := w.status().Since
		w.now = o.follow[0].NotBefore
		again := w.deliver(t.Context(), o.follow[0])
		if again.err != nil || len(again.follow) != 1 || again.follow[0].ID == o.follow[0].ID || !w.status().Since.Equal(since) {
			t.Fatalf("%q: the second time: %+v, %+v", reason, again, w.status())
		}
		w.now, w.microsoft.dead = again.follow[0].NotBefore, nil
		if !w.run(t.Context(), again.follow...) || w.status().State != mailbox.StateRegistered {
			t.Errorf("%q: after the policy changed: %+v", reason, w.status())
		}
		w.check(t)
	}
}

func TestWithheldTokensThatDieAfterAllAreDestroyed(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50076", Reason: mailbox.SignInFailed, Forecast: fault.ByPerson}
	next := w.deliver(t.Context(), e).follow[0]
	w.now = next.NotBefore
	w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS700082", Reason: mailbox.Revoked, Forecast: fault.ByPerson}
	o := w.deliver(t.Context(), next)
	if got := w.status(); o.err != nil || len(o.follow) != 0 || w.grants.get().Tokens != nil || got.Reason != mailbox.Revoked {
		t.Errorf("%+v, %+v", o, got)
	}
}

func TestANewConsentReplacesWithheldTokens(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50076", Reason: mailbox.SignInFailed, Forecast: fault.ByPerson}
	late := w.deliver(t.Context(), e).follow[0]
	code := codeOf(1)
	code.At, code.Deadline = w.now, w.now.Add(mailbox.CodeLife)
	if !w.run(t.Context(), code) || w.status().State != mailbox.StateRegistered {
		t.Fatalf("%+v", w.status())
	}
	if o := w.deliver(t.Context(), late); o.err != nil || len(o.follow) != 0 || w.microsoft.refreshes != 1 {
		t.Errorf("the old request: %+v after %d refreshes", o, w.microsoft.refreshes)
	}
}

func TestAGrantThatSomebodyRenewedIsNotCalledRevoked(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	w.microsoft.dead = &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS700082", Reason: mailbox.Revoked, Forecast: fault.ByPerson}
	theirs := w.microsoft.tokens()
	w.grants.onSave = func(mailbox.Grant) { w.grants.put(w.grants.get().Rotate(theirs, w.now)) }
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 1 || w.microsoft.refreshes != 1 || !w.grants.get().Tokens.Access.Equal(theirs.Access) {
		t.Errorf("%+v after %d refreshes: %+v", o, w.microsoft.refreshes, w.grants.get())
	}
}

func TestTheLaterOfTwoRefreshesUsesTheEarliersTokens(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	theirs := w.microsoft.tokens()
	w.grants.onSave = func(mailbox.Grant) { w.grants.put(w.grants.get().Rotate(theirs, w.now)) }
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 1 {
		t.Fatalf("%+v", o)
	}
	if got := w.grants.get().Tokens; !got.Access.Equal(theirs.Access) || got.Rotation != 1 || w.outcomes[handlers.RefreshOvertaken] != 1 {
		t.Errorf("stored: %+v, counted: %v", got, w.outcomes)
	}
}

func TestARefreshThatANewConsentOvertookDoesNothingMore(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	w.grants.onSave = func(mailbox.Grant) {
		claimed, _ := w.grants.get().Claim(codeOf(100), "another", codeOf(100).At, 0)
		w.grants.put(claimed.Save(w.microsoft.tokens(), w.now))
	}
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 || w.grants.get().Tokens.Attempt != "att100" {
		t.Errorf("%+v, %+v", o, w.grants.get())
	}
}

func TestARefreshForTokensThatAreGoneDoesNothing(t *testing.T) {
	t.Parallel()
	w, e := aged(t, time.Minute)
	e.Attempt = "att99"
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 || w.microsoft.refreshes != 0 {
		t.Errorf("%+v", o)
	}
}

func TestAFailedRefreshIsTheBussToRepeatOrBury(t *testing.T) {
	t.Parallel()
	for class, dead := range map[fault.Class]bool{fault.Transient: false, fault.RetryAfter: false, fault.LegDown: false, fault.Permanent: true} {
		w, e := aged(t, time.Minute)
		w.microsoft.dead = classed(class, "x")
		o := w.deliver(t.Context(), e)
		if got := w.status(); o.dead != dead || (got.State == mailbox.StateDead) != dead || w.grants.get().Tokens == nil {
			t.Errorf("%s: %+v, %+v", class, o, got)
		}
		if !dead {
			continue
		}
		w.microsoft.dead = nil
		if o = w.deliver(t.Context(), e.Replayed(7, at)); o.err != nil || w.status().State != mailbox.StateGranted {
			t.Errorf("the replay: %+v, %+v", o, w.status())
		}
	}
}

func TestADeadRefreshWhoseTokensSomebodyRenewedLivesAgain(t *testing.T) {
	t.Parallel()
	w, e := aged(t, 11*time.Minute)
	w.grants.put(w.grants.get().Bury(e, passing("x"), w.now))
	if w.status().State != mailbox.StateDead {
		t.Fatalf("%+v", w.status())
	}
	if o := w.deliver(t.Context(), e.Replayed(7, at)); o.err != nil || len(o.follow) != 1 || w.status().State != mailbox.StateGranted {
		t.Errorf("%+v, %+v", o, w.status())
	}
}
