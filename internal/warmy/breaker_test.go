package warmy_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/warmy"
)

// upstream answers what a test sets, and counts.
type upstream struct {
	err                    error
	creates, finds, probes int
}

func (u *upstream) Create(context.Context, string, handlers.NewMailbox) (string, error) {
	u.creates++
	return "1", u.err
}

func (u *upstream) Find(context.Context, string, string) (id string, found bool, err error) {
	u.finds++
	return "", false, u.err
}

func (u *upstream) Get(context.Context, string, string) (warmy.Detail, error) {
	u.finds++
	return warmy.Detail{ID: "1"}, u.err
}

func (u *upstream) Activate(context.Context, string, string) error {
	u.finds++
	return u.err
}

func (u *upstream) Plans(context.Context, string) ([]warmy.Plan, error) {
	u.finds++
	return nil, u.err
}

func (u *upstream) Ping(context.Context, string) error {
	u.probes++
	return u.err
}

func failing(class fault.Class, code string, outage bool) error {
	return &fault.Fault{Class: class, Code: code, Outage: outage, Cause: "c", Remedy: "r", Forecast: fault.ByTime}
}

func TestOnlyFailuresOfWarmyItselfOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		class fault.Class
		calls int
	}{
		"warmy_5xx": {fault.Unclear, 5}, "warmy_timeout": {fault.Unclear, 5}, "warmy_unreachable": {fault.Transient, 5}, "warmy_connection_lost": {fault.Unclear, 5},
		"warmy_429": {fault.RetryAfter, 20}, "warmy_401": {fault.LegDown, 20}, "warmy_422": {fault.Permanent, 20},
		"warmy_400_credentials": {fault.Permanent, 20}, "warmy_interrupted": {fault.Unclear, 20}, "warmy_taken": {fault.Unclear, 20},
	} {
		u := &upstream{err: failing(want.class, code, want.calls < 20)}
		b := warmy.NewBreaker(u, warmy.BreakerConfig{})
		var last error
		for range 20 {
			_, last = b.Create(t.Context(), "main", mailboxOf())
		}
		if u.creates != want.calls {
			t.Errorf("%s: %d calls of 20 got through, want %d", code, u.creates, want.calls)
		}
		if want.calls < 20 {
			wants(t, last, fault.LegDown, "breaker_open")
		}
	}
}

func TestAGetAndNoPostFindsOutWhetherWarmyIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{err: failing(fault.Unclear, "warmy_5xx", true)}
		b := warmy.NewBreaker(u, warmy.BreakerConfig{OpenFor: 30 * time.Second})
		for range 5 {
			_, _, err := b.Find(t.Context(), "main", address)
			wants(t, err, fault.Unclear, "warmy_5xx")
		}
		advance(t, 31*time.Second)
		_, err := b.Create(t.Context(), "main", mailboxOf())
		wants(t, err, fault.LegDown, "breaker_open")
		if u.probes != 1 || u.creates != 0 {
			t.Errorf("%d probes, %d posts while Warmy is down", u.probes, u.creates)
		}
		advance(t, 31*time.Second)
		u.err = nil
		if id, err := b.Create(t.Context(), "main", mailboxOf()); err != nil || id != "1" || u.probes != 2 {
			t.Errorf("Create() = %q, %v after %d probes", id, err, u.probes)
		}
		u.err = failing(fault.Unclear, "warmy_5xx", true)
		if _, err := b.Create(t.Context(), "other", mailboxOf()); fault.Of(err).Code != "warmy_5xx" {
			t.Errorf("another account: %v", err)
		}
	})
}

func TestCallsAboutOneMailboxAreGuardedToo(t *testing.T) {
	t.Parallel()
	u := &upstream{err: failing(fault.Transient, "warmy_5xx", true)}
	b := warmy.NewBreaker(u, warmy.BreakerConfig{})
	for range 5 {
		_, err := b.Get(t.Context(), "main", "1")
		wants(t, err, fault.Transient, "warmy_5xx")
	}
	wants(t, b.Activate(t.Context(), "main", "1"), fault.LegDown, "breaker_open")
	if d, err := b.Get(t.Context(), "other", "1"); u.finds != 6 || d.ID != "1" || fault.Of(err).Code != "warmy_5xx" {
		t.Errorf("%d calls, %+v, %v", u.finds, d, err)
	}
}

// advance lets d pass in a synctest bubble.
func advance(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
