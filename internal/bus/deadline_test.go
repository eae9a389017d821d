package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// The code lane under bursts that exceed its capacity.
//
// What runs is the real thing in a synctest bubble: NATS server, bus, Router, policy, records and RedeemCode. Only
// Microsoft and the clock are modelled: an endpoint that answers a redeem after a drawn time, refuses a code whose life
// is over when the answer would come, and answers a share of the calls with 429; the proof of identity takes no time.
// The capacity is the lane's window divided by the time of a redeem.
//
// The minimum is what nobody can beat who knows the arrivals and service times: fewestDeaths.

// overload is one arrival curve with its capacity.
type overload struct {
	arrivals []time.Duration // since the beginning, ascending
	window   int
	took     func(r *rand.Rand) time.Duration
	throttle float64       // share of calls that are answered with 429
	early    time.Duration // codes die so much earlier than their deadline says
}

// fewestDeaths is the least number of codes that must die: earliest deadline first on the given number of servers,
// dropping what cannot finish in time. Every code lives equally long, so the earliest deadline is the earliest arrival.
// For service times that do not depend on the code this is optimal: in any schedule, the code that a free server takes
// can be exchanged for the waiting one with the earliest deadline that still finishes, without losing another; and
// leaving a server idle beside a code that can finish gains nothing. The kth call takes the kth drawn time, known in
// advance; no call is throttled.
func fewestDeaths(o overload, times []time.Duration) (deaths int) {
	free := make([]time.Duration, o.window) // when each server is free
	call := 0
	for _, arrived := range o.arrivals {
		first := slices.Index(free, slices.Min(free))
		start := max(free[first], arrived)
		if start+times[call] > arrived+mailbox.CodeLife-o.early {
			deaths++
			continue
		}
		free[first] = start + times[call]
		call++
	}
	return deaths
}

// burst spreads n arrivals evenly over d.
func burst(n int, d time.Duration) []time.Duration {
	arrivals := make([]time.Duration, n)
	for i := range arrivals {
		arrivals[i] = time.Duration(i) * d / time.Duration(n)
	}
	return arrivals
}

// onOff repeats a burst.
func onOff(times, n int, on, off time.Duration) (arrivals []time.Duration) {
	for i := range times {
		for _, a := range burst(n, on) {
			arrivals = append(arrivals, time.Duration(i)*(on+off)+a)
		}
	}
	return arrivals
}

func always(d time.Duration) func(*rand.Rand) time.Duration {
	return func(*rand.Rand) time.Duration { return d }
}

// jittered is d in the mean, and from a half to five and a half of it.
func jittered(d time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration {
		return d/2 + time.Duration(min(5, r.ExpFloat64()/2)*float64(d))
	}
}

func TestUnderOverloadNoMoreCodesDieThanMust(t *testing.T) { //nolint:paralleltest // a bubble runs beside others by itself
	for name, o := range map[string]overload{ //nolint:paralleltest // as above
		"10,000 in 5 minutes, capacity for 6,000": {arrivals: burst(10_000/scale, 5*time.Minute), window: 8, took: always(scale * 1200 * time.Millisecond)},
		"a spike":                         {arrivals: burst(1000, time.Second), window: 2, took: always(3 * time.Second)},
		"on and off":                      {arrivals: onOff(3, 500, time.Minute, 14*time.Minute), window: 4, took: always(9 * time.Second)},
		"jitter and 429":                  {arrivals: burst(1500, 5*time.Minute), window: 8, took: jittered(8 * time.Second), throttle: 0.02},
		"codes die 20 s early":            {arrivals: burst(1000, 5*time.Minute), window: 2, took: always(3 * time.Second), early: 20 * time.Second},
		"enough capacity, jitter and 429": {arrivals: burst(500, 5*time.Minute), window: 32, took: jittered(time.Second), throttle: 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				m := &deadlineModel{overload: o, draw: rand.New(rand.NewPCG(1, 2))}
				deaths := m.run(t)
				least := fewestDeaths(o, m.draws(len(o.arrivals)))
				t.Logf("%d of %d codes died, %d must; %d calls", deaths, len(o.arrivals), least, m.calls)
				if limit := least*11/10 + 5; deaths > limit {
					t.Errorf("%d of %d codes died, at least %d must: more than %d", deaths, len(o.arrivals), least, limit)
				}
				if deaths+deaths/10+5 < least {
					t.Errorf("far fewer died than must: the model is wrong")
				}
			})
		})
	}
}

// deadlineModel is Microsoft, and the books about what became of the codes.
type deadlineModel struct {
	overload

	mu    sync.Mutex
	draw  *rand.Rand
	times []time.Duration
	calls int
	dies  map[string]time.Time // by code
}

