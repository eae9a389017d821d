package bus_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/secret"
	"kindling/internal/sim/warmyapi"
	"kindling/internal/warmy"
)

// These tests let the census, the pacer and the gates work together, at the simulated Warmy.

// inside hands requests to a server without a network, whose waits would stop a bubble's time.
type inside struct{ http.Handler }

func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

// simulated is a Warmy with so many mailboxes, and a client of it at a pace; 0: not paced.
func simulated(t *testing.T, b *bus.Bus, boxes, perMinute int) (*warmyapi.Server, *warmy.Prober) {
	t.Helper()
	server := warmyapi.New(warmyapi.Config{HolderUID: "holder", APIKeys: []string{"key"}, Switches: warmyapi.Switches{CallsPerMinute: -1}})
	account := warmy.Account{Name: "main", BaseURL: "http://warmy.example", APIKey: secret.New("key"), HolderUID: "holder"}
	client := func(pace warmy.Pacer) *warmy.Client {
		return warmy.New(warmy.Config{Accounts: []warmy.Account{account}, Transport: inside{server}, Pace: pace})
	}
	for i := range boxes {
		m := handlers.NewMailbox{
			Address: fmt.Sprintf("other%d@example.com", i), FromName: "n", ClientID: "c", ClientSecret: secret.New("s"),
			Access: secret.New("a"), Refresh: secret.New("r"), TariffPlanTypeID: 41, SpeedMode: "fast",
		}
		if _, err := client(nil).Create(t.Context(), "main", m); err != nil {
			t.Fatal(err)
		}
	}
	return server, warmy.NewProber(client(b.Pacer(map[string]int{"main": perMinute})), 0)
}

// callsOf are those that were answered, or not, in all.
func callsOf(s *warmyapi.Server, op string) (n int) {
	for _, count := range s.Summary().Calls[op] {
		n += count
	}
	return n
}

// TestListingsYieldToRegistrations has more mailboxes at Warmy than a listing of the whole account would pay for: each
// unclear one is looked up, and each look is a call.
func TestListingsYieldToRegistrations(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		server, guarded := simulated(t, b, 100*unclearBoxes+1, 60)
		unclear(t, b)
		for i := range 400 {
			if err := b.Publish(t.Context(), of(events.RegistrationRequested, "main", i)); err != nil {
				t.Fatal(err)
			}
		}
		var handled atomic.Int32
		var posts atomic.Int32
		register := fakeHandler{handle: func(ctx context.Context, _ events.Event) ([]events.Event, error) {
			defer posts.Add(1)
			return nil, guarded.Activate(ctx, "main", "1001") // a call that costs no listing
		}}
		cfg, reconcile := settler(b, "worker", guarded, &handled)
		serve(t, b, cfg, reconcile, bus.Lane{Lane: events.Register, Leg: "main", Window: 32, Policy: quick, Handler: register})
		before := callsOf(server, warmyapi.OpList)
		time.Sleep(2 * time.Minute)
		lists, registered := callsOf(server, warmyapi.OpList)-before, int(posts.Load())
		if all := lists + registered; all < 110 || lists < all/4-6 || lists > all/4+6 {
			t.Errorf("%d listings beside %d registrations in two minutes", lists, registered)
		}
	})
}

// TestNoListingIsCalledForWhileAnOperatorHoldsTheLeg holds it while many wait for the listing.
func TestNoListingIsCalledForWhileAnOperatorHoldsTheLeg(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		server, guarded := simulated(t, b, 100*unclearBoxes+1, 12)
		unclear(t, b)
		var handled atomic.Int32
		cfg, lane := settler(b, "worker", guarded, &handled)
		serve(t, b, cfg, lane)
		time.Sleep(16 * time.Second)
		before := callsOf(server, warmyapi.OpList)
		if before < 2 || before > 6 {
			t.Fatalf("%d calls in 16 s, at 12 a minute", before)
		}
		if err := b.Legs().Hold(t.Context(), "warmy/main", "why", "op"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // a call that had its turn may be under way
		held, waited := callsOf(server, warmyapi.OpList), handled.Load()
		time.Sleep(10 * time.Minute)
		if n := callsOf(server, warmyapi.OpList) - held; n > 0 || held > before+1 || handled.Load() > waited {
			t.Errorf("%d calls while the leg was held, %d at its beginning, %d handled anew", n, held-before, handled.Load()-waited)
		}
		if err := b.Legs().Release(t.Context(), "warmy/main", "op"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := callsOf(server, warmyapi.OpList) - held; n < 10 {
			t.Errorf("%d calls in the minute after the release", n)
		}
	})
}

// TestAMailboxThatIsToBeSettledProbesAsAnyOther has no registrations: the census alone finds out that Warmy is back.
func TestAMailboxThatIsToBeSettledProbesAsAnyOther(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.New(t)
		server, guarded := simulated(t, b, 100*unclearBoxes+1, 60)
		unclear(t, b)
		f := &fault.Fault{Class: fault.LegDown, Code: "breaker_open", Cause: "c"}
		if err := bus.HoldFor(t.Context(), b, "warmy/main", f, 4*time.Second); err != nil {
			t.Fatal(err)
		}
		server.Turn(warmyapi.Switches{CallsPerMinute: -1, Outage: http.StatusBadGateway})
		var handled atomic.Int32
		cfg, lane := settler(b, "worker", guarded, &handled)
		lane.Outage = 4 * time.Second
		serve(t, b, cfg, lane)
		time.Sleep(time.Minute)
		if pings, lists := callsOf(server, warmyapi.OpPlans), callsOf(server, warmyapi.OpList); pings < 8 || pings > 16 || lists > 0 {
			t.Errorf("%d probes and %d listings in a minute of an outage", pings, lists)
		}
		server.Turn(warmyapi.Switches{CallsPerMinute: -1})
		time.Sleep(12 * time.Second)
		if n := callsOf(server, warmyapi.OpList); n < 3 {
			t.Errorf("%d listings in the 12 s after the outage", n)
		}
	})
}
