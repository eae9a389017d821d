package console

import (
	"context"
	"sync"
	"time"

	"kindling/internal/leg"
)

// glanceEvery is how old what the jobs know of a leg may be. They look at it at every step, and what waits on one leg takes a
// question for each of its consumers.
func (c *Console) glanceEvery() time.Duration { return min(5*time.Second, c.cfg.StallLimit/10) }

// glances are the legs as the jobs know them, all jobs together.
type glances struct {
	mu    sync.Mutex
	known map[string]glance
}

type glance struct {
	leg.Leg

	at time.Time // when the answer came, or none
}

// glance is a leg as it was some seconds ago at most; if it cannot be read it stays as it was, which must not stop a job. It is
// the zero one, with no state, until it could be read.
func (c *Console) glance(ctx context.Context, name string) leg.Leg {
	c.glances.mu.Lock()
	defer c.glances.mu.Unlock()
	last, ok := c.glances.known[name]
	if ok && time.Since(last.at) < c.glanceEvery() {
		return last.Leg
	}
	if legs, err := c.cfg.Legs.Of(ctx, name); err == nil {
		last.Leg = c.loaded(legs[0], ways(c.roster.Ways("")))
	}
	last.at = time.Now() // after the question: what a silent store makes last long must not be asked again at once
	c.glances.known[name] = last
	return last.Leg
}
