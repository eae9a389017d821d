package bus_test

import (
	"context"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
)

var refused = &fault.Fault{Class: fault.Permanent, Code: "warmy_422", Cause: "refused", Remedy: "correct the row", Forecast: fault.ByConfig}

// dying gives every event up.
func dying() fakeHandler {
	return fakeHandler{buried: make(chan *fault.Fault, 100), handle: func(context.Context, events.Event) ([]events.Event, error) { return nil, refused }}
}

func empty(t *testing.T, b *bus.Bus, stream string) func() bool {
	t.Helper()
	return func() bool {
		n, err := bus.Waiting(t.Context(), b, stream)
		return err == nil && n == 0
	}
}

// forget waits until the streams have forgotten the message ids they know, as they have an hour after a crash.
func forget(t *testing.T, b *bus.Bus, streams map[string]string) {
	t.Helper()
	for stream, subject := range streams {
		if err := bus.ShortMemory(t.Context(), b, stream); err != nil {
			t.Fatal(err)
		}
		id := "probe-" + time.Now().String()
		if fresh, err := bus.Forgotten(t.Context(), b, subject, id); err != nil || !fresh {
			t.Fatalf("probe of %s: fresh %v, %v", stream, fresh, err)
		}
		eventually(t, stream+" forgets", func() bool {
			fresh, err := bus.Forgotten(t.Context(), b, subject, id)
			return err == nil && fresh
		})
		if err := bus.Purge(t.Context(), b, stream, subject); err != nil {
			t.Fatal(err)
		}
	}
}

var deadMemory = map[string]string{"DEAD": "kindling.dead.probe"}

func TestADeadLetterIsNotDoubledWhenTheRedeliveryComesAfterTheDedupeWindow(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1"), event(events.RegistrationRequested, "mb2")); err != nil {
		t.Fatal(err)
	}
	if err := bus.BuryHalf(t.Context(), b, "REGISTER", 1, refused); err != nil { // and the whole fleet is gone
		t.Fatal(err)
	}
	forget(t, b, deadMemory)
	h := dying()
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	for range 2 {
		_ = receive(t, h.buried, "burial") // the fact is saved, also of the one whose letter was there
	}
	eventually(t, "the lane is empty", empty(t, b, "REGISTER"))
	letters := deadLetters(t, b)
	if len(letters) != 2 || letters[0].Mailbox == letters[1].Mailbox {
		t.Errorf("letters: %+v", letters)
	}
}

func TestTheSecondDeathOfAnotherEventOfAMailboxHasALetterOfItsOwn(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	first := event(events.RegistrationRequested, "mb1")
	second := first.Replayed(7, time.Now())
	h := dying()
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 1, Policy: quick, Handler: h})
	for _, e := range []events.Event{first, second} {
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		_ = receive(t, h.buried, "burial")
	}
	if letters := deadLetters(t, b); len(letters) != 2 {
		t.Errorf("letters: %+v", letters)
	}
}

func TestWhatIsNoEventIsBuriedOnceEvenAfterTheDedupeWindow(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for _, payload := range []string{"no json <&>", `{"v":1,"kind":"nonsense"}`} {
		if err := bus.PublishRaw(t.Context(), b, "kindling.register.main.s1.mb1", []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range uint64(2) {
		if err := bus.BuryHalf(t.Context(), b, "REGISTER", seq+1, refused); err != nil {
			t.Fatal(err)
		}
	}
	forget(t, b, deadMemory)
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: dying()})
	eventually(t, "the lane is empty", empty(t, b, "REGISTER"))
	if letters := deadLetters(t, b); len(letters) != 2 {
		t.Errorf("letters: %+v", letters)
	}
}

func TestProcessesThatBuryOneEventAtOnceLeaveOneLetter(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	forget(t, b, deadMemory) // message ids are of no help below
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 16)
	for i := range cap(done) {
		go func() {
			f := *refused
			f.Class = fault.Classes()[i%len(fault.Classes())] // in different words, so under different subjects
			done <- bus.BuryHalf(context.Background(), b, "REGISTER", 1, &f)
		}()
	}
	for range cap(done) {
		if err := receive(t, done, "burial"); err != nil {
			t.Error(err)
		}
	}
	if letters := deadLetters(t, b); len(letters) != 1 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestAReplayThatIsRepeatedAfterTheDedupeWindowLeavesOneLetterWhenBothCopiesDie(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := b.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	h := dying()
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	_ = receive(t, h.buried, "burial")
	seq := deadLetters(t, b)[0].Seq
	if err := bus.ReplayHalf(t.Context(), b, seq); err != nil { // and the console is gone
		t.Fatal(err)
	}
	_ = receive(t, h.buried, "burial of the replay")
	forget(t, b, deadMemory)
	if err := bus.ShortMemory(t.Context(), b, "REGISTER"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay is published once more", func() bool {
		if err := bus.ReplayHalf(t.Context(), b, seq); err != nil {
			t.Fatal(err)
		}
		return len(h.buried) > 0
	})
	if err := b.DeadLetters().Replay(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lane is empty", empty(t, b, "REGISTER"))
	if letters := deadLetters(t, b); len(letters) != 1 || letters[0].Seq == seq {
		t.Errorf("letters: %+v", letters)
	}
}