// next returns the time of the next call.
func (m *deadlineModel) next() (took time.Duration, throttled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	took = m.took(m.draw)
	m.times = append(m.times, took)
	return took, m.draw.Float64() < m.throttle
}

// draws are the times of the calls, and enough of them for any schedule.
func (m *deadlineModel) draws(n int) []time.Duration {
	for len(m.times) <= n {
		m.times = append(m.times, m.took(m.draw))
	}
	return m.times
}

func (m *deadlineModel) Redeem(ctx context.Context, _ string, c mailbox.Consent) (mailbox.Tokens, error) {
	took, throttled := m.next()
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return mailbox.Tokens{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case throttled:
		return mailbox.Tokens{}, &fault.Fault{Class: fault.RetryAfter, Code: "microsoft_429", After: 5 * time.Second}
	case time.Now().After(m.dies[c.Code.Reveal()]):
		return mailbox.Tokens{}, &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS70008", Reason: mailbox.CodeExpired}
	}
	return mailbox.Tokens{Access: secret.New("a"), Refresh: secret.New("r"), Expiry: time.Now().Add(time.Hour)}, nil
}

func (*deadlineModel) Refresh(context.Context, string, mailbox.Tokens) (mailbox.Tokens, error) {
	return mailbox.Tokens{}, errors.New("nothing is refreshed here")
}

func (*deadlineModel) Prove(context.Context, string, mailbox.Tokens, string) (events.Proof, error) {
	return events.Proof{TenantID: "tid", ObjectID: "oid"}, nil
}

// run plays the arrivals and returns how many codes were not redeemed.
func (m *deadlineModel) run(t *testing.T) int {
	t.Helper()
	b := bustest.New(t)
	m.dies = make(map[string]time.Time)
	invitations, grants := b.Invitations(maskBox{}), b.Grants(maskBox{})
	codes := make([]events.Event, len(m.arrivals))
	for i := range codes {
		id := fmt.Sprintf("mb%022d", i)
		_, err := invitations.Save(t.Context(), id, mailbox.Invitation{ID: id, App: "main", Account: "main", Campaign: "campus", Address: id + "@example.com"}, 0)
		if err != nil {
			t.Fatal(err)
		}
	}
	serve(t, b, bus.ServeConfig{}, bus.Lane{
		Lane: events.Code, Leg: "main", Window: m.window, Policy: bus.Policy{Attempts: 1 << 20, Base: time.Second, Cap: 6 * time.Second, Crashes: 5, Nak: true},
		Handler: handlers.RedeemCode{
			Invitations: invitations, Grants: grants, Codes: maskBox{}, Microsoft: m, Times: handlers.NewRedeemTimes(), Owner: "w1", Now: time.Now,
		},
	})
	began := time.Now()
	for i, arrival := range m.arrivals {
		time.Sleep(time.Until(began.Add(arrival)))
		if err := b.Publish(t.Context(), m.arrive(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		n, err := bus.Waiting(t.Context(), b, "CODE")
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return m.died(t, grants)
		}
		if time.Since(began) > time.Hour {
			t.Fatalf("%d codes are still waiting", n)
		}
		time.Sleep(time.Second)
	}
}

// died counts the codes of which no tokens are saved; each of them must be concluded with a reason.
func (m *deadlineModel) died(t *testing.T, grants bus.Records[mailbox.Grant]) (n int) {
	t.Helper()
	for id := range m.dies {
		g, _, err := grants.Load(t.Context(), id)
		switch {
		case err != nil:
			t.Fatal(err)
		case g.Tokens != nil:
			continue
		case g.Phase != mailbox.GrantNeedsConsent || g.Reason == "":
			t.Errorf("%s ended in silence: %+v", id, g)
		}
		n++
	}
	return n
}

func (m *deadlineModel) arrive(t *testing.T, i int) events.Event {
	t.Helper()
	e := event(events.CodeReceived, fmt.Sprintf("mb%022d", i))
	plain, err := mailbox.Consent{Code: secret.New(e.Mailbox), Tenant: "organizations"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e.ID = events.New(e.Kind, mailbox.CodeSeed(e.Mailbox, e.Attempt, mailbox.Hash(e.Mailbox)), e.At).ID
	e.Deadline = e.At.Add(mailbox.CodeLife)
	if e.Sealed, err = (maskBox{}).Seal(plain, mailbox.SealedCodeContext(e.Mailbox, e.Attempt)); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	m.dies[e.Mailbox] = e.Deadline.Add(-m.early)
	m.mu.Unlock()
	return e
}
