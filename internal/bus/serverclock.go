package bus

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// serverClock is the time of the NATS server that keeps the control bucket, which is the same for every process. This
// machine's own clock may be wrong, and may be set while we run: only the time that passes here is used, between two
// looks at the server's clock.
type serverClock struct {
	local func() time.Time

	mu    sync.Mutex
	here  time.Time // a moment here, and
	there time.Time // the same one there; zero: the server was never asked

	before time.Time     // what it would have shown when it was found to be set ahead; zero: it was not, or was set back since
	by     time.Duration // how much further ahead it was
}

const (
	// clockLife is after what time the server's clock is looked at again: clocks drift by milliseconds in it.
	clockLife = 30 * time.Second
	// clockTrip is how long an answer may be on its way to be worth something, unless nothing is known.
	clockTrip = 500 * time.Millisecond
	// clockSlack is by how much two looks at the same clock may differ.
	clockSlack = time.Second
)

func newServerClock(local func() time.Time) *serverClock {
	if local == nil {
		local = time.Now
	}
	return &serverClock{local: local}
}

// now is the server's time as far as it is known, and this machine's before.
func (c *serverClock) now() time.Time {
	here := c.local()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.there.IsZero() {
		return here
	}
	return c.there.Add(here.Sub(c.here))
}

func (c *serverClock) old() bool {
	here := c.local()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.there.IsZero() || here.Sub(c.here) > clockLife-clockSlack || here.Before(c.here)
}

// heard takes over what the server said: its time at some moment between asked and answered.
func (c *serverClock) heard(asked, answered, there time.Time) {
	trip := answered.Sub(asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	if there.IsZero() || trip > clockTrip && !c.there.IsZero() {
		return
	}
	here := asked.Add(trip / 2)
	if !c.there.IsZero() {
		c.compare(c.there.Add(here.Sub(c.here)), there.UTC())
	}
	c.here, c.there = here, there.UTC()
}

// compare remembers that the server's clock was set. The caller holds c.mu.
func (c *serverClock) compare(expected, there time.Time) {
	switch by := there.Sub(expected); {
	case by > clockSlack:
		c.before, c.by = expected, by
	case by < -clockSlack:
		c.before = time.Time{}
	}
}

// moved is by how much the times of what was written at written, by the clock as it was then, are to be moved to mean the same
// by the clock as it is now. What was written later than now was written before the clock was set back, nobody knows how long:
// it is taken for written now, so that its waits are as long as they were. Zero: written is not known, or the clock was not set.
func (c *serverClock) moved(written, now time.Time) time.Duration {
	if written.IsZero() {
		return 0
	}
	if ahead := written.Sub(now); ahead > clockSlack {
		return -ahead
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.before.IsZero() && !written.After(c.before.Add(clockSlack)) {
		return c.by
	}
	return 0
}

// Clock asks the server for its time, and returns a clock that shows it: the same one in every process, for what they wait for
// together. While the process serves lanes the server is asked again every clockLife; a clock that nobody keeps so still runs,
// by the time that passes here.
func (b *Bus) Clock(ctx context.Context) (func() time.Time, error) {
	if err := b.lookAtClock(ctx); err != nil {
		return nil, err
	}
	return b.clock.now, nil
}

// lookAtClock asks the server for its time if it was not asked lately.
func (b *Bus) lookAtClock(ctx context.Context) error {
	if !b.clock.old() {
		return nil
	}
	return b.askClock(ctx)
}

// askClock asks the server for its time.
func (b *Bus) askClock(ctx context.Context) error {
	stream, err := b.stream(ctx, "KV_"+bucketControl)
	if err != nil {
		return err
	}
	asked := b.clock.local()
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for the server's time: %w: %w", ErrUnavailable, err)
	}
	b.clock.heard(asked, b.clock.local(), info.TimeStamp)
	return nil
}
