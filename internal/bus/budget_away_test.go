package bus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// TestABudgetThatCannotBeReadCountsAgainstNoEvent lets the control bucket be silent for longer than an event has attempts.
func TestABudgetThatCannotBeReadCountsAgainstNoEvent(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		worker, other := bustest.Connect(t, s), bustest.Connect(t, s)
		var silent atomic.Bool
		if err := bus.SilenceBudgets(t.Context(), worker, silent.Load); err != nil {
			t.Fatal(err)
		}
		silent.Store(true)
		_, guarded := simulated(t, worker, 1, 60)
		const n = 4
		var done, attempts, tries atomic.Int32
		h := fakeHandler{buried: make(chan *fault.Fault, n), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
			if err := guarded.Activate(ctx, "main", "1001"); err != nil {
				tries.Add(1)
				return nil, err
			}
			attempts.Add(int32(e.Failed))
			done.Add(1)
			return nil, nil
		}}
		policy := bus.Policy{Attempts: 2, Base: 100 * time.Millisecond, Cap: time.Second}
		serve(t, worker, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: n, Policy: policy, Handler: h, Outage: 4 * time.Second})
		for i := range n {
			if err := other.Publish(t.Context(), event(events.RegistrationRequested, fmt.Sprint("mb", i))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		if got := tries.Load(); got < 2*n || done.Load() > 0 {
			t.Errorf("%d tries, %d without a budget", got, done.Load())
		}
		silent.Store(false)
		time.Sleep(time.Minute)
		if done.Load() != n || attempts.Load() > 0 || len(h.buried) > 0 {
			t.Errorf("%d of %d done, %d attempts counted, %d buried", done.Load(), n, attempts.Load(), len(h.buried))
		}
	})
}
