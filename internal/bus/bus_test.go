package bus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// fakeHandler does what a test says.
type fakeHandler struct {
	handle func(ctx context.Context, e events.Event) ([]events.Event, error)
	buried chan *fault.Fault
}

func (h fakeHandler) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	return h.handle(ctx, e)
}

func (h fakeHandler) Bury(_ context.Context, _ events.Event, f *fault.Fault) error {
	h.buried <- f
	return nil
}

func event(kind events.Kind, mb string) events.Event {
	e := events.New(kind, "seed|"+mb, time.Now())
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = mb, "main", "main", "campus", "att"
	if kind == events.CodeReceived {
		e.Sealed = []byte("sealed")
	}
	return e
}

var quick = bus.Policy{Attempts: 3, Base: time.Millisecond, Cap: 5 * time.Millisecond, Crashes: 5}

// serve runs lanes until the test ends.
func serve(t *testing.T, b *bus.Bus, cfg bus.ServeConfig, lanes ...bus.Lane) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, cfg, lanes...) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		t.Fatalf("no %s within 20 s", what)
		panic("unreachable")
	}
}

func deadLetters(t *testing.T, b *bus.Bus) []events.DeadLetter {
	t.Helper()
	var all []events.DeadLetter
	err := b.DeadLetters().Each(t.Context(), func(d events.DeadLetter) bool { all = append(all, d); return true })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAnEventIsHandledAndWhatFollowsIsHandledToo(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	registered := make(chan events.Event, 1)
	redeem := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		return []events.Event{e.Follow(events.RegistrationRequested, time.Now())}, nil
	}}
	register := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		registered <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{},
		bus.Lane{Lane: events.Code, Leg: "main", Window: 4, Policy: quick, Handler: redeem},
		bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: register})
	e := event(events.CodeReceived, "mb1")
	if err := b.Publish(t.Context(), e, e); err != nil { // twice: the stream recognises the second
		t.Fatal(err)
	}
	got := receive(t, registered, "registration")
	if got.Mailbox != "mb1" || got.ID != e.Follow(events.RegistrationRequested, time.Now()).ID {
		t.Errorf("followed by %+v", got)
	}
}

func TestATransientFailureIsTriedAgainAndThenBuriedWithItsHistory(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var calls atomic.Int32
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(context.Context, events.Event) ([]events.Event, error) {
		calls.Add(1)
		return nil, &fault.Fault{Class: fault.Transient, Code: "warmy_500", Cause: "Warmy failed", Remedy: "wait", Forecast: fault.ByTime}
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	if f := receive(t, h.buried, "burial"); f.Code != "warmy_500" {
		t.Errorf("buried for %v", f)
	}
	if calls.Load() != 3 {
		t.Errorf("%d calls, want the policy's 3", calls.Load())
	}
	letters := deadLetters(t, b)
	if len(letters) != 1 || len(letters[0].Tries) != 3 || letters[0].Forecast != "by_time" || letters[0].Mailbox != "mb1" {
		t.Fatalf("dead letters: %+v", letters)
	}
}

func TestAReplayedDeadLetterIsHandledAgainAndGone(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var healed atomic.Bool
	done := make(chan events.Event, 1)
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		if !healed.Load() {
			return nil, &fault.Fault{Class: fault.Permanent, Code: "warmy_422", Forecast: fault.ByConfig}
		}
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, h.buried, "burial")
	healed.Store(true)
	seq := deadLetters(t, b)[0].Seq
	if err := b.DeadLetters().Replay(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, done, "replayed event"); len(e.Tries) != 0 {
		t.Errorf("replayed with %d old failures", len(e.Tries))
	}
	if err := b.DeadLetters().Replay(t.Context(), seq); !errors.Is(err, bus.ErrNoDeadLetter) {
		t.Errorf("second replay: %v", err)
	}
	if left := deadLetters(t, b); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestAPanicIsCountedAndBuriedAndOthersFlow(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	others := make(chan string, 10)
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		if e.Mailbox == "poison" {
			panic("boom")
		}
		others <- e.Mailbox
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "poison"), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	receive(t, others, "healthy event")
	if f := receive(t, h.buried, "burial"); f.Code != "panic" {
		t.Errorf("buried for %v", f)
	}
}

func TestALegThatIsDownIsHeldAndBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var down atomic.Bool
	down.Store(true)
	var calls atomic.Int32
	done := make(chan events.Event, 20)
	h := fakeHandler{buried: make(chan *fault.Fault, 20), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		calls.Add(1)
		leg.Asked(ctx, false)
		if down.Load() {
			return nil, &fault.Fault{Class: fault.LegDown, Code: "warmy_401", Cause: "our credentials are refused"}
		}
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{HoldFor: 300 * time.Millisecond}, bus.Lane{Lane: events.Register, Leg: "main", Window: 8, Policy: quick, Handler: h})
	for _, mb := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the leg is held", func() bool {
		legs, err := b.Legs().List(t.Context())
		return err == nil && len(legs) == 1 && legs[0].State != leg.Open && legs[0].Code == "warmy_401"
	})
	down.Store(false)
	for range 10 {
		if e := receive(t, done, "event after the outage"); len(e.Tries) != 0 {
			t.Errorf("an attempt was burnt: %+v", e.Tries)
		}
	}
	if len(deadLetters(t, b)) != 0 || calls.Load() > 10+8+5 {
		t.Errorf("%d calls for 10 events", calls.Load())
	}
	eventually(t, "the leg is open", func() bool {
		legs, err := b.Legs().List(t.Context())
		return err == nil && legs[0].State == leg.Open
	})
}

func TestAnOperatorsHoldStopsALegUntilItsRelease(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	done := make(chan events.Event, 1)
	h := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	eventually(t, "the consumers exist", func() bool {
		legs, err := b.Legs().List(t.Context())
		return err == nil && len(legs) == 1
	})
	if err := b.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
		t.Fatal(err)
	}
	two, err := b.Legs().Of(t.Context(), "warmy/main", "microsoft/unserved")
	if err != nil || len(two) != 2 || two[0].State != leg.Held || two[0].Cause != "maintenance" || two[1] != (leg.Leg{Name: "microsoft/unserved", State: leg.Open}) {
		t.Errorf("%+v: %v", two, err)
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-done:
		t.Fatalf("%s was handled although its leg is held", e.Mailbox)
	case <-time.NewTimer(300 * time.Millisecond).C:
	}
	if err := b.Legs().Release(t.Context(), "warmy/main", "op"); err != nil {
		t.Fatal(err)
	}
	receive(t, done, "event after the release")
}

func TestAMessageThatIsNoEventIsBuriedNotDropped(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
		t.Error("a message that is no event was handled")
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	valid := event(events.RegistrationRequested, "mb1")
	for _, payload := range []string{"", "x", "null", "[]", `{"v":1}`, `{"v":1,"kind":"code.received"} trailing`} {
		if err := bus.PublishRaw(t.Context(), b, valid.Subject(), []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "six dead letters", func() bool { return len(deadLetters(t, b)) == 6 })
}

func TestATimerComesDue(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	done := make(chan events.Event, 1)
	h := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Reconcile, Leg: "main", Window: 4, Policy: quick, Handler: h})
	at := time.Now().Add(1200 * time.Millisecond)
	if err := b.Publish(t.Context(), event(events.RegistrationUnclear, "mb1").Later(at)); err != nil {
		t.Fatal(err)
	}
	receive(t, done, "due event")
	if time.Now().Before(at) {
		t.Error("the timer came due too early")
	}
}

func TestOneOfManyWinsACompareAndSet(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var wins, conflicts atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := b.Claims().Save(t.Context(), "mb1", mailbox.Claim{Attempts: []mailbox.Attempt{{ID: string(rune('a' + i))}}}, 0)
			switch {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, handlers.ErrConflict):
				conflicts.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 || conflicts.Load() != 15 {
		t.Errorf("%d wins, %d conflicts", wins.Load(), conflicts.Load())
	}
}

