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

// A process that stops gives back what it has not begun, what lies ready in nats.go too: nobody waits for the ack wait.
func TestAnOrderlyStopGivesBackWhatLiesReady(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		began, release := make(chan struct{}, 100), make(chan struct{})
		h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
			began <- struct{}{}
			<-release
			return nil, nil
		}}
		const n = 40
		for i := range n {
			if err := b.Publish(t.Context(), event(events.RegistrationRequested, fmt.Sprint("mb", i))); err != nil {
				t.Fatal(err)
			}
		}
		lane := bus.Lane{Lane: events.Register, Leg: "main", Window: 1, Fleet: n, Policy: quick, Handler: h}
		stop := served(t, b, bus.ServeConfig{}, lane)
		receive(t, began, "beginning")
		time.Sleep(time.Second)                                            // some more lie ready now
		go func() { time.Sleep(200 * time.Millisecond); close(release) }() // while it stops
		stop()
		stopped := time.Now()
		serve(t, b, bus.ServeConfig{}, lane)
		eventually(t, "everything is handled", func() bool { return bus.Parked(t.Context(), b) == 0 && len(began) >= n-1 })
		if took := time.Since(stopped); took > bus.AckWait/2 {
			t.Errorf("the last one was handled %v after the stop", took)
		}
	})
}

// What has killed its worker too often is to be buried. While the dead letter cannot be stored (the stream is full), the
// event must not be handled again: each time it kills.
func TestACrashLoopIsNotHandledAgainWhileItsLetterCannotBeStored(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		var calls atomic.Int32
		h := fakeHandler{buried: make(chan *fault.Fault, 2), handle: func(context.Context, events.Event) ([]events.Event, error) {
			calls.Add(1)
			return nil, &fault.Fault{Class: fault.RetryAfter, Code: "microsoft_429", After: 300 * time.Millisecond}
		}}
		nak := quick
		nak.Nak, nak.Attempts = true, 1000
		serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Code, Leg: "main", Window: 4, Policy: nak, Handler: h})
		e := event(events.CodeReceived, "mb1")
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		eventually(t, "many deliveries", func() bool { return calls.Load() >= 5 })
		if err := bus.LimitStream(t.Context(), b, "DEAD", 1); err != nil {
			t.Fatal(err)
		}
		if err := bus.BeginWithoutEnd(t.Context(), b, e, 3); err != nil { // as processes that were killed leave it
			t.Fatal(err)
		}
		time.Sleep(600 * time.Millisecond) // the delivery that finds the crash loop
		before := calls.Load()
		time.Sleep(4 * time.Second)
		if n := calls.Load() - before; n != 0 {
			t.Errorf("the event that kills was handled %d times more: its book was forgotten before its letter was stored", n)
		}
	})
}

// After its deadline a code that must wait (a record of a newer build: asked delay 30 s) is given back with no delay at all:
// ten times a second, each code, until the upgrade is over. No count and no age ends it (app.codePolicy).
func TestAfterTheDeadlineAnAskedDelayIsStillKept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := event(events.CodeReceived, "mb1")
	e.Deadline = now.Add(-time.Second)
	p := bus.Policy{Attempts: 1 << 20, Base: time.Second, Cap: 6 * time.Second, Crashes: 5, Nak: true}
	for _, f := range []*fault.Fault{
		{Class: fault.RetryAfter, Code: "record_newer", After: 30 * time.Second},
		{Class: fault.Transient, Code: "store"},
	} {
		if d := p.Decide(e, f, 100, now, 0.5); d.Verdict != bus.Retry || d.Delay < p.Base/4 {
			t.Errorf("%s: %+v", f.Code, d)
		}
	}
}
