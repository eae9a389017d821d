package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// ErrNoLeg means that no leg has this name.
var ErrNoLeg = errors.New("no such leg")

const (
	// longestPause bounds one pause on the server. While a leg is held its workers renew it: a pause that outlives the
	// word of the control bucket would stop a lane for good.
	longestPause = 2 * time.Minute
	renewEvery   = 30 * time.Second
	// forever is how long a gate waits for a leg that is held until released by hand; any change ends the wait.
	forever = 24 * time.Hour
	// probeFor is how long a probe may take. After it another process may probe: the first one may be dead.
	probeFor = time.Minute
	// changeTries bounds the compare-and-set loop against other processes.
	changeTries = 20
)

// Legs are the dependencies as the lanes see them. Their state is kept in the control bucket, for every process alike;
// holding one pauses its consumers on the server, so that no replica pulls.
type Legs struct {
	bus *Bus
	kv  kv
	now func() time.Time
}

// Legs returns the legs.
func (b *Bus) Legs() Legs { return Legs{bus: b, kv: kv{b, bucketControl}, now: b.clock.now} }

func legKey(name string) string { return "leg." + leg.Key(name) }

// consumerName says which consumer is meant.
type consumerName struct{ stream, durable string }

// consumers lists the consumers of a leg.
func consumers(name string) []consumerName {
	kind, which, _ := strings.Cut(name, "/")
	switch kind {
	case "microsoft":
		return []consumerName{
			{streamCode, "code-" + which},
			{streamRefresh, "refresh-" + which},
			{streamTokenTimers, "due-refresh-" + which},
		}
	case "refresh":
		return consumers(leg.Name("microsoft", which))[1:]
	case "warmy":
		var all []consumerName
		for _, lane := range []events.Lane{events.Register, events.Reconcile} {
			for _, src := range sources(lane) {
				all = append(all, consumerName{src.stream, consumerOf(lane, src, which, 0).Durable})
			}
		}
		return all
	}
	return nil
}

