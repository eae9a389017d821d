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
	"kindling/internal/leg"
)

// service is a dependency that can be down, as an adaptor reports it.
type service struct {
	down  atomic.Bool
	calls atomic.Int32
}

func (s *service) call(ctx context.Context) error {
	s.calls.Add(1)
	if s.down.Load() {
		leg.Asked(ctx, true)
		return &fault.Fault{Class: fault.Transient, Code: "microsoft_5xx", Outage: true, Cause: "it failed", Forecast: fault.ByTime}
	}
	leg.Asked(ctx, false)
	return nil
}

func legState(ctx context.Context, t *testing.T, b *bus.Bus, name string) leg.Leg {
	t.Helper()
	legs, err := b.Legs().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range legs {
		if l.Name == name {
			return l
		}
	}
	return leg.Leg{}
}

func TestAnOutageOpensTheBreakerHoldsTheLegOfTheFleetAndBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	const replicas, n = 3, 200
	server := bustest.Server(t)
	var upstream service
	upstream.down.Store(true)
	done := make(chan events.Event, n)
	h := fakeHandler{buried: make(chan *fault.Fault, n), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		if err := upstream.call(ctx); err != nil {
			return nil, err
		}
		done <- e
		return nil, nil
	}}
	policy := bus.Policy{Attempts: 2, Base: 20 * time.Millisecond, Cap: 50 * time.Millisecond}
	var b *bus.Bus
	for range replicas {
		b = bustest.Connect(t, server)
		serve(t, b, bus.ServeConfig{HoldFor: 500 * time.Millisecond}, bus.Lane{Lane: events.Refresh, Leg: "main", Window: 16, Policy: policy, Handler: h})
	}
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = event(events.RefreshRequested, fmt.Sprint("mb", i))
	}
	if err := b.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leg is held", func() bool { return legState(t.Context(), t, b, "refresh/main").Code == "breaker_open" })
	calls := upstream.calls.Load()
	eventually(t, "some probes", func() bool { return upstream.calls.Load() >= calls+3 })
	if most := int32(replicas * (16 + 5) * 2); upstream.calls.Load() > most {
		t.Errorf("%d calls reached a service that is down, more than %d", upstream.calls.Load(), most)
	}
	upstream.down.Store(false)
	for range n {
		if e := receive(t, done, "event after the outage"); e.Failed != 0 {
			t.Errorf("an attempt was burnt: %+v", e)
		}
	}
	if letters := deadLetters(t, b); len(letters) != 0 {
		t.Errorf("%d dead letters, such as %+v", len(letters), letters[0])
	}
	eventually(t, "the leg is open", func() bool { return legState(t.Context(), t, b, "refresh/main").State == leg.Open })
}

func TestExactlyOneDeliveryOfTheFleetProbes(t *testing.T) {
	t.Parallel()
	const replicas, n = 3, 30
	server := bustest.Server(t)
	refused := &fault.Fault{Class: fault.LegDown, Code: "warmy_401", Cause: "the key is refused"}
	var down, probing atomic.Bool
	down.Store(true)
	var inside, most atomic.Int32
	entered, leave := make(chan struct{}, replicas*n), make(chan struct{})
	done := make(chan events.Event, n)
	h := fakeHandler{buried: make(chan *fault.Fault, n), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		leg.Asked(ctx, false)
		if probing.Load() {
			most.Store(max(most.Load(), inside.Add(1)))
			entered <- struct{}{}
			<-leave
			inside.Add(-1)
		}
		if down.Load() {
			return nil, refused
		}
		done <- e
		return nil, nil
	}}
	var b *bus.Bus
	for range replicas {
		b = bustest.Connect(t, server)
		serve(t, b, bus.ServeConfig{HoldFor: time.Second}, bus.Lane{Lane: events.Register, Leg: "main", Window: 8, Policy: quick, Handler: h})
	}
	for i := range n {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, fmt.Sprint("mb", i))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the leg is held", func() bool { return legState(t.Context(), t, b, "warmy/main").State == leg.Held })
	probing.Store(true)
	receive(t, entered, "probe")
	if got := legState(t.Context(), t, b, "warmy/main"); got.State != leg.Probing || got.Code != "warmy_401" || got.Prober == "" {
		t.Errorf("while the probe runs the leg is %+v", got)
	}
	select {
	case <-entered:
		t.Error("a second delivery was let through while the first one probes")
	case <-time.NewTimer(500 * time.Millisecond).C:
	}
	down.Store(false)
	probing.Store(false)
	close(leave)
	for range n {
		receive(t, done, "event after the release")
	}
	if most.Load() != 1 {
		t.Errorf("%d deliveries probed at once", most.Load())
	}
}

