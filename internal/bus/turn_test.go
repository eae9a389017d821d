package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/warmy"
)

// listed is a Warmy account with one page of mailboxes that counts its listings.
type listed struct {
	boxes []warmy.Item
	calls atomic.Int32
	hold  chan struct{} // the first listing waits until it is closed; nil: it does not
}

func (l *listed) List(ctx context.Context, _, _ string, n int) (warmy.Page, error) {
	if l.calls.Add(1) == 1 && l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return warmy.Page{}, context.Cause(ctx)
		}
	}
	return warmy.Page{Items: l.boxes, Current: n, Total: 1, Count: len(l.boxes), Last: true}, nil
}

func (l *listed) Find(context.Context, string, string) (string, bool, error) {
	l.calls.Add(1)
	return "", false, nil
}

const unclearBoxes = 40

// unclear stores mailboxes whose POSTs nobody answered, and the events that settle them. Warmy has every second one.
func unclear(t *testing.T, b *bus.Bus) *listed {
	t.Helper()
	at := time.Now().Add(-time.Minute)
	l := &listed{}
	var evs []events.Event
	for i := range unclearBoxes {
		id := mailboxOf(i)
		inv := mailbox.Invitation{ID: id, App: "main", Account: "main", Campaign: "camp", Address: id + "@example.com", InvitedAt: at, LinkExpiresAt: at.Add(24 * time.Hour)}
		if _, err := b.Invitations(maskBox{}).Save(t.Context(), id, inv, 0); err != nil {
			t.Fatal(err)
		}
		reg := mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "att", Posts: 1, Since: at}
		if _, err := b.Registrations().Save(t.Context(), id, reg, 0); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			l.boxes = append(l.boxes, warmy.Item{ID: fmt.Sprintf("w%d", i), Email: inv.Address})
		}
		evs = append(evs, event(events.RegistrationUnclear, id))
	}
	if err := b.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	return l
}

// settler is a process that settles unclear mailboxes.
func settler(b *bus.Bus, name string, lists warmy.Lists, count *atomic.Int32) (bus.ServeConfig, bus.Lane) {
	census := warmy.NewCensus(warmy.CensusConfig{Warmy: lists, Listed: b.Listed(), Now: time.Now})
	h := handlers.ReconcileMailbox{
		Invitations: b.Invitations(maskBox{}), Registrations: b.Registrations(), Listing: census, Apart: time.Minute, Now: time.Now,
	}
	counted := fakeHandler{handle: func(ctx context.Context, e events.Event) ([]events.Event, error) {
		count.Add(1)
		return h.Handle(ctx, e)
	}, buried: make(chan *fault.Fault, unclearBoxes)}
	return bus.ServeConfig{Owner: name, Turn: 3 * time.Second},
		bus.Lane{Lane: events.Reconcile, Leg: "main", Window: 64, Fleet: 64, Single: true, Policy: quick, Handler: counted}
}

// settled counts the mailboxes that are adopted, and those that were absent once.
func settled(t *testing.T, b *bus.Bus) (adopted, absent int) {
	t.Helper()
	for i := range unclearBoxes {
		reg, _, err := b.Registrations().Load(t.Context(), mailboxOf(i))
		switch {
		case err != nil:
			t.Fatal(err)
		case reg.Phase == mailbox.Registered && reg.WarmyID == fmt.Sprintf("w%d", i):
			adopted++
		case reg.Phase == mailbox.Uncertain && reg.Absences == 1:
			absent++
		}
	}
	return adopted, absent
}

func awaitSettled(t *testing.T, b *bus.Bus) {
	t.Helper()
	deadline := time.NewTimer(40 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		adopted, absent := settled(t, b)
		if adopted == unclearBoxes/2 && absent == unclearBoxes/2 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%d adopted and %d absent of %d", adopted, absent, unclearBoxes)
		}
	}
}

func TestOneProcessListsForAll(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	l := unclear(t, b)
	var counts [2]atomic.Int32
	for i := range counts {
		cfg, lane := settler(bustest.Connect(t, server), fmt.Sprintf("w%d", i), l, &counts[i])
		serve(t, bustest.Connect(t, server), cfg, lane)
	}
	awaitSettled(t, b)
	first, second := counts[0].Load(), counts[1].Load()
	if first > 0 && second > 0 || l.calls.Load() > 3 {
		t.Errorf("the processes handled %d and %d with %d calls of Warmy", first, second, l.calls.Load())
	}
	known, _, err := b.Listed().Load(t.Context(), "main")
	if err != nil || known.Count != unclearBoxes/2 {
		t.Errorf("remembered: %+v, %v", known, err)
	}
}

func TestAnotherProcessGoesOnWhenTheOneThatListedIsGone(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	l := unclear(t, b)
	stuck := &listed{boxes: l.boxes, hold: make(chan struct{})}
	var counts [2]atomic.Int32
	dying, err := bus.Connect(t.Context(), bus.Config{InProcess: server, Name: "dying", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	gone.Go(func() {
		cfg, lane := settler(dying, "dying", stuck, &counts[0])
		cfg.Drain = time.Millisecond
		_ = dying.Serve(ctx, cfg, lane)
	})
	t.Cleanup(func() { stop(); close(stuck.hold); gone.Wait() })
	deadline := time.Now().Add(20 * time.Second)
	for stuck.calls.Load() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nobody lists")
		}
		tick := time.NewTimer(10 * time.Millisecond)
		<-tick.C
	}
	cfg, lane := settler(bustest.Connect(t, server), "next", l, &counts[1])
	serve(t, bustest.Connect(t, server), cfg, lane)
	dying.Close() // it has no time to give anything back
	awaitSettled(t, b)
	if counts[1].Load() < unclearBoxes {
		t.Errorf("the next one handled %d", counts[1].Load())
	}
}
