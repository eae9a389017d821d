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

// TestAWrongClockNeitherStopsTheFleetNorMakesItFaster lets three processes call whose clocks are 10 minutes apart.
func TestAWrongClockNeitherStopsTheFleetNorMakesItFaster(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		const perMinute, each = 60, 40
		var mu sync.Mutex
		var calls []time.Time
		var running sync.WaitGroup
		for _, off := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
			b := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(off) })
			pacer := b.Pacer(map[string]int{"main": perMinute})
			running.Go(func() {
				for range each {
					if err := pacer.Wait(t.Context(), "main"); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					calls = append(calls, time.Now())
					mu.Unlock()
				}
			})
		}
		running.Wait()
		took := calls[len(calls)-1].Sub(calls[0])
		if ideal := (3*each - 1) * time.Second; took < ideal || took > ideal+ideal/20 {
			t.Errorf("%d calls in %v, at %d a minute", len(calls), took, perMinute)
		}
	})
}

func TestA429StopsEveryProcessForAsLongAsItSays(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		told := bustest.Connect(t, s).Pacer(map[string]int{"main": 55})
		other := bustest.Connect(t, s).Pacer(map[string]int{"main": 55})
		for _, p := range []*bus.Pacer{told, other} {
			if err := p.Wait(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
		}
		if err := told.Throttled(t.Context(), "main", 90*time.Second); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := other.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 88*time.Second || waited > 95*time.Second {
			t.Errorf("the other process waited %v", waited)
		}
		if err := told.Throttled(t.Context(), "main", time.Second); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		for range 10 {
			if err := other.Wait(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 18*time.Second {
			t.Errorf("10 calls in %v after a second 429: that is not half the pace", took)
		}
	})
}

// TestAnOutageThatPOSTsMeetHoldsTheLegAndLetsNoneThatWaitForTheirTurnOut plays handlers that conclude a failed POST by
// themselves, as the register handler does, in an account that calls once a second.
func TestAnOutageThatPOSTsMeetHoldsTheLegAndLetsNoneThatWaitForTheirTurnOut(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		pacer := b.Pacer(map[string]int{"main": 60})
		var down atomic.Bool
		var posts, failed, probes, burned atomic.Int32
		h := fakeHandler{buried: make(chan *fault.Fault, 400), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
			burned.Add(int32(e.Failed))
			if err := pacer.Wait(ctx, "main"); err != nil {
				return nil, err
			}
			leg.Asked(ctx, down.Load())
			switch {
			case leg.IsProbe(ctx) && down.Load():
				probes.Add(1)
				return nil, &fault.Fault{Class: fault.LegDown, Code: "breaker_open", After: 4 * time.Second}
			case down.Load():
				failed.Add(1)
				return nil, nil // unclear, and another event's from now on
			}
			posts.Add(1)
			return nil, nil
		}}
		for i := range 400 {
			if err := b.Publish(t.Context(), of(events.RegistrationRequested, "main", i)); err != nil {
				t.Fatal(err)
			}
		}
		serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 16, Policy: quick, Handler: h, Outage: 4 * time.Second})
		time.Sleep(30 * time.Second)
		down.Store(true)
		time.Sleep(5 * time.Minute)
		if failed.Load() > 6 {
			t.Errorf("%d POSTs were made into an outage", failed.Load())
		}
		if n := probes.Load(); n < 30 || n > 90 {
			t.Errorf("%d probes in 5 minutes", n)
		}
		down.Store(false)
		before := posts.Load()
		time.Sleep(20 * time.Second)
		if n := posts.Load() - before; n < 10 {
			t.Errorf("%d calls in the 20 s after the recovery, one a second", n)
		}
		if burned.Load() > 0 || len(h.buried) > 0 {
			t.Errorf("%d attempts burned, %d buried", burned.Load(), len(h.buried))
		}
	})
}
