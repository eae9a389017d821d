package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// spoken is a log that a test reads.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *spoken) count(words ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for line := range strings.Lines(s.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// loggedBus is a bus on a server of its own that says what it does to the returned log.
func loggedBus(t *testing.T) (*bus.Bus, *spoken) {
	t.Helper()
	log := &spoken{}
	b, err := bus.Connect(t.Context(), bus.Config{InProcess: bustest.Server(t), Name: "test", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if _, err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, log
}

func timer(n int) events.Event {
	e := event(events.RegistrationRequested, fmt.Sprintf("mb%d", n)).Later(time.Now().Add(time.Hour))
	e.Sealed = make([]byte, 8<<10)
	return e
}

// fillTimers publishes timers until one is refused, and returns how many were stored.
func fillTimers(t *testing.T, b *bus.Bus) int {
	t.Helper()
	for n := range 1000 {
		if err := b.Publish(t.Context(), timer(n)); err != nil {
			if !errors.Is(err, bus.ErrFull) || !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "TIMERS_WARMY") {
				t.Fatalf("refused with %v", err)
			}
			return n
		}
	}
	t.Fatal("a stream of 1 MiB took a thousand timers of 8 KiB")
	return 0
}

func TestAFullTimerStreamRefusesNewTimersAndDropsNone(t *testing.T) {
	t.Parallel()
	b, log := loggedBus(t)
	if err := bus.LimitStream(t.Context(), b, "TIMERS_WARMY", 1<<20); err != nil {
		t.Fatal(err)
	}
	stored := fillTimers(t, b)
	if kept, err := bus.Waiting(t.Context(), b, "TIMERS_WARMY"); err != nil || kept != uint64(stored) {
		t.Errorf("%d timers are kept of the %d that were stored: %v", kept, stored, err)
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "now")); err != nil {
		t.Errorf("what is no timer is refused, too: %v", err)
	}
	for _, level := range []string{"WARN", "ERROR"} {
		if n := log.count("level="+level, "msg=stream_nearly_full", "stream=TIMERS_WARMY"); n != 1 {
			t.Errorf("stream_nearly_full is logged %d times at level %s", n, level)
		}
	}
}

func TestAFailureThatFindsNoRoomForItsTimerKeepsItsInput(t *testing.T) {
	t.Parallel()
	b, log := loggedBus(t)
	if err := bus.LimitStream(t.Context(), b, "TIMERS_WARMY", 1<<20); err != nil {
		t.Fatal(err)
	}
	_ = fillTimers(t, b)
	var healed atomic.Bool
	done := make(chan events.Event, 1)
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		if !healed.Load() {
			return nil, &fault.Fault{Class: fault.Transient, Code: "warmy_500", Forecast: fault.ByTime}
		}
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "kept")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the timer was refused twice", func() bool { return log.count("step=timer_not_stored", "mailbox=kept") >= 2 })
	if left, err := bus.Waiting(t.Context(), b, "REGISTER"); err != nil || left != 1 {
		t.Errorf("%d inputs are kept, want the one whose timer was refused: %v", left, err)
	}
	if err := bus.LimitStream(t.Context(), b, "TIMERS_WARMY", 2<<20); err != nil {
		t.Fatal(err)
	}
	healed.Store(true)
	if e := receive(t, done, "the kept event"); e.Mailbox != "kept" {
		t.Errorf("handled %s", e.Mailbox)
	}
	if letters := deadLetters(t, b); len(letters) != 0 {
		t.Errorf("buried: %+v", letters)
	}
}

func TestAFullStreamSaysSoAndTakesTheEventWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := bus.LimitStream(t.Context(), b, "CODE", 1); err != nil {
		t.Fatal(err)
	}
	e := event(events.CodeReceived, "mb1")
	err := b.Publish(t.Context(), e)
	if !errors.Is(err, bus.ErrFull) || !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "10077, maximum bytes exceeded") {
		t.Fatalf("refused with %v", err)
	}
	if err := bus.LimitStream(t.Context(), b, "CODE", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), e); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n, err := bus.Waiting(t.Context(), b, "CODE"); err != nil || n != 1 {
		t.Errorf("%d codes wait, want one: %v", n, err)
	}
}

func TestAServerThatDoesNotStoreMakesTheProcessUnreadyUntilItStores(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	log := &spoken{}
	b, err := bus.Connect(t.Context(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if _, err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.NATS().ShutdownJetStream(); err != nil { // what a full volume does to a server of a cluster
		t.Fatal(err)
	}
	e := event(events.RegistrationRequested, "mb1")
	if err := b.Publish(t.Context(), e); !errors.Is(err, bus.ErrUnavailable) {
		t.Fatalf("published with %v", err)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, bus.ErrNotStoring) || !strings.Contains(err.Error(), "restart nats-server") {
		t.Errorf("readiness is %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is stored", func() bool { return b.Publish(t.Context(), e) == nil })
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("readiness after a stored publish is %v", err)
	}
	for _, word := range []string{"msg=store_does_not_take", "msg=store_takes_again"} {
		if n := log.count(word); n != 1 {
			t.Errorf("%s is logged %d times", word, n)
		}
	}
}
