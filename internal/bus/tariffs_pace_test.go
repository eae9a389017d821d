package bus_test

import (
	"context"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/campaign"
	"kindling/internal/events"
)

// TestPlansAreKnownSoonInAnAccountThatIsFull has registrations, listings and three looks for webhooks always wait for their turn.
func TestPlansAreKnownSoonInAnAccountThatIsFull(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		pacer := b.Pacer(map[string]int{"main": 55})
		call := fakeHandler{handle: func(ctx context.Context, _ events.Event) ([]events.Event, error) { return nil, pacer.Wait(ctx, "main") }}
		for i := range 300 {
			if err := b.Publish(t.Context(), of(events.RegistrationRequested, "main", i), of(events.RegistrationUnclear, "main", 1000+i)); err != nil {
				t.Fatal(err)
			}
		}
		serve(t, b, bus.ServeConfig{},
			bus.Lane{Lane: events.Register, Leg: "main", Window: 16, Policy: quick, Handler: call},
			bus.Lane{Lane: events.Reconcile, Leg: "main", Window: 16, Policy: quick, Handler: call})
		for range 3 {
			go func() {
				for pacer.Wait(t.Context(), "main") == nil {
				}
			}()
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		err := b.TariffPlans().Refresh(t.Context(), "main", 10*time.Minute, func(ctx context.Context, account string) ([]campaign.Plan, error) {
			return []campaign.Plan{{ID: 41}}, pacer.Wait(ctx, account)
		})
		if took := time.Since(began); err != nil || took > 3*time.Second {
			t.Errorf("the look-up took %v, %v", took, err)
		}
	})
}
