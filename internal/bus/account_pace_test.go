package bus_test

import (
	"strings"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/leg"
)

// The wait that a 429 asks for is told and counted, a reduced pace rises although nobody calls, and whoever only looks on
// goes by the server's clock.
func TestAnAccountsLoadCountsTheWaitAndTheWayUp(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		b := bustest.Connect(t, s)
		if err := bus.MakeConsumer(t.Context(), b, bus.Lane{Lane: events.Register, Leg: "main", Window: 4}, "REGISTER"); err != nil {
			t.Fatal(err)
		}
		var slotted events.Event
		for i := 0; slotted.Campaign == "" || events.Slot(slotted.Campaign) != "s0"; i++ {
			slotted = of(events.RegistrationRequested, "main", 1)
			slotted.Campaign = mailboxOf(i)
		}
		if err := b.Publish(t.Context(), slotted); err != nil {
			t.Fatal(err)
		}
		looker := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(-time.Hour) })
		pacer := b.Pacer(map[string]int{"main": 60})
		for range 2 { // the second one comes soon after the wait: half the pace
			if err := pacer.Wait(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
			if err := pacer.Throttled(t.Context(), "main", time.Now(), 90*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		until := time.Now().Add(90 * time.Second)
		got := legState(t.Context(), t, looker, "warmy/main")
		if got.Waiting != 1 || got.PerMinute != 30 || got.NotBefore.Sub(until).Abs() > 2*time.Second {
			t.Errorf("during the wait: %+v", got.Load)
		}
		if want := until.Add(2 * time.Second); got.DoneAt.Sub(want).Abs() > 2*time.Second {
			t.Errorf("done at %v, want %v", got.DoneAt, want)
		}
		time.Sleep(3 * time.Minute)
		if got := legState(t.Context(), t, looker, "warmy/main"); got.PerMinute != 37.5 || !got.NotBefore.IsZero() || time.Until(got.DoneAt).Abs() > 5*time.Second {
			t.Errorf("after the wait: %+v", got.Load)
		}
		if err := looker.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
			t.Fatal(err)
		}
		if got := legState(t.Context(), t, looker, "warmy/main"); time.Since(got.Since).Abs() > time.Minute || got.State != leg.Held || !got.DoneAt.IsZero() {
			t.Errorf("held by a process whose clock is an hour behind: %+v", got)
		}
	})
}

// A console beside workers of a version with other consumers counts what these have.
func TestWhatWaitsAtTheConsumersThatThereAreIsCounted(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := bus.MakeWholeConsumer(t.Context(), b, "main"); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		e := of(events.RegistrationRequested, "main", i)
		e.Campaign = "camp" + mailboxOf(i)
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if got := legState(t.Context(), t, b, "warmy/main"); got.Waiting != 20 {
		t.Errorf("%d wait, want 20", got.Waiting)
	}
}

func TestRegistrationsThatNoConsumerTakesAreFound(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := b.Publish(t.Context(), of(events.RegistrationRequested, "main", 1)); err != nil {
		t.Fatal(err)
	}
	if found, err := b.Astray(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("of a right one: %v, %v", found, err)
	}
	for _, subject := range []string{"kindling.register.main.s16.a", "kindling.register.main.s01.a", "kindling.register.main.b", "kindling.register.Main\u0001.s1.a"} {
		if err := bus.PublishRaw(t.Context(), b, subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	found, err := b.Astray(t.Context())
	if err != nil || len(found) != 1 || found[0].Severity != bus.Unsafe || strings.Contains(found[0].What, "Main") {
		t.Fatalf("%v, %v", found, err)
	}
	for _, want := range []string{"4 registrations", "kindling.register.main.s16.>", "kindling.register.main.s01.>", "kindling.register.main.*"} {
		if !strings.Contains(found[0].What, want) {
			t.Errorf("%q is not told: %s", want, found[0].What)
		}
	}
	if strings.Contains(found[0].What, "main.*.") || strings.Contains(found[0].What, "main.s1.") {
		t.Errorf("a place is told where right ones lie, too: %s", found[0].What)
	}
}
