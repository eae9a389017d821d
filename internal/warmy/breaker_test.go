package warmy_test

import (
	"context"
	"net/http"
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

// TestAProbeThatHangsEndsBeforeTheNextOneIsDue has a slow pace: what a probe waits for its turn says nothing about Warmy.
func TestAProbeThatHangsEndsBeforeTheNextOneIsDue(t *testing.T) {
	t.Parallel()
	for name, account := range map[string]warmy.Account{"bearer": bearer("http://warmy.example"), "session": session("http://warmy.example")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pace := &slowPace{every: 16 * time.Second}
				w := &hanging{}
				c := warmy.New(warmy.Config{Accounts: []warmy.Account{account}, Transport: w, Pace: pace, Timeout: 15 * time.Second})
				began := time.Now()
				_, err := warmy.NewBreaker(c, 0).Create(leg.Probe(t.Context()), "main", mailboxOf())
				wants(t, err, fault.LegDown, "breaker_open")
				if took, want := time.Since(began), pace.every+warmy.ProbeEvery; took != want || w.calls != 1 {
					t.Errorf("%d probes took %v, want %v", w.calls, took, want)
				}
			})
		})
	}
}

// hanging is a Warmy that takes connections and never answers.
type hanging struct{ calls int }

func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	h.calls++
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// slowPace gives a turn every so often, and remembers who asked.
type slowPace struct {
	every time.Duration
	turns []time.Time
	begun int // of the turns, those of calls that had begun something
}

func (p *slowPace) Wait(ctx context.Context, _ string) error {
	select {
	case <-time.After(p.every):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.turns = append(p.turns, time.Now())
	if leg.IsBegun(ctx) {
		p.begun++
	}
	return nil
}
