package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/handlers"
)

// leaseFor is how long a lease lives without being renewed: that long a process that died stops the others.
const leaseFor = time.Minute

var errLeaseLost = errors.New("the lease is another process's by now")

// lease lets one process of all do a piece of work that returns from time to time. It is kept in the control bucket and
// taken by compare-and-set. It saves work, no more: whoever was paused over its end may still be at work beside the next
// one, and what both do must be harmless.
//
// Its times are the server's, so that all processes agree on its end. Its holder goes by the time that has passed here since
// it wrote: a clock that is set meanwhile must not let it believe in a lease that others see end.
type lease struct {
	kv    kv
	key   string
	owner string
	life  time.Duration // without being renewed; 0: leaseFor

	stored   storedLease
	revision uint64
	written  time.Time // when stored was, by this machine's monotonic clock: before the write began
}

type storedLease struct {
	Owner string    `json:"owner,omitempty"`
	Until time.Time `json:"until,omitzero"`
	Done  time.Time `json:"done,omitzero"` // when the work was done last
}

// claimed is how long a claim until a time of the server's still lasts, at most most; 0 when it is over. One that lies further
// ahead was made by a wrong clock, or before the server's was set back: it must stop nobody.
func claimed(until, now time.Time, most time.Duration) time.Duration {
	left := until.Sub(now)
	if left > most+readAhead {
		return 0
	}
	return min(max(left, 0), most)
}

func (l *lease) lives() time.Duration {
	if l.life > 0 {
		return l.life
	}
	return leaseFor
}

// take takes the lease, or returns how long to wait before it is worth asking again. One that is this process's own already is
// not waited for: its write was stored, and the answer was lost.
func (l *lease) take(ctx context.Context, every time.Duration) (wait time.Duration, err error) {
	if err := l.kv.bus.lookAtClock(ctx); err != nil {
		return l.lives() / 2, err
	}
	data, revision, err := l.kv.get(ctx, l.key)
	if err != nil {
		return l.lives() / 2, err
	}
	var stored storedLease
	if len(data) > 0 && json.Unmarshal(data, &stored) != nil {
		stored = storedLease{} // what is unreadable is nobody's
	}
	now := l.now()
	own := l.owner != "" && stored.Owner == l.owner
	if held := claimed(stored.Until, now, l.lives()); !own && held > 0 {
		return held + time.Second, nil
	}
	if wait := claimed(stored.Done.Add(every), now, every); wait > 0 {
		return wait, nil
	}
	l.revision = revision
	err = l.put(ctx, storedLease{Owner: l.owner, Until: now.Add(l.lives()), Done: stored.Done})
	if errors.Is(err, handlers.ErrConflict) {
		return time.Second, nil
	}
	return 0, err
}

// now is the server's time.
func (l *lease) now() time.Time { return l.kv.bus.clock.now().UTC() }

// keep renews the lease when a third of it is over. One that is over is renewed, too, if nobody has taken it.
func (l *lease) keep(ctx context.Context) error {
	passed := l.kv.bus.clock.local().Sub(l.written)
	if passed >= 0 && passed < l.lives()/3 {
		return nil
	}
	switch err := l.renew(ctx); {
	case err == nil:
		return nil
	case errors.Is(err, handlers.ErrConflict) || passed >= l.lives():
		return errLeaseLost
	default:
		return fmt.Errorf("renew lease: %w", err)
	}
}

// renew writes the lease anew. The server is asked for its time each time: this machine may have slept.
func (l *lease) renew(ctx context.Context) error {
	if err := l.kv.bus.askClock(ctx); err != nil {
		return err
	}
	next := l.stored
	next.Until = l.now().Add(l.lives())
	return l.put(ctx, next)
}

// release gives the lease back. It outlives ctx, which may be what ended the work.
func (l *lease) release(ctx context.Context, done bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	next := storedLease{Done: l.stored.Done}
	if done {
		next.Done = l.now()
	}
	return l.put(ctx, next)
}

func (l *lease) put(ctx context.Context, next storedLease) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	written := l.kv.bus.clock.local()
	revision, err := l.kv.put(ctx, l.key, data, l.revision)
	if err == nil {
		l.stored, l.revision, l.written = next, revision, written
	}
	return err
}
