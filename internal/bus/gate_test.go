package bus

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus/embed"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// insideBus is a bus on a server of its own, for tests of what is not exported.
func insideBus(t *testing.T) *Bus {
	t.Helper()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	b, err := Connect(context.Background(), Config{InProcess: s, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if _, err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// slowControl delays the answer to a read of the control bucket, as a slow network does.
type slowControl struct {
	jetstream.Stream

	delay func()
}

func (s slowControl) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := s.Stream.GetLastMsgForSubject(ctx, subject)
	s.delay()
	return msg, err
}

// keepLegs reads "open"; while the answer is on its way the leg is held; the old answer opens the gate again.
func TestAnOldAnswerDoesNotOpenAHeldGate(t *testing.T) {
	t.Parallel()
	b := insideBus(t)
	const name = "warmy/main"
	if err := b.Legs().Release(t.Context(), name, "op"); err != nil {
		t.Fatal(err)
	}
	g := newGate(b.Legs(), name)
	if _, _, err := g.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	stream, err := b.stream(t.Context(), "KV_"+bucketControl)
	if err != nil {
		t.Fatal(err)
	}
	read, answer := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	b.handles.Store("KV_"+bucketControl, slowControl{stream, func() {
		if once.CompareAndSwap(false, true) {
			close(read)
			<-answer
		}
	}})
	done := make(chan struct{})
	go func() { defer close(done); b.tellLegs(t.Context(), map[string]*gate{name: g}) }()
	<-read
	if err := g.hold(t.Context(), outage{fault: &fault.Fault{Class: fault.LegDown, Code: "warmy_401"}, rest: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if !g.shut() {
		t.Fatal("not held at all")
	}
	close(answer)
	<-done
	stored, _, err := g.legs.load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if stored.State != leg.Held || !g.shut() {
		t.Errorf("the bucket says %q, the gate is shut: %v: deliveries pass a held leg until the next look in %v", stored.State, g.shut(), renewEvery)
	}
}

// TestOneRelapseCountsOnce has two processes hear of the same failure: the second one's hold ends a moment later, and is no relapse
// of its own.
func TestOneRelapseCountsOnce(t *testing.T) {
	t.Parallel()
	l := insideBus(t).Legs()
	f := &fault.Fault{Class: fault.LegDown, Code: "breaker_open", Cause: "c"}
	for n := range 2 {
		got, _, err := l.holdFor(t.Context(), "warmy/main", outage{fault: f, rest: time.Minute, relapse: true})
		if err != nil || got.Relapses != 1 {
			t.Errorf("process %d: %+v, %v", n+1, got, err)
		}
	}
}
