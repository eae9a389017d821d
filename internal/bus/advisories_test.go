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
	"kindling/internal/mailbox"
)

// rescues counts what the second net has caught.
type rescues struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *rescues) Rescued(how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[string]int{}
	}
	r.count[how]++
}

func (r *rescues) of(how string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[how]
}

func registerLane(h bus.Handler) bus.Lane {
	return bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h}
}

// served serves the lanes until the returned function is called.
func served(t *testing.T, b *bus.Bus, cfg bus.ServeConfig, lanes ...bus.Lane) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, cfg, lanes...) }()
	return func() {
		cancel()
		if err := receive(t, done, "end of Serve"); err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// consumersOf makes a lane's consumers and leaves nobody at them.
func consumersOf(t *testing.T, b *bus.Bus, lane bus.Lane, stream, consumer string) {
	t.Helper()
	stop := served(t, b, bus.ServeConfig{}, lane)
	defer stop()
	eventually(t, consumer+" exists", func() bool { return bus.HasConsumer(t.Context(), b, stream, consumer) })
}

// silence lets a message fall silent: somebody has limited the deliveries, and every worker that takes it dies. Then the
// consumer is mended, which brings no message back.
func silence(t *testing.T, b *bus.Bus, stream, consumer string) {
	t.Helper()
	if err := bus.LimitByHand(t.Context(), b, stream, consumer, 2, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	taken := 0
	eventually(t, "the server gives up", func() bool {
		n, err := bus.TakeAndForget(t.Context(), b, stream, consumer)
		taken += n
		return err == nil && taken == 2
	})
	eventually(t, "nothing is delivered any more", func() bool {
		n, err := bus.TakeAndForget(t.Context(), b, stream, consumer)
		return err == nil && n == 0
	})
	if err := bus.LimitByHand(t.Context(), b, stream, consumer, -1, bus.AckWait); err != nil {
		t.Fatal(err)
	}
	if n, err := bus.TakeAndForget(t.Context(), b, stream, consumer); n != 0 || err != nil {
		t.Fatalf("the mended consumer delivers %d, %v", n, err)
	}
	waiting(t, b, stream, 1) // and it is still there
}

func TestAMessageThatTheServerGaveUpBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	for _, queue := range []struct {
		name, stream, consumer string
		later                  bool
	}{{"in the lane", "REGISTER", "register-main", false}, {"as a timer", "TIMERS_WARMY", "due-register-main", true}} {
		t.Run(queue.name, func(t *testing.T) {
			t.Parallel()
			b, h, caught := bustest.New(t), dying(), &rescues{}
			consumersOf(t, b, registerLane(h), queue.stream, queue.consumer)
			e := event(events.RegistrationRequested, "mb1")
			if queue.later {
				e = e.Later(time.Now())
			}
			if err := b.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			silence(t, b, queue.stream, queue.consumer)
			waiting(t, b, "ADVISORIES", 1)
			serve(t, b, bus.ServeConfig{Rescuer: caught}, registerLane(h))
			if f := receive(t, h.buried, "burial"); f.Code != "max_deliveries" {
				t.Errorf("buried for %v", f)
			}
			waiting(t, b, queue.stream, 0)
			waiting(t, b, "ADVISORIES", 0)
			letters := deadLetters(t, b)
			if len(letters) != 1 || letters[0].Code != "max_deliveries" || letters[0].Mailbox != "mb1" || caught.of("max_deliveries") != 1 {
				t.Errorf("letters: %+v; caught: %v", letters, caught.count)
			}
		})
	}
}

func TestALimitOnARunningConsumerLosesNothing(t *testing.T) {
	t.Parallel()
	b, caught := bustest.New(t), &rescues{}
	var tries atomic.Int32
	h := fakeHandler{buried: make(chan *fault.Fault, 10), handle: func(context.Context, events.Event) ([]events.Event, error) {
		tries.Add(1)
		return nil, &fault.Fault{Class: fault.Transient, Code: "microsoft_timeout", Forecast: fault.ByTime}
	}}
	patient := quick
	patient.Attempts, patient.Nak, patient.Crashes = 1000, true, 0
	serve(t, b, bus.ServeConfig{Rescuer: caught, SweepEvery: time.Hour}, bus.Lane{Lane: events.Code, Leg: "main", Window: 4, Policy: patient, Handler: h})
	eventually(t, "the consumer exists", func() bool { return bus.HasConsumer(t.Context(), b, "CODE", "code-main") })
	if err := bus.LimitByHand(t.Context(), b, "CODE", "code-main", 3, bus.AckWait); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), event(events.CodeReceived, "mb1")); err != nil {
		t.Fatal(err)
	}
	if f := receive(t, h.buried, "burial"); f.Code != "max_deliveries" || tries.Load() != 3 {
		t.Errorf("buried for %v after %d tries", f, tries.Load())
	}
	waiting(t, b, "CODE", 0)
	if letters := deadLetters(t, b); len(letters) != 1 || letters[0].Code != "max_deliveries" {
		t.Errorf("letters: %+v", letters)
	}
}