// List returns every leg that has ever been held, and every leg that has consumers.
func (l Legs) List(ctx context.Context) ([]leg.Leg, error) {
	var names []string
	for _, source := range []struct{ stream, prefix, kind string }{
		{streamCode, "code-", "microsoft"}, {streamRefresh, "refresh-", "refresh"}, {streamRegister, "register-", "warmy"},
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
	return l.Of(ctx, names...)
}

// Of returns these legs alone, with what waits on them; one that is not known is open and idle.
func (l Legs) Of(ctx context.Context, names ...string) ([]leg.Leg, error) {
	if err := l.bus.lookAtClock(ctx); err != nil {
		return nil, err
	}
	legs := make([]leg.Leg, 0, len(names))
	for _, name := range names {
		current, _, err := l.load(ctx, name)
		if err != nil {
			return nil, err
		}
		if current.State == leg.Held && current.Over(l.now()) {
			current.State = leg.Probing // the next delivery that comes is let through
		}
		if current.Load, err = l.loadOf(ctx, current); err != nil {
			return nil, err
		}
		legs = append(legs, current)
	}
	return legs, nil
}

// loadOf is what waits on an account's leg, and how fast it is worked off: registrations, and those that are unclear.
func (l Legs) loadOf(ctx context.Context, current leg.Leg) (load leg.Load, err error) {
	account, found := strings.CutPrefix(current.Name, leg.Name("warmy", ""))
	if !found {
		return load, nil
	}
	lanes, err := l.bus.Gauges(GaugeScope{Accounts: []string{account}}).waiting(ctx)
	if err != nil {
		return load, err
	}
	for _, lane := range lanes {
		load.Waiting += int(lane.Pending) + lane.InFlight //nolint:gosec // a count
	}
	pace, err := l.bus.PaceOf(ctx, account)
	if err != nil {
		return load, err
	}
	load.Seen, load.PerMinute, load.NotBefore = pace.Now, pace.PerMinute, pace.Until
	return load.Estimated(current.State), nil
}

func (l Legs) load(ctx context.Context, name string) (leg.Leg, uint64, error) {
	data, revision, err := l.kv.get(ctx, legKey(name))
	if err != nil || revision == 0 {
		return leg.Leg{Name: name, State: leg.Open}, 0, err
	}
	current, err := decodeLeg(name, data)
	if err != nil {
		l.bus.log.ErrorContext(ctx, "leg_unreadable", "leg", name, "error", err)
	}
	return current, revision, nil
}

// mayCall asks the control bucket whether an account's leg is open, for calls that are no lane's: the gates of this
// process may not be known yet.
func (l Legs) mayCall(ctx context.Context, account string) error {
	current, _, err := l.load(ctx, leg.Name("warmy", account))
	if err == nil && current.State != leg.Open {
		return legShut()
	}
	return err
}

// Hold stops a leg until it is released by hand.
func (l Legs) Hold(ctx context.Context, name, cause, by string) error {
	_, _, err := l.change(ctx, name, func(current leg.Leg) (leg.Leg, bool) {
		return leg.Leg{
			Name: name, State: leg.Held, Code: leg.HeldByOperator, Cause: cause, By: by, Since: held(current, l.now()),
		}, true
	})
	return err
}

// outage is why a leg is held for a while.
type outage struct {
	fault   *fault.Fault
	rest    time.Duration // how long it is left alone
	relapse bool          // a probe was answered, and yet work failed: see leg.Leg
}

// holds is current, held because of o from now on.
func (o outage) holds(current leg.Leg, now time.Time) leg.Leg {
	relapses := current.RelapsesAt(now)
	if o.relapse && current.State != leg.Held { // else another process has counted this one
		relapses++
	}
	return leg.Leg{
		Name: current.Name, State: leg.Held, Code: o.fault.Code, Cause: o.fault.Cause, By: leg.ByFault,
		Since: held(current, now), Until: now.Add(o.rest), Written: now, Relapses: relapses,
	}
}

// holdFor stops a leg for a while; then a probe decides. A leg that an operator holds stays his, and a longer hold stays long.
func (l Legs) holdFor(ctx context.Context, name string, o outage) (leg.Leg, uint64, error) {
	return l.change(ctx, name, func(current leg.Leg) (leg.Leg, bool) {
		now := l.now().UTC()
		if current.State == leg.Held && !current.Over(now) && (current.Until.IsZero() || current.Until.After(now.Add(o.rest))) {
			return current, false
		}
		return o.holds(current, now), true
	})
}

// held is since when a leg is held: a hold that follows another one goes on.
func held(current leg.Leg, now time.Time) time.Time {
	if current.State != leg.Open && !current.Since.IsZero() {
		return current.Since
	}
	return now.UTC()
}

// Release lets a leg's work flow again.
func (l Legs) Release(ctx context.Context, name, by string) error {
	_, _, err := l.change(ctx, name, func(leg.Leg) (leg.Leg, bool) {
		return leg.Leg{Name: name, State: leg.Open, By: by, Since: l.now().UTC()}, true
	})
	return err
}

// claimProbe makes this process the one that probes a leg whose hold is over, unless another one does.
func (l Legs) claimProbe(ctx context.Context, name string) (leg.Leg, uint64, error) {
	return l.change(ctx, name, func(current leg.Leg) (leg.Leg, bool) {
		now := l.now().UTC()
		if current.State == leg.Open || !current.Over(now) {
			return current, false
		}
		next := current
		next.State, next.Until, next.Written, next.Prober = leg.Probing, now.Add(probeFor), now, l.bus.id
		return next, true
	})
}

// endProbe lets a leg's work flow again if the probe was answered; if it was not asked at all, anybody may probe again.
// A hold that was placed meanwhile stands.
func (l Legs) endProbe(ctx context.Context, name string, end probeEnd) (leg.Leg, uint64, error) {
	return l.change(ctx, name, func(current leg.Leg) (leg.Leg, bool) {
		switch now := l.now().UTC(); {
		case current.State != leg.Probing || current.Prober != l.bus.id:
			return current, false
		case end.answered:
			open := leg.Leg{Name: name, State: leg.Open, By: leg.ByProbe, Since: now, Relapses: current.Relapses}
			if end.posted {
				open.Relapses = 0
			}
			return open, true
		default:
			current.State, current.Until, current.Written, current.Prober = leg.Held, now, now, ""
			return current, true
		}
	})
}

// change moves a leg by compare-and-set, and brings the server's consumers in step with what is stored then. It returns
// what is stored, with its revision.
func (l Legs) change(ctx context.Context, name string, next func(leg.Leg) (leg.Leg, bool)) (leg.Leg, uint64, error) {
	if len(consumers(name)) == 0 {
		return leg.Leg{}, 0, ErrNoLeg
	}
	if err := l.bus.lookAtClock(ctx); err != nil {
		return leg.Leg{}, 0, err
	}
	for range changeTries {
		current, revision, err := l.load(ctx, name)
		if err != nil {
			return leg.Leg{}, 0, err
		}
		wanted, changed := next(current)
		if !changed {
			return current, revision, nil
		}
		data, err := json.Marshal(wanted)
		if err != nil {
			return leg.Leg{}, 0, fmt.Errorf("encode leg: %w", err)
		}
		if revision, err = l.kv.put(ctx, legKey(name), data, revision); errors.Is(err, handlers.ErrConflict) {
			continue
		} else if err != nil {
			return leg.Leg{}, 0, fmt.Errorf("save leg %s: %w", name, err)
		}
		return wanted, revision, l.apply(ctx, wanted, revision)
	}
	return leg.Leg{}, 0, fmt.Errorf("change leg %s: %w", name, handlers.ErrConflict)
}

// apply pauses or resumes the leg's consumers as l says, and again while another process has changed its word meanwhile:
// the last word must be the one that the server has heard.
func (l Legs) apply(ctx context.Context, stored leg.Leg, revision uint64) error {
	for range changeTries {
		if err := l.tell(ctx, stored); err != nil {
			return err
		}
		current, at, err := l.load(ctx, stored.Name)
		if err != nil || at == revision {
			return err
		}
		stored, revision = current, at
	}
	return nil
}

// tell brings the consumers of a leg in step with it, and with the other leg that has a say in some of them. A pause is never
// longer than longestPause.
func (l Legs) tell(ctx context.Context, stored leg.Leg) error {
	if stored.State == leg.Probing {
		return nil // the pause has ended, and deliveries are needed to probe with
	}
	var other leg.Leg
	if name := sibling(stored.Name); name != "" {
		var err error
		if other, _, err = l.load(ctx, name); err != nil {
			return err
		}
	}
	now := l.now()
	for _, c := range consumers(stored.Name) {
		until := pauseOf(stored, now)
		if slices.Contains(consumers(other.Name), c) {
			until = later(until, pauseOf(other, now))
		}
		var err error
		if until.After(now) {
			_, err = l.bus.js.PauseConsumer(ctx, c.stream, c.durable, until)
		} else {
			_, err = l.bus.js.ResumeConsumer(ctx, c.stream, c.durable)
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("pause or resume %s: %w: %w", c.durable, ErrUnavailable, err)
		}
	}
	return nil
}

// pauseOf is until when the consumers of l are to be paused; a time that has passed if they are not.
func pauseOf(l leg.Leg, now time.Time) time.Time {
	until := now.Add(longestPause)
	switch {
	case l.State != leg.Held || l.Over(now):
		return time.Time{}
	case !l.Until.IsZero() && l.Until.Before(until):
		return l.Until
	}
	return until
}

// sibling is the other leg that some consumers of the named one belong to; "" if there is none.
func sibling(name string) string {
	kind, which, _ := strings.Cut(name, "/")
	switch kind {
	case "microsoft":
		return leg.Name("refresh", which)
	case "refresh":
		return leg.Name("microsoft", which)
	}
	return ""
}

// keepLegs renews the pauses of held legs and takes back those of open ones, until ctx ends. So the server follows the
// control bucket even when the process that changed it died between the two.
func (b *Bus) keepLegs(ctx context.Context, gates map[string]*gate) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.tellLegs(ctx, gates)
		}
	}
}

