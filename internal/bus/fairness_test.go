package bus_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// These tests run the real server in a bubble: waits are of its time, and exact. What they show is that no share of a
// lane waits for another's window; what the processors add under load is the bench's to measure.

// of returns the nth event of an app, whose account has the same name.
func of(kind events.Kind, app string, n int) events.Event {
	e := event(kind, fmt.Sprintf("%s%06d", app, n))
	e.App, e.Account = app, app
	return e
}

// publish stores n events of an app at once.
func publish(t *testing.T, b *bus.Bus, kind events.Kind, app string, n int) {
	t.Helper()
	all := make([]events.Event, n)
	for i := range all {
		all[i] = of(kind, app, i)
	}
	for batch := range slices.Chunk(all, 500) {
		if err := b.Publish(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
}

// slowWorker takes a while for each event, and writes down how long each one had waited.
type slowWorker struct {
	took   time.Duration
	mu     sync.Mutex
	waited map[string]map[string]time.Duration // by app and mailbox
}

func (w *slowWorker) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	w.mu.Lock()
	if w.waited == nil {
		w.waited = make(map[string]map[string]time.Duration)
	}
	if w.waited[e.App] == nil {
		w.waited[e.App] = make(map[string]time.Duration)
	}
	w.waited[e.App][e.Mailbox] = time.Since(e.At)
	w.mu.Unlock()
	select {
	case <-time.After(w.took):
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (*slowWorker) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

// handled counts the events of an app that were begun.
func (w *slowWorker) handled(app string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waited[app])
}

// p95 is the wait that 95 % of an app's events did not exceed.
func (w *slowWorker) p95(app string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Sorted(maps.Values(w.waited[app]))
	return all[len(all)*95/100]
}

func TestASmallTenantDoesNotWaitForABigOne(t *testing.T) { //nolint:paralleltest // a bubble runs beside others by itself
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		alone, together := smallsP95(t, 0), smallsP95(t, 18_000/scale)
		t.Logf("p95 %v alone, %v together", alone, together)
		if alone == 0 || together > 2*alone {
			t.Errorf("the small tenant's p95 grew from %v to %v", alone, together)
		}
	})
}

// smallsP95 is small's p95 beside so many events of the big tenant; its own come as fast as its window can handle them.
func smallsP95(t *testing.T, bigs int) time.Duration {
	t.Helper()
	const few = 2000 / scale
	b := bustest.New(t)
	h := &slowWorker{took: 200 * time.Millisecond}
	publish(t, b, events.RegistrationRequested, "big", bigs)
	serve(t, b, bus.ServeConfig{},
		bus.Lane{Lane: events.Register, Leg: "big", Window: 16, Policy: quick, Handler: h},
		bus.Lane{Lane: events.Register, Leg: "small", Window: 16, Policy: quick, Handler: h})
	for i := range few / 20 {
		for n := range 20 { // bursts that exceed the window, so that there is a wait of its own
			if err := b.Publish(t.Context(), of(events.RegistrationRequested, "small", 20*i+n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	eventually(t, "everything of small is handled", func() bool { return h.handled("small") == few })
	if done := h.handled("big"); bigs > 0 && (done == 0 || done == bigs) {
		t.Errorf("%d of %d of the big tenant's events were handled meanwhile: there was no contest", done, bigs)
	}
	return h.p95("small")
}

func TestAHeldLegStandsInNobodysWay(t *testing.T) { //nolint:paralleltest // as above
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		const others, each, backlog = 45/scale + 4, 10, 4500 / scale // each other has 17 consumers
		b := bustest.New(t)
		var down, burnt atomic.Int32
		down.Store(1)
		done := &slowWorker{took: 50 * time.Millisecond}
		h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
			leg.Asked(ctx, false)
			if e.App == "held" && down.Load() == 1 {
				return nil, &fault.Fault{Class: fault.LegDown, Code: "AADSTS7000222", After: 5 * time.Minute}
			}
			if e.Failed > 0 || len(e.Tries) > 0 {
				burnt.Add(1)
			}
			return done.Handle(ctx, e)
		}}
		publish(t, b, events.RegistrationRequested, "held", backlog)
		lanes := []bus.Lane{{Lane: events.Register, Leg: "held", Window: 8, Policy: quick, Handler: h}}
		for i := range others {
			app := fmt.Sprintf("app%02d", i)
			publish(t, b, events.RegistrationRequested, app, each)
			lanes = append(lanes, bus.Lane{Lane: events.Register, Leg: app, Window: 8, Policy: quick, Handler: h})
		}
		serve(t, b, bus.ServeConfig{}, lanes...)
		eventually(t, "all others are handled", func() bool {
			for i := range others {
				if done.handled(fmt.Sprintf("app%02d", i)) < each {
					return false
				}
			}
			return true
		})
		before := delivered(t, b, "held")
		time.Sleep(4 * time.Minute) // longer than one pause on the server
		if after := delivered(t, b, "held"); after != before {
			t.Errorf("%d deliveries while the leg was held", after-before)
		}
		if before > 32 { // the window of the fleet
			t.Errorf("%d deliveries before the pause", before)
		}
		if n := done.handled("held"); n != 0 {
			t.Errorf("%d events of the held leg were handled", n)
		}
		down.Store(0)
		time.Sleep(2 * time.Minute)
		if n := done.handled("held"); n != backlog {
			t.Errorf("%d of %d events were handled after the release", n, backlog)
		}
		if burnt.Load() > 0 || len(deadLetters(t, b)) > 0 {
			t.Errorf("%d events lost an attempt", burnt.Load())
		}
	})
}

func delivered(t *testing.T, b *bus.Bus, account string) uint64 {
	t.Helper()
	n, err := bus.Delivered(t.Context(), b, "REGISTER", "register-"+account)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRefreshesNeverDelayCodes(t *testing.T) { //nolint:paralleltest // as above
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		const waiting = 10_000 / scale
		b := bustest.New(t)
		refresh, code := &slowWorker{took: 14 * time.Second}, &slowWorker{took: 150 * time.Millisecond}
		publish(t, b, events.RefreshRequested, "main", waiting)
		serve(t, b, bus.ServeConfig{},
			bus.Lane{Lane: events.Code, Leg: "main", Window: 128, Policy: quick, Handler: code},
			bus.Lane{Lane: events.Refresh, Leg: "main", Window: 32, Policy: quick, Handler: refresh})
		eventually(t, "the window is full of refreshes", func() bool { return refresh.handled("main") >= 32 })
		for i := range 300 {
			if err := b.Publish(t.Context(), of(events.CodeReceived, "main", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		eventually(t, "every code is handled", func() bool { return code.handled("main") == 300 })
		if slowest := slices.Max(slices.Collect(maps.Values(code.waited["main"]))); slowest > 0 {
			t.Errorf("a code waited %v", slowest)
		}
		if n := refresh.handled("main"); n >= waiting {
			t.Errorf("all %d refreshes were handled: there was no contest", n)
		}
	})
}