func TestAStuckMessageIsFoundThoughItsAdvisoryWasLost(t *testing.T) {
	t.Parallel()
	b, h, caught := bustest.New(t), dying(), &rescues{}
	consumersOf(t, b, registerLane(h), "REGISTER", "register-main")
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	silence(t, b, "REGISTER", "register-main")
	waiting(t, b, "ADVISORIES", 1)
	if err := bus.Purge(t.Context(), b, "ADVISORIES", ""); err != nil {
		t.Fatal(err)
	}
	serve(t, b, bus.ServeConfig{Rescuer: caught, SweepEvery: 50 * time.Millisecond}, registerLane(h))
	if f := receive(t, h.buried, "burial"); f.Code != "max_deliveries" {
		t.Errorf("buried for %v", f)
	}
	waiting(t, b, "REGISTER", 0)
	eventually(t, "it is counted", func() bool { return caught.of("stuck") == 1 })
	if letters := deadLetters(t, b); len(letters) != 1 {
		t.Errorf("letters: %+v", letters)
	}
}

func TestTheSweepLeavesAloneWhatIsUnderWayOrWaits(t *testing.T) {
	t.Parallel()
	b, caught := bustest.New(t), &rescues{}
	begun, finish := make(chan string, 10), make(chan struct{})
	h := fakeHandler{buried: make(chan *fault.Fault, 10), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		begun <- e.Mailbox
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return nil, nil
	}}
	lane := registerLane(h)
	lane.Window, lane.Fleet = 2, 2
	serve(t, b, bus.ServeConfig{Rescuer: caught}, lane)
	for _, mb := range []string{"mb1", "mb2", "mb3", "mb4", "mb5"} {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb6").Later(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_ = receive(t, begun, "beginning")
	}
	for range 3 {
		if err := bus.SweepOnce(t.Context(), b, bus.ServeConfig{Rescuer: caught}, lane); err != nil {
			t.Fatal(err)
		}
	}
	close(finish)
	waiting(t, b, "REGISTER", 0)
	waiting(t, b, "TIMERS_WARMY", 1)
	if letters := deadLetters(t, b); len(letters) != 0 || caught.of("stuck") != 0 {
		t.Errorf("letters: %+v; caught: %v", letters, caught.count)
	}
}

func TestAMessageThatWasTerminatedByHandIsMadeAnewFromTheFacts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh)
	ids := f.consents(t, "term", 1)
	waiting(t, f.bus, "REGISTER", 1)
	lane := registerLane(dying())
	if err := bus.MakeConsumer(t.Context(), f.bus, lane, "REGISTER"); err != nil {
		t.Fatal(err)
	}
	if err := bus.Terminate(t.Context(), f.bus, "REGISTER", "register-main"); err != nil {
		t.Fatal(err)
	}
	waiting(t, f.bus, "REGISTER", 0)
	waiting(t, f.bus, "ADVISORIES", 1)
	f.serve(t, events.Register, events.Reconcile)
	f.restoring(t, time.Millisecond)
	f.reaches(t, ids, mailbox.StateRegistered)
	f.onceEach(t, ids)
	waiting(t, f.bus, "ADVISORIES", 0)
	if f.count("terminated") != 1 || f.count("event_restored") != 1 {
		t.Errorf("caught: %v", f.rescued)
	}
}

func TestWhatIsStuckAndNoEventIsBuriedToo(t *testing.T) {
	t.Parallel()
	b, h := bustest.New(t), dying()
	consumersOf(t, b, registerLane(h), "REGISTER", "register-main")
	if err := bus.PublishRaw(t.Context(), b, "kindling.register.main.s0.mb1", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	silence(t, b, "REGISTER", "register-main")
	serve(t, b, bus.ServeConfig{}, registerLane(h))
	waiting(t, b, "REGISTER", 0)
	if letters := deadLetters(t, b); len(letters) != 1 || string(letters[0].Payload()) != "no event" {
		t.Errorf("letters: %+v", letters)
	}
}

// The sweep finds two stuck messages. The first is of a newer version and stays; the second must be rescued all the same.
func TestOneStuckMessageOfANewerVersionDoesNotKeepTheOthersStuck(t *testing.T) {
	t.Parallel()
	b, h := bustest.New(t), dying()
	lane := registerLane(h)
	consumersOf(t, b, lane, "REGISTER", "register-main")
	if err := bus.PublishRaw(t.Context(), b, "kindling.register.main.s0.mb0", []byte(`{"v":2,"id":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	if err := bus.LimitByHand(t.Context(), b, "REGISTER", "register-main", 2, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	taken := 0
	eventually(t, "the server gives up", func() bool {
		n, err := bus.TakeAndForget(t.Context(), b, "REGISTER", "register-main")
		taken += n
		return err == nil && taken == 4
	})
	eventually(t, "nothing is delivered any more", func() bool {
		n, err := bus.TakeAndForget(t.Context(), b, "REGISTER", "register-main")
		return err == nil && n == 0
	})
	if err := bus.LimitByHand(t.Context(), b, "REGISTER", "register-main", -1, bus.AckWait); err != nil {
		t.Fatal(err)
	}
	if err := bus.SweepOnce(t.Context(), b, bus.ServeConfig{}, lane); err == nil {
		t.Error("the sweep does not say that it left something")
	}
	if letters := deadLetters(t, b); len(letters) != 1 {
		t.Errorf("%d dead letters after a sweep: mb1 is stuck behind a message of a newer version", len(letters))
	}
}
