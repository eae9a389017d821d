package bus_test

import (
	"context"
	"fmt"
	"testing"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
)

// TestTheConsumerOfAnOlderVersionIsNarrowedAndNothingIsLost begins with a store that an older version served: one consumer
// for all slots, which has delivered some messages to a worker that is gone.
func TestTheConsumerOfAnOlderVersionIsNarrowedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	old := bus.ConsumerWanted(events.Register, false, "main", 8)
	old.FilterSubject = events.LaneFilter(events.Register, "main")
	if err := bus.MakeConsumerAs(t.Context(), b, "REGISTER", old); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]bool)
	for i := range 48 {
		e := event(events.RegistrationRequested, fmt.Sprint("mb", i))
		e.Campaign = fmt.Sprint("campaign", i)
		want[e.Mailbox] = true
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := bus.TakeAndForget(t.Context(), b, "REGISTER", old.Durable); err != nil || n != 8 {
		t.Fatalf("%d taken, %v", n, err)
	}
	done := make(chan string, 200)
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: fakeHandler{
		handle: func(_ context.Context, e events.Event) ([]events.Event, error) { done <- e.Mailbox; return nil, nil },
	}})
	// What was taken in the first slot alone comes again only after the ack wait, from the consumer that is the same one.
	for len(want) > 8 {
		delete(want, receive(t, done, "event of every slot"))
	}
	for slot := range events.Slots {
		name := "register-main"
		if slot > 0 {
			name = fmt.Sprintf("register_s%d-main", slot)
		}
		if !bus.HasConsumer(t.Context(), b, "REGISTER", name) {
			t.Errorf("no consumer %s", name)
		}
	}
	plan, err := b.MigrationPlan(t.Context())
	if err != nil || len(plan.Steps) > 0 {
		t.Errorf("the store is not as it should be: %+v, %v", plan.Steps, err)
	}
}

func TestAHeldLegPausesEverySlot(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: fakeHandler{}})
	eventually(t, "the last slot has its consumer", func() bool { return bus.HasConsumer(t.Context(), b, "REGISTER", "register_s15-main") })
	eventually(t, "the timers have theirs", func() bool { return bus.HasConsumer(t.Context(), b, "TIMERS_WARMY", "due-register-main") })
	for _, paused := range []bool{true, false} {
		err := b.Legs().Release(t.Context(), "warmy/main", "op")
		if paused {
			err = b.Legs().Hold(t.Context(), "warmy/main", "why", "op")
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"register-main", "register_s1-main", "register_s15-main"} {
			if got, err := bus.IsPaused(t.Context(), b, "REGISTER", name); err != nil || got != paused {
				t.Errorf("%s is paused: %v (%v), want %v", name, got, err, paused)
			}
		}
	}
}
