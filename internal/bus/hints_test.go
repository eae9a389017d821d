package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// watcher looks at what hints say, and answers as a test wants.
type watcher struct {
	answer func(events.Hint) ([]events.Event, error) // nil: all is well
	takes  time.Duration

	mu        sync.Mutex
	looked    []events.Hint
	at        []time.Time
	now, most int // looks at a time
}

func (w *watcher) look(_ context.Context, h events.Hint) ([]events.Event, error) {
	w.mu.Lock()
	w.looked, w.at = append(w.looked, h), append(w.at, time.Now())
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	time.Sleep(w.takes) // of a bubble
	w.mu.Lock()
	w.now--
	w.mu.Unlock()
	if w.answer == nil {
		return nil, nil
	}
	return w.answer(h)
}

// looks are the hints that were looked at.
func (w *watcher) looks() []events.Hint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.looked)
}

// heed lets w look until the test ends.
func heed(t *testing.T, b *bus.Bus, w *watcher) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Heed(ctx, w.look) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("heed: %v", err)
		}
	})
}

func hint(t *testing.T, b *bus.Bus, id, webhook string, age time.Duration) events.Hint {
	t.Helper()
	h := events.NewHint("main", id, webhook, time.Now().Add(-age))
	if err := b.Hints().Publish(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	return h
}

func hintsLeft(t *testing.T, b *bus.Bus) uint64 {
	t.Helper()
	n, err := bus.Waiting(t.Context(), b, "HINTS")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func failure(class fault.Class, after time.Duration) error {
	return &fault.Fault{Class: class, Code: "code", Cause: "c", Remedy: "r", Forecast: fault.ByTime, After: after}
}

func TestAHintIsLookedAtOnceTheLatestOfEachMailbox(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		hint(t, b, "w1", "first", 0)
		last := hint(t, b, "w1", "second", 0)
		other := hint(t, b, "w2", "third", 0)
		hint(t, b, "w2", "third", 0) // Warmy sends a webhook again
		w := &watcher{}
		heed(t, b, w)
		time.Sleep(time.Second)
		hint(t, b, "w2", "third", 0)
		time.Sleep(10 * time.Minute)
		looked := w.looks()
		if len(looked) != 2 || !slices.Contains(looked, last) || !slices.Contains(looked, other) || hintsLeft(t, b) > 0 {
			t.Errorf("looked at %+v, %d are left", looked, hintsLeft(t, b))
		}
	})
}

func TestALookThatFailsIsTakenAgainUntilItCannotHelp(t *testing.T) { //nolint:paralleltest // a bubble
	for name, c := range map[string]struct { //nolint:paralleltest // bubbles
		fails int // looks that fail
		err   error
		age   time.Duration
		want  int
		pause time.Duration // between the first two looks, at least
	}{
		"it passes":       {fails: 1, err: failure(fault.Transient, 0), want: 2, pause: time.Minute},
		"it has to wait":  {fails: 1, err: failure(fault.RetryAfter, 7*time.Minute), want: 2, pause: 7 * time.Minute},
		"it never helps":  {fails: 99, err: failure(fault.Permanent, 0), want: 1},
		"it is too old":   {fails: 99, err: failure(fault.Transient, 0), age: 7 * time.Hour, want: 1},
		"it gets too old": {fails: 99, err: failure(fault.Transient, 0), age: 6*time.Hour - 150*time.Second, want: 4, pause: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				b := bustest.New(t)
				failed := 0
				w := &watcher{answer: func(events.Hint) ([]events.Event, error) {
					if failed++; failed <= c.fails {
						return nil, c.err
					}
					return nil, nil
				}}
				time.Sleep(c.age) // a bubble begins at the dawn of all hints
				hint(t, b, "w1", "first", c.age)
				heed(t, b, w)
				time.Sleep(time.Hour)
				if n := len(w.looks()); n != c.want || hintsLeft(t, b) > 0 {
					t.Fatalf("%d looks, want %d; %d hints are left", n, c.want, hintsLeft(t, b))
				}
				if c.want > 1 && w.at[1].Sub(w.at[0]) < c.pause {
					t.Errorf("taken again after %v", w.at[1].Sub(w.at[0]))
				}
			})
		})
	}
}