func TestThePacerNeverExceedsItsBudgetOverTwoProcesses(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		first, second := bustest.Connect(t, s), bustest.Connect(t, s)
		var mu sync.Mutex
		var calls []time.Time
		var wg sync.WaitGroup
		const perMinute, perWorker = 1200, 15 // one each 50 ms
		for _, b := range []*bus.Bus{first, second} {
			pacer := b.Pacer(map[string]int{"main": perMinute})
			for range 3 {
				wg.Go(func() {
					for range perWorker / 3 {
						if err := pacer.Wait(t.Context(), "main"); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						calls = append(calls, time.Now())
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		least := time.Duration(2*perWorker-1) * 50 * time.Millisecond
		if took := calls[len(calls)-1].Sub(calls[0]); took < least {
			t.Errorf("%d calls in %v: faster than %d a minute", len(calls), took, perMinute)
		}
	})
}

func TestExistingStreamsWithOtherSettingsAreReported(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := bus.AlterStream(t.Context(), b, "CODE"); err != nil {
		t.Fatal(err)
	}
	drifts, err := b.Ensure(t.Context())
	if err != nil || len(drifts) != 1 || drifts[0].Setting != "max_bytes" {
		t.Fatalf("drifts %v, %v", drifts, err)
	}
}

func TestShutdownLetsARunningHandlerFinish(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	started, finish, finished := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h := fakeHandler{handle: func(ctx context.Context, _ events.Event) ([]events.Event, error) {
		close(started)
		<-finish
		finished <- ctx.Err()
		return nil, nil
	}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.Serve(ctx, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	}()
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	receive(t, started, "start")
	stop()
	close(finish)
	if err := receive(t, finished, "end"); err != nil {
		t.Errorf("the handler's context ended while it ran: %v", err)
	}
	if err := receive(t, done, "end of Serve"); err != nil {
		t.Error(err)
	}
	if n, err := bus.Waiting(context.Background(), b, "REGISTER"); err != nil || n != 0 {
		t.Errorf("%d messages left, %v", n, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestOrderlyRestartsNeverLookLikeACrashLoop(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	began, done := make(chan struct{}, 1), make(chan events.Event, 1)
	var slow atomic.Bool
	slow.Store(true)
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		if slow.Load() {
			began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		done <- e
		return nil, nil
	}}
	lane := bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h}
	// run serves until stop, which fails the test unless Serve ends well.
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Serve(ctx, bus.ServeConfig{Drain: 10 * time.Millisecond}, lane) }()
		return func() {
			cancel()
			if err := receive(t, ended, "end of Serve"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	for range 3 * quick.Crashes { // every stop cuts the handler off, and the event is given back
		stop := run()
		receive(t, began, "beginning")
		stop()
	}
	slow.Store(false)
	stop := run()
	receive(t, done, "event")
	if letters := deadLetters(t, b); len(letters) != 0 {
		t.Errorf("buried: %+v", letters)
	}
	stop()
}

func TestTwoPacersNeverHandOutTheSameSlot(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	var mu sync.Mutex
	seen := make(map[time.Time]int)
	var wg sync.WaitGroup
	for range 4 {
		b := bustest.Connect(t, s)
		pacer := b.Pacer(map[string]int{"main": 600})
		wg.Go(func() {
			for range 5 {
				slot, err := bus.TakeSlot(t.Context(), pacer, "main")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[slot]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 20 {
		t.Errorf("20 calls got %d distinct slots", len(seen))
	}
}

func TestAReplayedReconciliationComesDue(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var healed atomic.Bool
	done := make(chan events.Event, 1)
	h := fakeHandler{buried: make(chan *fault.Fault, 1), handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		if !healed.Load() {
			return nil, &fault.Fault{Class: fault.Permanent, Code: "warmy_never_listed", Forecast: fault.ByTime}
		}
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Reconcile, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationUnclear, "mb1")); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, h.buried, "burial")
	healed.Store(true)
	if err := b.DeadLetters().Replay(t.Context(), deadLetters(t, b)[0].Seq); err != nil {
		t.Fatal(err)
	}
	receive(t, done, "replayed reconciliation")
}

func TestAnOperatorsHoldOutlivesAProbeThatEndsLater(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	probing, finish := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
		if calls.Add(1) == 1 {
			return nil, &fault.Fault{Class: fault.LegDown, Code: "warmy_401", After: 200 * time.Millisecond}
		}
		close(probing)
		<-finish
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	receive(t, probing, "probe")
	if err := b.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
		t.Fatal(err)
	}
	close(finish)
	eventually(t, "the probed event is acknowledged", func() bool { return bus.Parked(t.Context(), b) == 0 })
	legs, err := b.Legs().List(t.Context())
	if err != nil || len(legs) != 1 || legs[0].State != leg.Held || legs[0].By != "op" {
		t.Errorf("the leg is %+v, %v", legs, err)
	}
}

func TestALaneGoesOnAfterItsConsumerWasDeleted(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	done := make(chan events.Event, 2)
	h := fakeHandler{handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		done <- e
		return nil, nil
	}}
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	receive(t, done, "event")
	eventually(t, "the event is acknowledged", func() bool {
		n, err := bus.Waiting(t.Context(), b, "REGISTER")
		return err == nil && n == 0
	})
	if err := bus.DeleteConsumer(t.Context(), b, "REGISTER", "register-main"); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb2")); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, done, "event after the consumer's deletion"); e.Mailbox != "mb2" {
		t.Errorf("handled %+v", e)
	}
}

func TestAnEventThatNeverEndsIsBuriedAndNaksAreNoCrash(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	calls := make(chan struct{}, 100)
	h := fakeHandler{buried: make(chan *fault.Fault, 2), handle: func(_ context.Context, e events.Event) ([]events.Event, error) {
		calls <- struct{}{}
		return nil, &fault.Fault{Class: fault.RetryAfter, Code: "microsoft_429", After: time.Millisecond}
	}}
	nak := quick
	nak.Nak, nak.Attempts = true, 1000
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Code, Leg: "main", Window: 4, Policy: nak, Handler: h})
	e := event(events.CodeReceived, "mb1")
	if err := b.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for range 3 * quick.Crashes {
		receive(t, calls, "delivery") // many deliveries, each of which came to its end
	}
	if err := bus.BeginWithoutEnd(t.Context(), b, e, 3); err != nil { // as processes that were killed leave it
		t.Fatal(err)
	}
	if f := receive(t, h.buried, "burial"); f.Code != "crash_loop" {
		t.Errorf("buried for %v", f)
	}
}
