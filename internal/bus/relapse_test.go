package bus_test

import (
	"context"
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

// halfDown is a Warmy that answers GETs and, while it is down, no POST.
type halfDown struct {
	down atomic.Bool

	mu     sync.Mutex
	failed []time.Time // POSTs
	done   atomic.Int32
}

// register posts as the register handler does: a probe asks with a GET first, and a POST that failed is concluded.
func (h *halfDown) register(ctx context.Context, p *bus.Pacer) error {
	if leg.IsProbe(ctx) {
		if err := p.Wait(ctx, "main"); err != nil {
			return err
		}
		leg.Asked(ctx, false)
	}
	if err := p.Wait(ctx, "main"); err != nil {
		return err
	}
	down := h.down.Load()
	leg.Asked(ctx, down)
	if !down {
		h.done.Add(1)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = append(h.failed, time.Now())
	return nil
}

// look asks with GETs alone, as the reconcile handler does.
func (*halfDown) look(ctx context.Context, p *bus.Pacer) error {
	if err := p.Wait(ctx, "main"); err != nil {
		return err
	}
	leg.Asked(ctx, false)
	return nil
}

// TestPOSTsThatFailWhileGETsAreAnsweredBecomeRare has each probe cost a POST, whose outcome nobody knows: at first every 4 s, then
// once a minute. Where mailboxes are settled by GETs beside it, these release the leg, and the first POST holds it again.
func TestPOSTsThatFailWhileGETsAreAnsweredBecomeRare(t *testing.T) { //nolint:paralleltest // bubbles
	for name, c := range map[string]struct { //nolint:paralleltest // bubbles
		settles bool
		most    int // POSTs that fail in ten minutes
	}{
		"registrations alone":     {false, 4 + 10},
		"and mailboxes to settle": {true, 2 * (4 + 10)},
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				s := bustest.Server(t)
				b := bustest.Connect(t, s)
				for i := range 1000 {
					evs := []events.Event{of(events.RegistrationRequested, "main", i)}
					if c.settles {
						evs = append(evs, of(events.RegistrationUnclear, "main", 1000+i))
					}
					if err := b.Publish(t.Context(), evs...); err != nil {
						t.Fatal(err)
					}
				}
				f := &fault.Fault{Class: fault.LegDown, Code: "breaker_open", Cause: "c"}
				if err := bus.HoldFor(t.Context(), b, "warmy/main", f, 4*time.Second); err != nil { // another process found it: these have seen nothing
					t.Fatal(err)
				}
				var warmy halfDown
				warmy.down.Store(true)
				for range 2 {
					b := bustest.Connect(t, s)
					pacer := b.Pacer(map[string]int{"main": 60})
					handler := func(call func(context.Context, *bus.Pacer) error) fakeHandler {
						return fakeHandler{buried: make(chan *fault.Fault, 9), handle: func(ctx context.Context, _ events.Event) ([]events.Event, error) {
							return nil, call(ctx, pacer)
						}}
					}
					lanes := []bus.Lane{{Lane: events.Register, Leg: "main", Window: 16, Policy: quick, Handler: handler(warmy.register), Outage: 4 * time.Second}}
					if c.settles {
						lanes = append(lanes, bus.Lane{Lane: events.Reconcile, Leg: "main", Window: 16, Policy: quick, Handler: handler(warmy.look), Outage: 4 * time.Second})
					}
					serve(t, b, bus.ServeConfig{}, lanes...)
				}
				time.Sleep(10 * time.Minute)
				warmy.mu.Lock()
				if n := len(warmy.failed); n > c.most || n < 5 {
					t.Errorf("%d POSTs in ten minutes of the outage", n)
				}
				for i, at := range warmy.failed[1:] {
					if apart := at.Sub(warmy.failed[i]); apart < 4*time.Second && !c.settles {
						t.Errorf("two POSTs %v apart", apart)
					}
				}
				warmy.mu.Unlock()
				warmy.down.Store(false)
				time.Sleep(70 * time.Second)
				before := warmy.done.Load()
				time.Sleep(time.Minute)
				if n := warmy.done.Load() - before; n < 20 {
					t.Errorf("%d POSTs in a minute after the outage", n)
				}
			})
		})
	}
}
