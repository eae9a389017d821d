package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/handlers"
)

// leaseFor is how long a lease lives without being renewed: that long a process that died stops the others.
const leaseFor = time.Minute

var errLeaseLost = errors.New("the lease is another process's by now")

// lease lets one process of all do a piece of work that returns from time to time. It is kept in the control bucket and
// taken by compare-and-set. It saves work, no more: whoever was paused over its end may still be at work beside the next
// one, and what both do must be harmless.
type lease struct {
	kv    kv
	key   string
	owner string
	life  time.Duration // without being renewed; 0: leaseFor

	stored   storedLease
	revision uint64
}

type storedLease struct {
	Owner string    `json:"owner,omitempty"`
	Until time.Time `json:"until,omitzero"`
	Done  time.Time `json:"done,omitzero"` // when the work was done last
}

func (l *lease) lives() time.Duration {
	if l.life > 0 {
		return l.life
	}
	return leaseFor
}

// take takes the lease, or returns how long to wait before it is worth asking again.
func (l *lease) take(ctx context.Context, every time.Duration) (wait time.Duration, err error) {
	data, revision, err := l.kv.get(ctx, l.key)
	if err != nil {
		return l.lives() / 2, err
	}
	var stored storedLease
	if len(data) > 0 && json.Unmarshal(data, &stored) != nil {
		stored = storedLease{} // what is unreadable is nobody's
	}
	now := time.Now()
	// What lies further ahead than clocks may differ was written by a clock that was wrong: it must stop nobody.
	if held := stored.Until.Sub(now); held > 0 && held <= l.lives()+events.ClockSkew {
		return min(held, l.lives()) + time.Second, nil
	}
	if wait := stored.Done.Add(every).Sub(now); wait > 0 && wait <= every+events.ClockSkew {
		return min(wait, every), nil
	}
	l.revision = revision
	err = l.put(ctx, storedLease{Owner: l.owner, Until: now.Add(l.lives()).UTC(), Done: stored.Done})
	if errors.Is(err, handlers.ErrConflict) {
		return time.Second, nil
	}
	return 0, err
}

// keep renews the lease when a third of it is over.
func (l *lease) keep(ctx context.Context) error {
	now := time.Now()
	left := l.stored.Until.Sub(now)
	switch {
	case left > l.lives()*2/3:
		return nil
	case left < 0:
		return errLeaseLost
	}
	next := l.stored
	next.Until = now.Add(l.lives()).UTC()
	if err := l.put(ctx, next); errors.Is(err, handlers.ErrConflict) {
		return errLeaseLost
	} else if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	return nil
}

// release gives the lease back. It outlives ctx, which may be what ended the work.
func (l *lease) release(ctx context.Context, done bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	next := storedLease{Done: l.stored.Done}
	if done {
		next.Done = time.Now().UTC()
	}
	return l.put(ctx, next)
}

func (l *lease) put(ctx context.Context, next storedLease) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	revision, err := l.kv.put(ctx, l.key, data, l.revision)
	if err == nil {
		l.stored, l.revision = next, revision
	}
	return err
}
