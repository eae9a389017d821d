package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// ErrNoLeg means that no leg has this name.
var ErrNoLeg = errors.New("no such leg")

// forever is how long a leg is paused on the server when it is held until released by hand.
const forever = 365 * 24 * time.Hour

// Legs are the dependencies as the lanes see them. Their state is kept in the control bucket, for every process alike;
// holding one pauses its consumers on the server, so that no replica pulls.
type Legs struct {
	bus *Bus
	kv  kv
	now func() time.Time
}

// Legs returns the legs.
func (b *Bus) Legs() Legs { return Legs{bus: b, kv: kv{b, bucketControl}, now: time.Now} }

func legKey(name string) string { return "leg." + leg.Key(name) }

// consumers lists the stream and consumer names of a leg.
func consumers(name string) [][2]string {
	kind, which, _ := strings.Cut(name, "/")
	switch kind {
	case "microsoft":
		return [][2]string{
			{streamCode, "code-" + which},
			{streamRefresh, "refresh-" + which},
			{streamTokenTimers, "due-refresh-" + which},
		}
	case "warmy":
		return [][2]string{
			{streamRegister, "register-" + which},
			{streamWarmyTimers, "due-register-" + which},
			{streamWarmyTimers, "due-reconcile-" + which},
		}
	}
	return nil
}

// List returns every leg that has ever been held, and every leg that has consumers.
func (l Legs) List(ctx context.Context) ([]leg.Leg, error) {
	var names []string
	for _, source := range []struct{ stream, prefix, kind string }{
		{streamCode, "code-", "microsoft"}, {streamRegister, "register-", "warmy"},
	} {
		stream, err := l.bus.stream(ctx, source.stream)
		if err != nil {
			return nil, err
		}
		lister := stream.ConsumerNames(ctx)
		for name := range lister.Name() {
			if which, ok := strings.CutPrefix(name, source.prefix); ok {
				names = append(names, leg.Name(source.kind, which))
			}
		}
		if err := lister.Err(); err != nil {
			return nil, fmt.Errorf("list legs: %w: %w", ErrUnavailable, err)
		}
	}
	slices.Sort(names)
	legs := make([]leg.Leg, 0, len(names))
	for _, name := range names {
		current, _, err := l.load(ctx, name)
		if err != nil {
			return nil, err
		}
		legs = append(legs, current)
	}
	return legs, nil
}

func (l Legs) load(ctx context.Context, name string) (leg.Leg, uint64, error) {
	data, revision, err := l.kv.get(ctx, legKey(name))
	if err != nil || revision == 0 {
		return leg.Leg{Name: name, State: leg.Open}, 0, err
	}
	var current leg.Leg
	if err := json.Unmarshal(data, &current); err != nil {
		return leg.Leg{}, 0, fmt.Errorf("decode leg %s: %w", name, err)
	}
	if current.State == leg.Held && !current.Until.IsZero() && l.now().After(current.Until) {
		current.State = leg.Probing
	}
	return current, revision, nil
}

// Hold stops a leg until it is released by hand.
func (l Legs) Hold(ctx context.Context, name, cause, by string) error {
	if len(consumers(name)) == 0 {
		return ErrNoLeg
	}
	return l.hold(ctx, leg.Leg{Name: name, State: leg.Held, Code: "held_by_operator", Cause: cause, By: by, Since: l.now().UTC()})
}

// HoldFor stops a leg for a while because of f; then a probe decides. A leg that an operator holds stays his.
func (l Legs) HoldFor(ctx context.Context, name string, f *fault.Fault, d time.Duration, by string) error {
	now := l.now().UTC()
	return l.hold(ctx, leg.Leg{
		Name: name, State: leg.Held, Code: f.Code, Cause: f.Cause, By: by, Since: now, Until: now.Add(d),
	})
}

func (l Legs) hold(ctx context.Context, next leg.Leg) error {
	current, revision, err := l.load(ctx, next.Name)
	if err != nil {
		return err
	}
	if current.State == leg.Held && current.Until.IsZero() && !next.Until.IsZero() {
		return nil
	}
	if current.State != leg.Open && !current.Since.IsZero() {
		next.Since = current.Since
	}
	if err := l.save(ctx, next, revision); err != nil {
		return err
	}
	until := next.Until
	if until.IsZero() {
		until = l.now().Add(forever)
	}
	for _, c := range consumers(next.Name) {
		if _, err := l.bus.js.PauseConsumer(ctx, c[0], c[1], until); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("pause %s: %w: %w", c[1], ErrUnavailable, err)
		}
	}
	return nil
}

