//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// callbackEvery is the pace at which owners come back from Microsoft, whether the store takes their codes or not.
const callbackEvery = 200 * time.Millisecond

// edge publishes codes as callback-ingest does: one try for each, whose failure the owner sees as "try again". Then he
// tries again, until his code is taken.
type edge struct {
	bus   *bus.Bus
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	acks  []time.Time // of first tries
	tries map[time.Time]try
	codes map[string]bool // subjects of acknowledged codes
}

// try is what an owner met at first.
type try struct {
	took    time.Duration
	refused bool
}

func startEdge(t *testing.T, b *bus.Bus) *edge {
	t.Helper()
	e := &edge{bus: b, stop: make(chan struct{}), tries: make(map[time.Time]try), codes: make(map[string]bool)}
	e.done.Go(func() {
		tick := time.NewTicker(callbackEvery)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-e.stop:
				return
			}
			e.done.Go(func() { e.callback(t, i) })
		}
	})
	return e
}

func (e *edge) callback(t *testing.T, i int) {
	t.Helper()
	code := events.New(events.CodeReceived, fmt.Sprintf("edge|%d", i), time.Now())
	code.Mailbox, code.App, code.Account, code.Campaign, code.Attempt = fmt.Sprintf("edge%d", i), "main", "main", "camp", "att"
	code.Sealed = []byte("a sealed code")
	began := time.Now()
	err := e.bus.Publish(t.Context(), code)
	e.mu.Lock()
	e.tries[began] = try{time.Since(began), err != nil}
	if err == nil {
		e.acks = append(e.acks, time.Now())
	}
	e.mu.Unlock()
	for again := time.NewTicker(time.Second); err != nil; err = e.bus.Publish(t.Context(), code) {
		if !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("a code was refused with %v, which is not a store that is away", err)
			return
		}
		select {
		case <-again.C:
		case <-t.Context().Done():
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.codes[code.Subject()] = true
}

// outage is the longest time since from in which no owner's first try was taken; refused and longest say what the
// owners met.
func (e *edge) outage(from time.Time) (gap time.Duration, refused int, longest time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := from
	slices.SortFunc(e.acks, time.Time.Compare)
	for _, at := range append(e.acks, time.Now()) {
		if at.After(from) {
			gap, last = max(gap, at.Sub(last)), at
		}
	}
	for began, met := range e.tries {
		if began.Before(from) {
			continue
		}
		longest = max(longest, met.took)
		if met.refused {
			refused++
		}
	}
	return gap, refused, longest
}

// finish waits until every owner's code is taken, and returns their subjects.
func (e *edge) finish(t *testing.T) map[string]bool {
	t.Helper()
	close(e.stop)
	done := make(chan struct{})
	go func() { e.done.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.NewTimer(time.Minute).C:
		t.Fatal("the last codes were not taken within a minute")
	}
	return e.codes
}

// lane is the handler of the register lane: it notes what it was given.
type lane struct {
	mu      sync.Mutex
	handled map[string]int // event id → times
	last    time.Time
}

// Handle notes e.
func (l *lane) Handle(_ context.Context, e events.Event) ([]events.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handled[e.ID]++
	l.last = time.Now()
	return nil, nil
}

// Bury must not be called: no handling failed.
func (l *lane) Bury(_ context.Context, e events.Event, f *fault.Fault) error {
	return fmt.Errorf("buried %s: %w", e.ID, f)
}

func (l *lane) latest() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// missing counts the events that were not handled, and the handlings beyond the first.
func (l *lane) missing(all []events.Event) (missing, again int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range all {
		switch n := l.handled[e.ID]; n {
		case 0:
			missing++
		default:
			again += n - 1
		}
	}
	return missing, again
}

// view is what a console sees: which contests it knows of.
type view struct {
	mu   sync.Mutex
	seen map[string]string // contest → winner
}

func (*view) Campaign(mailbox.Campaign)         {}
func (*view) Invitation(mailbox.Invitation)     {}
func (*view) Claim(mailbox.ID, mailbox.Claim)   {}
func (*view) Grant(mailbox.ID, mailbox.Grant)   {}
func (*view) AdminConsent(mailbox.AdminConsent) {}
func (*view) CaughtUp()                         {}
func (v *view) Registration(id mailbox.ID, r mailbox.Registration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen[id] = r.Owner
}

// unseen counts the winners that the view does not show.
func (v *view) unseen(winners map[string]string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for id, winner := range winners {
		if v.seen[id] != winner {
			n++
		}
	}
	return n
}