func TestWhatIsNoHintIsDropped(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		foreign, err := events.NewHint("main", "w1", "first", time.Now()).Encode()
		if err != nil {
			t.Fatal(err)
		}
		for subject, payload := range map[string][]byte{"kindling.hint.main.w1": []byte("{"), "kindling.hint.main.w2": foreign, "kindling.hint.x": {}} {
			if err := bus.PublishRaw(t.Context(), b, subject, payload); err != nil {
				t.Fatal(err)
			}
		}
		w := &watcher{}
		heed(t, b, w)
		good := hint(t, b, "w3", "second", 0)
		time.Sleep(time.Minute)
		if looked := w.looks(); !slices.Equal(looked, []events.Hint{good}) || hintsLeft(t, b) > 0 {
			t.Errorf("looked at %+v, %d are left", looked, hintsLeft(t, b))
		}
	})
}

func TestWhatFollowsFromAHintIsPublished(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		heed(t, b, &watcher{answer: func(events.Hint) ([]events.Event, error) {
			return []events.Event{event(events.RegistrationRequested, mailboxOf(1))}, nil
		}})
		handled := make(chan string, 1)
		serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: fakeHandler{
			handle: func(_ context.Context, e events.Event) ([]events.Event, error) { handled <- e.Mailbox; return nil, nil },
		}})
		hint(t, b, "w1", "first", 0)
		time.Sleep(time.Minute) // until all lanes are served
		if got := receive(t, handled, "event"); got != mailboxOf(1) {
			t.Errorf("mailbox %s", got)
		}
	})
}

// TestTwoLooksAreTakenAtATimeAndNoHintWaitsBehindThem holds looks so long that a hint which lay ready meanwhile would be
// delivered a second time.
func TestTwoLooksAreTakenAtATimeAndNoHintWaitsBehindThem(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		for i := range 8 {
			hint(t, b, fmt.Sprint("w", i), fmt.Sprint("ev", i), 0)
		}
		w := &watcher{takes: 80 * time.Second}
		heed(t, b, w)
		time.Sleep(20 * time.Minute)
		if n := len(w.looks()); w.most != 2 || n != 8 || hintsLeft(t, b) > 0 {
			t.Errorf("%d looks, %d at a time; %d hints are left", n, w.most, hintsLeft(t, b))
		}
	})
}

func TestNoLookIsTakenWhileTheLegOfItsAccountIsHeld(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		if err := b.Legs().Hold(t.Context(), "warmy/main", "why", "op"); err != nil {
			t.Fatal(err)
		}
		hint(t, b, "w1", "first", 0)
		w := &watcher{}
		heed(t, b, w)
		time.Sleep(time.Hour)
		if n := len(w.looks()); n != 0 || hintsLeft(t, b) != 1 {
			t.Errorf("%d looks; %d hints are left", n, hintsLeft(t, b))
		}
		if err := b.Legs().Release(t.Context(), "warmy/main", "op"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if n := len(w.looks()); n != 1 || hintsLeft(t, b) > 0 {
			t.Errorf("after the release: %d looks; %d hints are left", n, hintsLeft(t, b))
		}
	})
}

// TestACallThatNoLaneMakesEndsWhenTheLegIsHeld has a call that no lane makes wait for its turn.
func TestACallThatNoLaneMakesEndsWhenTheLegIsHeld(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: fakeHandler{}})
		time.Sleep(time.Second)
		pacer := b.Pacer(map[string]int{"main": 1})
		if err := pacer.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		began, waited := time.Now(), make(chan error, 1)
		go func() { waited <- pacer.Wait(t.Context(), "main") }()
		time.Sleep(10 * time.Second)
		if err := b.Legs().Hold(t.Context(), "warmy/main", "why", "op"); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; !fault.Is(err, fault.LegDown) || time.Since(began) > 15*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := pacer.Wait(t.Context(), "main"); !fault.Is(err, fault.LegDown) {
			t.Errorf("while it is held: %v", err)
		}
	})
}