func TestAProbeThatAsksNobodyReleasesNothing(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	handled := make(chan string, 10)
	down := true // touched by one delivery at a time: the window is 1
	h := fakeHandler{handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		state := legState(ctx, t, b, "warmy/main").State
		switch {
		case down:
			down = false
			return nil, &fault.Fault{Class: fault.LegDown, Code: "warmy_401", Cause: "the key is refused", After: 300 * time.Millisecond}
		case e.Mailbox != "erased": // for it there is nothing to do: the dependency is not asked
			leg.Asked(ctx, false)
		}
		handled <- e.Mailbox + " while " + string(state)
		return nil, nil
	}}
	for _, mb := range []string{"erased", "second", "third"} {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 1, Fleet: 1, Policy: quick, Handler: h})
	for _, want := range []string{"erased while probing", "second while probing", "third while open"} {
		if got := receive(t, handled, want); got != want {
			t.Errorf("handled %q, want %q", got, want)
		}
	}
}

func TestALegThatIsHeldForItsCredentialsCanBeProbedAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t, bustest.Server(t))
	var good, bad atomic.Int32
	var mended atomic.Bool
	h := fakeHandler{buried: make(chan *fault.Fault, 9), handle: func(ctx context.Context, _ events.Event) ([]events.Event, error) {
		leg.Asked(ctx, false)
		if !mended.Load() {
			bad.Add(1)
			return nil, &fault.Fault{Class: fault.LegDown, Code: "AADSTS7000215", Cause: "the client secret is wrong", Forecast: fault.ByConfig}
		}
		good.Add(1)
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{HoldFor: time.Hour}, bus.Lane{
		Lane: events.Code, Leg: "main", Window: 4, Policy: bus.Policy{Attempts: 5, Base: 20 * time.Millisecond, Cap: 50 * time.Millisecond}, Handler: h,
	})
	const name = "microsoft/main"
	for i := range 8 {
		if err := b.Publish(t.Context(), event(events.CodeReceived, fmt.Sprint("mb", i))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the leg is held", func() bool { return legState(t.Context(), t, b, name).State == leg.Held })
	refused := bad.Load()
	if err := b.Legs().ProbeNow(t.Context(), name, func(code string) bool { return code == "AADSTS50011" }); err != nil {
		t.Fatal(err)
	}
	if l := legState(t.Context(), t, b, name); l.State != leg.Held || bad.Load() != refused {
		t.Errorf("held for another reason, and yet %s", l.State)
	}
	mended.Store(true)
	if err := b.Legs().ProbeNow(t.Context(), name, func(code string) bool { return code == "AADSTS7000215" }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all work is done", func() bool { return good.Load() == 8 })
	eventually(t, "the leg is open", func() bool { return legState(t.Context(), t, b, name).State == leg.Open })

	if err := b.Legs().Hold(t.Context(), name, "maintenance", "ann"); err != nil {
		t.Fatal(err)
	}
	if err := b.Legs().ProbeNow(t.Context(), name, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if l := legState(t.Context(), t, b, name); l.State != leg.Held || !l.Until.IsZero() {
		t.Errorf("an operator's hold was changed: %+v", l)
	}
}
