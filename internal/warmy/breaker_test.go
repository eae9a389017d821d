package warmy_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
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

func (u *upstream) List(context.Context, string, string, int) (warmy.Page, error) {
	u.finds++
	return warmy.Page{}, u.err
}

func (u *upstream) Ping(context.Context, string) error {
	u.probes++
	return u.err
}

func failing(class fault.Class, code string, outage bool) error {
	return &fault.Fault{Class: class, Code: code, Outage: outage, Cause: "c", Remedy: "r", Forecast: fault.ByTime}
}

func TestAGetAndNoPostFindsOutWhetherWarmyIsBack(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		class fault.Class
		as    string
		held  fault.Class
	}{
		"warmy_5xx": {fault.Unclear, "breaker_open", fault.LegDown}, "warmy_unreachable": {fault.Transient, "breaker_open", fault.LegDown},
		"warmy_401": {fault.LegDown, "warmy_401", fault.LegDown}, "warmy_429": {fault.RetryAfter, "warmy_429", fault.RetryAfter},
	} {
		u := &upstream{err: failing(want.class, code, want.as == "breaker_open")}
		b := warmy.NewBreaker(u, 0)
		_, err := b.Create(leg.Probe(t.Context()), "main", mailboxOf())
		wants(t, err, want.held, want.as)
		_, _, err = b.Find(leg.Probe(t.Context()), "main", address)
		wants(t, err, want.held, want.as)
		if u.probes != 2 || u.creates != 0 || u.finds != 0 {
			t.Errorf("%s: %d probes, %d posts, %d listings while Warmy is down", code, u.probes, u.creates, u.finds)
		}
	}
	u := &upstream{}
	b := warmy.NewBreaker(u, 0)
	if id, err := b.Create(leg.Probe(t.Context()), "main", mailboxOf()); err != nil || id != "1" || u.probes != 1 {
		t.Errorf("Create() = %q, %v after %d probes", id, err, u.probes)
	}
	if _, err := b.Create(t.Context(), "main", mailboxOf()); err != nil || u.probes != 1 || u.creates != 2 {
		t.Errorf("%v after %d probes and %d posts, though nothing was held", err, u.probes, u.creates)
	}
}

func TestAProbeThatHangsEndsBeforeTheNextOneIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := warmy.NewBreaker(&hanging{}, 0).Create(leg.Probe(t.Context()), "main", mailboxOf())
		wants(t, err, fault.LegDown, "breaker_open")
		if took := time.Since(began); took > warmy.ProbeEvery {
			t.Errorf("the probe took %v", took)
		}
	})
}

// hanging is a Warmy that takes connections and never answers.
type hanging struct{ upstream }

func (hanging) Ping(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hanging) Create(context.Context, string, handlers.NewMailbox) (string, error) {
	panic("a POST was the probe")
}

func (hanging) Find(context.Context, string, string) (string, bool, error) { panic("not asked") }
