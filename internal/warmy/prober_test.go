package warmy_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/warmy"
)

func failing(class fault.Class, code string, outage bool) error {
	return &fault.Fault{Class: class, Code: code, Outage: outage, Cause: "c", Remedy: "r", Forecast: fault.ByTime}
}

func TestAGetAndNoPostFindsOutWhetherWarmyIsBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
	}{
		"503": {say(503, ""), fault.LegDown, "breaker_open"}, "EOF": {cut(""), fault.LegDown, "breaker_open"},
		"401": {say(401, ""), fault.LegDown, "warmy_401"}, "429": {say(429, ""), fault.RetryAfter, "warmy_429"},
	} {
		f := newFake(t, want.answer)
		p := warmy.NewProber(client(t, f), 0)
		_, err := p.Create(leg.Probe(t.Context()), "main", mailboxOf())
		wants(t, err, want.class, want.code)
		_, _, err = p.Find(leg.Probe(t.Context()), "main", address)
		wants(t, err, want.class, want.code)
		_, err = p.List(leg.Probe(t.Context()), "main", "", 1)
		wants(t, err, want.class, want.code)
		wants(t, p.Activate(leg.Probe(t.Context()), "main", "7"), want.class, want.code)
		if got := paths(f); got != strings.Repeat("GET plans ", 4) {
			t.Errorf("%s: while Warmy is down: %s", name, got)
		}
	}
}

func TestWhatProbedWellIsMadeAndWhatIsNoProbeAtOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			say(200, "[]")(w, r)
			return
		}
		say(201, `{"id":1}`)(w, r)
	})
	p := warmy.NewProber(client(t, f), 0)
	made := func(ctx context.Context, want string) {
		if id, err := p.Create(ctx, "main", mailboxOf()); err != nil || id != "1" || paths(f) != want {
			t.Errorf("Create() = %q, %v after %s", id, err, paths(f))
		}
	}
	made(leg.Probe(t.Context()), "GET plans POST mailboxes ")
	made(t.Context(), "GET plans POST mailboxes POST mailboxes ")
}

// paths tells in which order f was called.
func paths(f *fake) string {
	var all strings.Builder
	for _, call := range f.got() {
		what := "mailboxes"
		if strings.HasSuffix(call.path, "/tariff_plan_types") {
			what = "plans"
		}
		fmt.Fprintf(&all, "%s %s ", call.method, what)
	}
	return all.String()
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
				_, err := warmy.NewProber(c, 0).Create(leg.Probe(t.Context()), "main", mailboxOf())
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

func (*slowPace) Throttled(context.Context, string, time.Time, time.Duration) error { return nil }
