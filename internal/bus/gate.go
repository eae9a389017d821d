package bus

import (
	"context"
	"sync"
	"time"

	"kindling/internal/leg"
)

// gate is one leg as this process sees it: it parks deliveries while the leg is held, and lets one of the whole fleet's
// through to probe.
type gate struct {
	legs Legs
	name string

	mu       sync.Mutex
	current  leg.Leg
	revision uint64        // of current in the control bucket
	takes    uint64        // how often current was set
	changed  chan struct{} // closed and replaced at every change
	probing  bool          // a delivery of this process is the probe
	breaker  *breaker
	// trial: released after a relapse, by a probe that proves little, and no call with an effect has been answered here since.
	// It does not end with time: a process that had nothing to post knows no more than before.
	trial bool
}

// askAgain is how long a delivery waits that wanted to probe when the control bucket did not answer.
const askAgain = time.Second

func newGate(legs Legs, name string) *gate {
	return &gate{
		legs: legs, name: name, current: leg.Leg{Name: name, State: leg.Open}, changed: make(chan struct{}), breaker: newBreaker(name),
	}
}

// publishGates lets calls that are no lane's find the gates, until the returned function is called.
func (b *Bus) publishGates(gates map[string]*gate) (forget func()) {
	for name, g := range gates {
		b.gates.Store(name, g)
	}
	return func() {
		for name, g := range gates {
			b.gates.CompareAndDelete(name, g)
		}
	}
}

// gateOf is the gate of a leg whose lanes are served here; nil if none is.
func (b *Bus) gateOf(name string) *gate {
	found, _ := b.gates.Load(name)
	g, _ := found.(*gate)
	return g
}

// set takes over what the control bucket says at revision, unless something later is known.
func (g *gate) set(l leg.Leg, revision uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if revision < g.revision {
		return
	}
	g.take(l, revision)
}

// take is set without the question; g.mu is held.
func (g *gate) take(l leg.Leg, revision uint64) {
	if l.State == leg.Open && g.current.State != leg.Open {
		g.breaker = newBreaker(g.name) // what was counted before the hold says nothing about the time after it
		g.trial = l.Relapses > 0
	}
	g.current, g.revision = l, revision
	g.takes++
	close(g.changed)
	g.changed = make(chan struct{})
}

// loadTries bounds the reads of a leg that changes all the time.
const loadTries = 5

// load takes over what is stored, be it older than what is known: after a restore it is. An answer that was overtaken by
// news while it was on its way is no truth any more, and is asked for again.
func (g *gate) load(ctx context.Context) (stored leg.Leg, revision uint64, err error) {
	for range loadTries {
		before := g.news()
		if stored, revision, err = g.legs.load(ctx, g.name); err != nil {
			return leg.Leg{}, 0, err
		}
		if g.takeUnless(before, stored, revision) {
			break
		}
	}
	return stored, revision, nil
}

func (g *gate) news() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.takes
}

func (g *gate) takeUnless(before uint64, stored leg.Leg, revision uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.takes != before {
		return false
	}
	g.take(stored, revision)
	return true
}

// enter returns when a delivery may be handled, or when ctx ends. probe tells that it is let through to find out
// whether the leg is back: the caller must then call probed.
// A lane with patience leaves the probe to others for so long.
func (g *gate) enter(ctx context.Context, patience time.Duration) (probe bool, err error) {
	for {
		wait, changed, open := g.look(patience)
		if open {
			return false, ctx.Err()
		}
		if wait <= 0 {
			if g.claim(ctx) {
				return true, nil
			}
			wait = askAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// look reports whether the gate is open, and if not, how long it is shut for certain.
func (g *gate) look(patience time.Duration) (wait time.Duration, changed <-chan struct{}, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.current.State == leg.Open:
		return 0, g.changed, true
	case g.current.Until.IsZero(), g.probing:
		return forever, g.changed, false
	}
	return g.current.Left(g.legs.now()) + patience, g.changed, false
}

// claim makes the caller's delivery the probe of the whole fleet.
func (g *gate) claim(ctx context.Context) bool {
	g.mu.Lock()
	if g.probing {
		g.mu.Unlock()
		return false
	}
	g.probing = true
	g.mu.Unlock()
	stored, revision, err := g.legs.claimProbe(ctx, g.name)
	won := err == nil && stored.State == leg.Probing && stored.Prober == g.legs.bus.id
	g.mu.Lock()
	g.probing = won
	g.mu.Unlock()
	if err == nil {
		g.set(stored, revision)
	}
	return won
}

// probeEnd is what a probe has found out.
type probeEnd struct {
	answered bool // the dependency was asked, and answered
	posted   bool // in the lane whose calls have an effect, so that nothing speaks against it any more
	failed   bool // the leg is held because of it
}

// probed ends a probe. It releases the leg for everybody if the dependency was asked and answered. If it was not asked,
// the next delivery probes; a failure has been reported by hold before.
func (g *gate) probed(ctx context.Context, end probeEnd) error {
	defer func() {
		g.mu.Lock()
		g.probing = false
		g.take(g.current, g.revision) // who waits here for the probe's end looks again
		g.mu.Unlock()
	}()
	if end.failed {
		return nil
	}
	stored, revision, err := g.legs.endProbe(ctx, g.name, end)
	if err == nil {
		g.set(stored, revision)
	}
	return err
}

// hold stops the leg, here at once and everywhere.
func (g *gate) hold(ctx context.Context, o outage) error {
	now := g.legs.now()
	g.mu.Lock()
	if g.current.State == leg.Held && !g.current.Over(now) {
		g.mu.Unlock()
		return nil // another delivery of the same window had the same news
	}
	g.take(o.holds(g.current, now), g.revision)
	g.mu.Unlock()
	stored, revision, err := g.legs.holdFor(ctx, g.name, o)
	if err != nil {
		return err
	}
	g.set(stored, revision)
	return nil
}

// rest is how long the leg is to be left alone after a relapse, instead of d.
func (g *gate) rest(d time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current.Rest(d, g.legs.now())
}

// unproven reports whether the first call with an effect after a relapse is still to be answered: if it fails, the leg is held
// again.
func (g *gate) unproven() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trial && g.current.State == leg.Open
}

// prove says that a call with an effect was answered.
func (g *gate) prove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trial = false
}

// recovering reports whether a probe released the leg only just now.
func (g *gate) recovering() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current.Recovering(g.legs.now())
}

// shut reports whether the leg is known to be down, so that a failure of the dependency is no news.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current.State != leg.Open
}

// judge gives the breaker what an attempt has seen; tripped tells that the leg is to be held because of it.
func (g *gate) judge(seen *leg.Witness) (tripped bool) {
	g.mu.Lock()
	b := g.breaker
	g.mu.Unlock()
	return b.judge(seen)
}
