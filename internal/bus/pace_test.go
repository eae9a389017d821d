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
		var book callBook
		var running sync.WaitGroup
		for _, off := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
			b := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(off) })
			pacer := b.Pacer(map[string]int{"main": perMinute})
			running.Go(func() { book.call(t, pacer, each) })
		}
		running.Wait()
		calls := book.calls
		took := calls[len(calls)-1].Sub(calls[0])
		if ideal := (3*each - 1) * time.Second; took < ideal || took > ideal+ideal/20 {
			t.Errorf("%d calls in %v, at %d a minute", len(calls), took, perMinute)
		}
	})
}

// TestAClockThatIsSetMakesNobodyFaster sets a clock while three processes call.
func TestAClockThatIsSetMakesNobodyFaster(t *testing.T) { //nolint:paralleltest // bubbles
	const perMinute, each = 60, 60
	for name, set := range map[string]struct { //nolint:paralleltest // bubbles
		own    time.Duration // by which a process's own clock is set
		server time.Duration // by which the server's clock is set
	}{
		"its own, ahead":         {own: 10 * time.Minute},
		"its own, back":          {own: -10 * time.Minute},
		"its own, slept":         {own: -25 * time.Second},
		"the server's, ahead":    {server: 10 * time.Minute},
		"the server's, back":     {server: -10 * time.Minute},
		"the server's, a little": {server: 3 * time.Second},
		"the server's, and back": {server: -3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				s := bustest.Server(t)
				var book callBook
				var own atomic.Int64
				began := time.Now()
				const after = 68 * time.Second // of which the last 8 passed since the server was asked
				server := func(at time.Time) time.Duration {
					if at.Sub(began) < after {
						return 0
					}
					return set.server
				}
				var running sync.WaitGroup
				for i := range 3 {
					clock := time.Now
					if i == 0 {
						clock = func() time.Time { return time.Now().Add(time.Duration(own.Load())) }
					}
					b := bustest.ConnectAt(t, s, clock)
					if err := bus.SetServerClock(t.Context(), b, server); err != nil {
						t.Fatal(err)
					}
					pacer := b.Pacer(map[string]int{"main": perMinute})
					running.Go(func() { book.call(t, pacer, each) })
				}
				time.Sleep(after)
				own.Store(int64(set.own))
				running.Wait()
				calls := book.calls
				if most := mostInAMinute(calls); most > perMinute {
					t.Errorf("%d calls in a minute, at %d a minute", most, perMinute)
				}
				if took, ideal := calls[len(calls)-1].Sub(calls[0]), (3*each-1)*time.Second; took > ideal+ideal/20 {
					t.Errorf("%d calls in %v, at %d a minute", len(calls), took, perMinute)
				}
			})
		})
	}
}

// callBook is when calls were made, by all processes.
type callBook struct {
	mu    sync.Mutex
	calls []time.Time
}

// call makes n calls, each in its turn.
func (b *callBook) call(t *testing.T, pacer *bus.Pacer, n int) {
	t.Helper()
	for range n {
		if err := pacer.Wait(t.Context(), "main"); err != nil {
			t.Error(err)
			return
		}
		b.mu.Lock()
		b.calls = append(b.calls, time.Now())
		b.mu.Unlock()
	}
}

// mostInAMinute counts the calls of the fullest sliding minute.
func mostInAMinute(calls []time.Time) (most int) {
	for first, last := 0, 0; last < len(calls); last++ {
		for calls[last].Sub(calls[first]) >= time.Minute {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
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
		if err := told.Throttled(t.Context(), "main", time.Now(), 90*time.Second); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := other.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 88*time.Second || waited > 95*time.Second {
			t.Errorf("the other process waited %v", waited)
		}
		if err := told.Throttled(t.Context(), "main", time.Now(), time.Second); err != nil {
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

// TestA429ThatComesLateDoesNotHalveThePace answers calls that were under way when the wait began after its end.
func TestA429ThatComesLateDoesNotHalveThePace(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		pacer := b.Pacer(map[string]int{"main": 60})
		if err := pacer.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		sent := time.Now()
		for range 4 {
			time.Sleep(3 * time.Second)
			if err := pacer.Throttled(t.Context(), "main", sent, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		for range 11 {
			if err := pacer.Wait(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 13*time.Second {
			t.Errorf("11 calls in %v, after a wait of a second, at one a second", took)
		}
	})
}

// TestASlotThatAProcessSleptOverIsNotUsed lets a machine sleep while a call waits for its slot. All that slept would leave at
// once when they wake.
func TestASlotThatAProcessSleptOverIsNotUsed(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		var slept atomic.Int64
		b := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
		pacer := b.Pacer(map[string]int{"main": 12})
		if err := pacer.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		began, done := time.Now(), make(chan error, 1)
		go func() { done <- pacer.Wait(t.Context(), "main") }()
		time.Sleep(3800 * time.Millisecond) // it has reserved its slot, for a quarter of a second from now
		const sleep = 20 * time.Second
		slept.Store(int64(sleep))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		pace, err := b.PaceOf(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		if reserved := pace.End.Sub(began); reserved < sleep {
			t.Errorf("reserved until %v after the call began to wait, though it slept for %v", reserved, sleep)
		}
	})
}

// TestAWorkerThatIsKilledTakesLittleOfTheBudgetWithIt reserves as a worker does that dies before it calls.
func TestAWorkerThatIsKilledTakesLittleOfTheBudgetWithIt(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		began, err := bus.TakeSlot(t.Context(), b.Pacer(map[string]int{"main": 6000}), "main")
		if err != nil {
			t.Fatal(err)
		}
		pace, err := b.PaceOf(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		if lost := pace.End.Sub(began); lost > 300*time.Millisecond || lost < 200*time.Millisecond {
			t.Errorf("%v of the budget are reserved at once", lost)
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
