//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

const (
	publishers = 4 // each with events of its own
	contenders = 3 // all for the same records
)

// traffic is a load that never gives a write up: what failed is repeated, as the workers do, until it is acknowledged.
type traffic struct {
	bus    *bus.Bus
	pace   time.Duration // between a writer's writes
	done   sync.WaitGroup
	enough chan struct{}
	writes atomic.Int64 // acknowledged
	failed atomic.Int64

	mu      sync.Mutex
	events  []events.Event
	winners map[string]string // contested record → who was told that it won
}

func startTraffic(t *testing.T, b *bus.Bus, publishers int, pace time.Duration) *traffic {
	t.Helper()
	l := &traffic{bus: b, pace: pace, enough: make(chan struct{}), winners: make(map[string]string)}
	for i := range publishers {
		l.done.Go(func() { l.publish(t, fmt.Sprintf("p%d", i)) })
	}
	for i := range contenders {
		l.done.Go(func() { l.contend(t, fmt.Sprintf("c%d", i)) })
	}
	return l
}

func (l *traffic) acked() int64 { return l.writes.Load() }

func (l *traffic) await(t *testing.T, writes int64) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%d acknowledged writes", writes), func() bool { return l.acked() >= writes })
}

// finish lets everybody finish the write he is at.
func (l *traffic) finish(t *testing.T) {
	t.Helper()
	close(l.enough)
	done := make(chan struct{})
	go func() {
		l.done.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.NewTimer(time.Minute).C:
		t.Fatal("the last writes were not acknowledged within a minute")
	}
}

// next waits until a writer's write i is due; false when there shall be no more.
func (l *traffic) next(t *testing.T, i int) bool {
	t.Helper()
	pace := l.pace
	if i == 0 {
		pace = 0
	}
	pause := time.NewTimer(pace)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.enough:
		return false
	case <-t.Context().Done():
		return false
	}
	select {
	case <-l.enough:
		return false
	default:
		return true
	}
}

func (l *traffic) publish(t *testing.T, name string) {
	t.Helper()
	for i := 0; l.next(t, i); i++ {
		e := events.New(events.RegistrationRequested, fmt.Sprintf("%s|%d", name, i), time.Now())
		e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = fmt.Sprintf("%sx%d", name, i), "main", "main", "camp", "att"
		if !l.persist(t, func(ctx context.Context) error { return l.bus.Publish(ctx, e) }) {
			return
		}
		l.mu.Lock()
		l.events = append(l.events, e)
		l.mu.Unlock()
	}
}

// contend races the others for one new record after the other, as workers race for a mailbox.
func (l *traffic) contend(t *testing.T, name string) {
	t.Helper()
	for i := 0; l.next(t, i); i++ {
		id := fmt.Sprintf("contest%d", i)
		mine := mailbox.Registration{Phase: mailbox.Posting, Owner: name}
		won := false
		decided := l.persist(t, func(ctx context.Context) error {
			_, err := l.bus.Registrations().Save(ctx, id, mine, 0)
			won = err == nil
			if errors.Is(err, handlers.ErrConflict) {
				return nil
			}
			return err
		})
		if !decided {
			return
		}
		if won {
			l.win(t, id, name)
		}
	}
}

// soFar is what was acknowledged until now.
func (l *traffic) soFar() ([]events.Event, map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events), maps.Clone(l.winners)
}

func (l *traffic) win(t *testing.T, id, name string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.winners[id]; other != "" {
		t.Errorf("%s and %s were both told that they won %s", other, name, id)
	}
	l.winners[id] = name
}

// persist writes until it succeeds; false when the test is over.
func (l *traffic) persist(t *testing.T, write func(context.Context) error) bool {
	t.Helper()
	for {
		err := write(t.Context())
		switch {
		case err == nil:
			l.writes.Add(1)
			return true
		case t.Context().Err() != nil:
			return false
		case !errors.Is(err, bus.ErrUnavailable):
			t.Errorf("a write failed with %v, which is not a store that is away", err)
			return false
		}
		l.failed.Add(1)
		select {
		case <-time.NewTimer(50 * time.Millisecond).C:
		case <-t.Context().Done():
			return false
		}
	}
}