// Release lets a leg's work flow again.
func (l Legs) Release(ctx context.Context, name, by string) error {
	if len(consumers(name)) == 0 {
		return ErrNoLeg
	}
	_, revision, err := l.load(ctx, name)
	if err != nil {
		return err
	}
	if err := l.save(ctx, leg.Leg{Name: name, State: leg.Open, By: by, Since: l.now().UTC()}, revision); err != nil {
		return err
	}
	for _, c := range consumers(name) {
		if _, err := l.bus.js.ResumeConsumer(ctx, c[0], c[1]); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("resume %s: %w: %w", c[1], ErrUnavailable, err)
		}
	}
	return nil
}

// save stores a leg. Another process that was quicker had the same news: its word stands.
func (l Legs) save(ctx context.Context, next leg.Leg, revision uint64) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode leg: %w", err)
	}
	if _, err := l.kv.put(ctx, legKey(next.Name), data, revision); err != nil && !errors.Is(err, handlers.ErrConflict) {
		return fmt.Errorf("save leg %s: %w", next.Name, err)
	}
	return nil
}

// gate is one leg as this process sees it: it parks deliveries while the leg is held and lets one through to probe.
type gate struct {
	legs Legs
	name string

	mu      sync.Mutex
	current leg.Leg
	changed chan struct{} // closed and replaced at every change
	probing bool
}

func newGate(legs Legs, name string) *gate {
	return &gate{legs: legs, name: name, current: leg.Leg{Name: name, State: leg.Open}, changed: make(chan struct{})}
}

// set takes over what the control bucket says.
func (g *gate) set(l leg.Leg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = l
	close(g.changed)
	g.changed = make(chan struct{})
}

// enter returns when a delivery may be handled, or when ctx ends. probe tells that it is let through to find out
// whether the leg is back: the caller must then call probed.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	for {
		g.mu.Lock()
		wait, changed := g.wait(), g.changed
		if wait <= 0 {
			probe = g.current.State != leg.Open
			g.probing = g.probing || probe
			g.mu.Unlock()
			return probe, ctx.Err()
		}
		g.mu.Unlock()
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

// wait is how long the gate is shut; g.mu is held.
func (g *gate) wait() time.Duration {
	switch {
	case g.current.State == leg.Open:
		return 0
	case g.current.Until.IsZero():
		return forever
	case g.probing:
		return time.Second
	}
	return g.current.Until.Sub(g.legs.now())
}

// probed ends a probe. Anything but a leg that is still down releases the leg for everybody.
func (g *gate) probed(ctx context.Context, down bool) error {
	g.mu.Lock()
	g.probing = false
	g.mu.Unlock()
	if down {
		return nil
	}
	if err := g.legs.Release(ctx, g.name, "probe"); err != nil {
		return err
	}
	g.set(leg.Leg{Name: g.name, State: leg.Open})
	return nil
}

// hold stops the leg for d, here at once and everywhere.
func (g *gate) hold(ctx context.Context, f *fault.Fault, d time.Duration, by string) error {
	now := g.legs.now()
	g.mu.Lock()
	until := g.current.Until
	already := g.current.State == leg.Held && (until.IsZero() || until.After(now))
	g.mu.Unlock()
	if already {
		return nil // another delivery of the same window had the same news
	}
	g.set(leg.Leg{Name: g.name, State: leg.Held, Code: f.Code, Cause: f.Cause, By: by, Since: now, Until: now.Add(d)})
	return g.legs.HoldFor(ctx, g.name, f, d, by)
}

// watchLegs keeps the gates in step with the control bucket until ctx ends.
func (b *Bus) watchLegs(ctx context.Context, gates map[string]*gate) (func(), error) {
	stream, err := b.stream(ctx, "KV_"+bucketControl)
	if err != nil {
		return nil, err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"$KV." + bucketControl + ".leg.>"}, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("watch legs: %w: %w", ErrUnavailable, err)
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		var l leg.Leg
		if err := json.Unmarshal(msg.Data(), &l); err != nil {
			b.log.ErrorContext(ctx, "leg_unreadable", "error", err)
			return
		}
		if g, ok := gates[l.Name]; ok {
			g.set(l)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch legs: %w: %w", ErrUnavailable, err)
	}
	return consuming.Stop, nil
}

// legOf returns the leg that a lane's share belongs to.
func legOf(lane events.Lane, which string) string {
	if lane == events.Code || lane == events.Refresh {
		return leg.Name("microsoft", which)
	}
	return leg.Name("warmy", which)
}
