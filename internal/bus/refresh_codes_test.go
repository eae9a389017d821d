package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// codesBeside returns the longest wait of 60 codes, one each 3 s, beside refreshes; each handler reports its answer.
func codesBeside(t *testing.T, refresh, code func(ctx context.Context, e events.Event) ([]events.Event, error)) time.Duration {
	t.Helper()
	b := bustest.New(t)
	var worst atomic.Int64
	codes := fakeHandler{buried: make(chan *fault.Fault, 999), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		follow, err := code(ctx, e)
		if err == nil {
			worst.Store(max(worst.Load(), int64(time.Since(e.At))))
		}
		return follow, err
	}}
	serve(t, b, bus.ServeConfig{},
		bus.Lane{Lane: events.Code, Leg: "main", Window: 128, Policy: quick, Handler: codes},
		bus.Lane{Lane: events.Refresh, Leg: "main", Window: 32, Policy: quick, Handler: fakeHandler{buried: make(chan *fault.Fault, 999), handle: refresh}})
	time.Sleep(time.Second)
	publish(t, b, events.RefreshRequested, "main", 200)
	for i := range 60 {
		if err := b.Publish(t.Context(), of(events.CodeReceived, "main", i)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
	}
	time.Sleep(5 * time.Minute)
	return time.Duration(worst.Load())
}

// A breaker that refreshes open must not stop codes that are answered well.
func TestRefreshesThatTimeOutDelayNoCode(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		w := codesBeside(t, func(ctx context.Context, _ events.Event) ([]events.Event, error) {
			time.Sleep(15 * time.Second)
			leg.Asked(ctx, true)
			return nil, &fault.Fault{Class: fault.Transient, Code: "microsoft_timeout", Outage: true}
		}, func(ctx context.Context, _ events.Event) ([]events.Event, error) {
			time.Sleep(500 * time.Millisecond)
			leg.Asked(ctx, false)
			return nil, nil
		})
		t.Logf("a code waited %v", w)
		if w > time.Second {
			t.Errorf("a code waited %v because refreshes time out", w)
		}
	})
}

// After a rest of 2 s a slow refresh must not be the only probe.
func TestASlowRefreshAsProbeDelaysNoCode(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		began := time.Now()
		w := codesBeside(t, func(ctx context.Context, _ events.Event) ([]events.Event, error) {
			time.Sleep(14 * time.Second)
			leg.Asked(ctx, false)
			return nil, nil
		}, func(ctx context.Context, _ events.Event) ([]events.Event, error) {
			time.Sleep(100 * time.Millisecond)
			if d := time.Since(began); d > 20*time.Second && d < 24*time.Second {
				return nil, &fault.Fault{Class: fault.LegDown, Code: "microsoft_unreachable", After: 2 * time.Second}
			}
			leg.Asked(ctx, false)
			return nil, nil
		})
		t.Logf("a code waited %v", w)
		if w > 5*time.Second {
			t.Errorf("a code waited %v behind a probing refresh", w)
		}
	})
}
