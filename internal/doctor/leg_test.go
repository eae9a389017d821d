package doctor_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/doctor"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/sim/warmyapi"
)

// refused is a worker whose account refuses its credentials.
type refused struct{}

func (refused) Handle(context.Context, events.Event) ([]events.Event, error) {
	return nil, &fault.Fault{Class: fault.LegDown, Code: "warmy_401", Cause: "our credentials are refused"}
}

func (refused) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

// serve lets a worker serve the account main, until the test ends, and waits until its leg is there.
func serve(t *testing.T, b *bus.Bus) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		policy := bus.Policy{Attempts: 3, Base: time.Millisecond, Cap: 5 * time.Millisecond, Crashes: 5}
		done <- b.Serve(ctx, bus.ServeConfig{HoldFor: time.Hour}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: policy, Handler: refused{}})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	until(t, "the account is served", func() bool {
		legs, err := b.Legs().List(t.Context())
		return err == nil && len(legs) == 1
	})
}

// until waits until the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("it never came true that %s", what)
		case <-tick.C:
		}
	}
}

func publish(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	for i := range n {
		e := events.New(events.RegistrationRequested, fmt.Sprintf("seed|%d", i), time.Now())
		e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = fmt.Sprintf("mb%d", i), "main", "main", "camp", "att"
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// What an operator holds the doctor does not call, and says so. What waits is told beside what is left of the budget.
func TestAnOperatorsHoldIsToldAndKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	b, _ := r.store()
	serve(t, b)
	if err := b.Legs().Hold(t.Context(), "warmy/main", "plan change tonight", "ada"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, 3)
	found := r.examine()
	found.want(t, doctor.Warn, "account", "main leg", "warmy/main is held by the operator ada", "plan change tonight")
	found.want(t, doctor.Skipped, "account", "main", "an operator holds the leg", "nothing was learned of the credentials")
	found.want(t, doctor.OK, "account", "main budget", "of the next minute's 55 calls 52 are left beside the 3 mailboxes that wait")
	if calls := r.warmy.Summary().Calls[warmyapi.OpPlans]; len(calls) != 0 {
		t.Errorf("Warmy was called: %v", calls)
	}
}

// What a fault holds the doctor calls: whether that is mended is the question.
func TestALegThatAFaultHoldsIsToldAndAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	b, _ := r.store()
	serve(t, b)
	publish(t, b, 1)
	until(t, "the leg is held", func() bool {
		legs, err := b.Legs().Of(t.Context(), "warmy/main")
		return err == nil && legs[0].State == leg.Held
	})
	found := r.examine()
	found.want(t, doctor.Warn, "account", "main leg", "warmy/main is held by the fault", "our credentials are refused")
	found.want(t, doctor.OK, "account", "main", "accepts the credentials")
}
