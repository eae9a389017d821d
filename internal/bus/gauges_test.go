package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

func figures(t *testing.T, g *bus.Gauges) bus.Figures {
	t.Helper()
	f, err := g.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func laneOf(f bus.Figures, lane events.Lane, name string) bus.LaneFigures {
	for _, l := range f.Lanes {
		if l.Lane == lane && l.Leg == name {
			return l
		}
	}
	return bus.LaneFigures{}
}

func TestTheFiguresOfALaneTellWaitingWorkFromWorkUnderWay(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	begun, release := make(chan string, 8), make(chan struct{})
	h := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		begun <- e.Mailbox
		<-release
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 2, Fleet: 2, Policy: quick, Handler: h})
	for _, mb := range []string{"a", "b", "c", "d", "e"} {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		_ = receive(t, begun, "handling")
	}
	g := b.Gauges(bus.GaugeScope{Apps: []string{"main"}, Accounts: []string{"main"}})
	eventually(t, "two are under way and three wait", func() bool {
		l := laneOf(figures(t, g), events.Register, "main")
		return l.InFlight == 2 && l.Pending == 3 && l.Ready == 3 && l.Window == 1 && l.Oldest > 0
	})
	if err := b.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
		t.Fatal(err)
	}
	f := figures(t, g)
	if l := laneOf(f, events.Register, "main"); l.Ready != 0 || l.Pending != 3 {
		t.Errorf("of a held leg's lane %d could proceed and %d wait", l.Ready, l.Pending)
	}
	states := map[string]leg.State{}
	for _, l := range f.Legs {
		states[l.Name] = l.State
	}
	if states["warmy/main"] != leg.Held || states["microsoft/main"] != leg.Open || states["refresh/main"] != leg.Open || len(states) != 3 {
		t.Errorf("legs: %v", states)
	}
	if len(f.Streams) != 0 || len(f.Dead) != 0 {
		t.Errorf("a worker reads the whole store: %+v", f)
	}
	if err := b.Legs().Release(t.Context(), "warmy/main", "op"); err != nil {
		t.Fatal(err)
	}
	close(release)
	eventually(t, "the lane is empty", func() bool {
		l := laneOf(figures(t, g), events.Register, "main")
		return l.Pending == 0 && l.InFlight == 0 && l.Oldest == 0
	})
}

func TestTheFiguresOfTheStoreCountDeadLettersByTheirKind(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	h := fakeHandler{buried: make(chan *fault.Fault, 8), handle: func(context.Context, events.Event) ([]events.Event, error) {
		return nil, &fault.Fault{Class: fault.Permanent, Code: "warmy_422", Forecast: fault.ByConfig}
	}}
	g := b.Gauges(bus.GaugeScope{Store: true})
	if f := figures(t, g); len(f.Dead) != 0 || len(f.Streams) == 0 {
		t.Fatalf("figures of an empty store: %+v", f)
	}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 2, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "a"), event(events.RegistrationRequested, "b")); err != nil {
		t.Fatal(err)
	}
	want := bus.DeadFigures{Stage: "register", Class: "permanent", Forecast: "by_config", Count: 2}
	eventually(t, "two dead letters of one kind are counted", func() bool { return slices.Equal(figures(t, g).Dead, []bus.DeadFigures{want}) })
	for _, s := range figures(t, g).Streams {
		if s.Name == "DEAD" && (s.Messages != 2 || s.Fill <= 0 || s.Fill > 0.01) {
			t.Errorf("the stream of dead letters: %+v", s)
		}
	}
	for _, d := range deadLetters(t, b) {
		if err := b.DeadLetters().Discard(t.Context(), d.Seq); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no dead letter is counted", func() bool { return len(figures(t, g).Dead) == 0 })
}

func TestFiguresAreRefusedWithoutNATSAndWithinTheirTime(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	g := b.Gauges(bus.GaugeScope{Apps: []string{"main"}, Accounts: []string{"main"}, Store: true})
	_ = figures(t, g)
	if err := s.NATS().ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if f, err := g.Read(ctx); err == nil {
		t.Errorf("without JetStream: %+v", f)
	}
}