// tellLegs brings gates and consumers in step with the control bucket.
func (b *Bus) tellLegs(ctx context.Context, gates map[string]*gate) {
	if err := b.lookAtClock(ctx); err != nil && ctx.Err() == nil {
		b.log.WarnContext(ctx, "clock_not_known", "error", err)
	}
	for name, g := range gates {
		stored, revision, err := g.load(ctx)
		if err == nil && revision > 0 {
			err = g.legs.tell(ctx, stored)
		}
		if err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "leg_not_kept", "leg", name, "error", err)
		}
	}
}

// watchLegs keeps the gates in step with the control bucket until ctx ends.
func (b *Bus) watchLegs(ctx context.Context, gates map[string]*gate) (func(), error) {
	stream, err := b.stream(ctx, "KV_"+bucketControl)
	if err != nil {
		return nil, err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"$KV." + bucketControl + ".leg.>"}, DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: ephemeralLife,
	})
	if err != nil {
		return nil, fmt.Errorf("watch legs: %w: %w", ErrUnavailable, err)
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err != nil {
			return
		}
		for name, g := range gates {
			if msg.Subject() != g.legs.kv.subject(legKey(name)) {
				continue
			}
			stored, err := decodeLeg(name, msg.Data())
			if err != nil {
				b.log.ErrorContext(ctx, "leg_unreadable", "leg", name, "error", err)
			}
			g.set(stored, meta.Sequence.Stream)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch legs: %w: %w", ErrUnavailable, err)
	}
	return consuming.Stop, nil
}

// legsOf returns the legs that a lane's share belongs to. A fault that tells that nothing can succeed on the dependency
// holds the first one; the lane's own outages hold the last one.
func legsOf(lane events.Lane, which string) []string {
	switch lane {
	case events.Code:
		return []string{leg.Name("microsoft", which)}
	case events.Refresh:
		return []string{leg.Name("microsoft", which), leg.Name("refresh", which)}
	case events.Register, events.Reconcile:
		return []string{leg.Name("warmy", which)}
	}
	return nil
}
