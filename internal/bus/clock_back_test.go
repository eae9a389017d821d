package bus_test

import (
	"context"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// setBack is a server's clock that is set back by 10 minutes after so long.
func setBack(after time.Duration) func(at time.Time) time.Duration {
	began := time.Now()
	return func(at time.Time) time.Duration {
		if at.Before(began.Add(after)) {
			return 10 * time.Minute
		}
		return 0
	}
}

// TestAClockThatIsSetBackProlongsNoHold holds a leg for 4 s, as an outage does, just before the server's clock is set back.
func TestAClockThatIsSetBackProlongsNoHold(t *testing.T) { //nolint:paralleltest // bubbles
	for name, lane := range map[string]struct { //nolint:paralleltest // bubbles
		lane events.Lane
		kind events.Kind
		leg  string
	}{
		"registrations": {events.Register, events.RegistrationRequested, "warmy/main"},
		"refreshes":     {events.Refresh, events.RefreshRequested, "microsoft/main"}, // they leave the probe to codes for a while
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				b := bustest.New(t)
				if err := bus.SetServerClock(t.Context(), b, setBack(10*time.Second)); err != nil {
					t.Fatal(err)
				}
				handled := make(chan string, 1)
				h := fakeHandler{handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
					leg.Asked(ctx, false)
					handled <- e.Mailbox
					return nil, nil
				}}
				serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: lane.lane, Leg: "main", Window: 4, Policy: quick, Handler: h})
				time.Sleep(9 * time.Second)
				f := &fault.Fault{Class: fault.LegDown, Code: "breaker_open", Cause: "c"}
				if err := bus.HoldFor(t.Context(), b, lane.leg, f, 4*time.Second); err != nil {
					t.Fatal(err)
				}
				held := time.Now()
				if err := b.Publish(t.Context(), event(lane.kind, "mb1")); err != nil {
					t.Fatal(err)
				}
				const next = 30 * time.Second // look at what the bucket says
				time.Sleep(2*next + time.Second)
				select {
				case <-handled:
				default:
					t.Errorf("nothing was handled %v after a hold of 4 s", time.Since(held))
				}
			})
		})
	}
}

// TestAClockThatIsSetBackProlongsNoWaitAfterA429 has Warmy ask for a wait just before the server's clock is set back.
func TestAClockThatIsSetBackProlongsNoWaitAfterA429(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		off := setBack(10 * time.Second)
		var pacers []*bus.Pacer
		for range 2 {
			b := bustest.Connect(t, s)
			if err := bus.SetServerClock(t.Context(), b, off); err != nil {
				t.Fatal(err)
			}
			pacers = append(pacers, b.Pacer(map[string]int{"main": 60}))
		}
		const asked, seen = 90 * time.Second, 30 * time.Second // how long Warmy wants to wait, and by when the new time is seen
		time.Sleep(8 * time.Second)
		if err := pacers[0].Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		if err := pacers[0].Throttled(t.Context(), "main", time.Now(), asked); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := pacers[1].Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < asked || waited > asked+seen {
			t.Errorf("waited for %v after a 429 that asked for %v", waited, asked)
		}
	})
}
