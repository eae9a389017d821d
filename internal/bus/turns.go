package bus

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// calling says for whom a call is made. Handlers do not know: it travels in their context.
type calling struct {
	class class
	gate  *gate // of the leg that is called; nil: none. While it is shut, only its probe may call
}

// class is who shares a budget: the campaigns' slots, the listings, and what goes before all.
type class int

const (
	listings class = events.Slots + iota // that settle unclear registrations
	probes                               // that find out whether the service is back
	classes
)

// listingEvery is which part of the turns listings get at most while registrations wait: one of so many.
const listingEvery = 4

type callingKey struct{}

// callingOf returns for whom ctx's call is made; without a word the first slot's.
func callingOf(ctx context.Context) calling {
	s, _ := ctx.Value(callingKey{}).(calling)
	if leg.IsProbe(ctx) {
		s.class = probes
	}
	return s
}

// withCalling says for whom calls under the returned context are made.
func withCalling(ctx context.Context, lane events.Lane, campaign string, g *gate) context.Context {
	s := calling{gate: g}
	switch lane {
	case events.Register:
		s.class = slotClass(campaign)
	case events.Reconcile:
		s.class = listings
	case events.Code, events.Refresh:
	}
	return context.WithValue(ctx, callingKey{}, s)
}

func slotClass(campaign string) class {
	n, err := strconv.Atoi(strings.TrimPrefix(events.Slot(campaign), "s"))
	if err != nil {
		return 0
	}
	return class(n)
}

// errLegShut says that a leg was held while a call waited for its turn: nothing has happened, and nothing is counted.
var errLegShut = errors.New("the leg is held")

func legShut() *fault.Fault {
	return &fault.Fault{
		Class: fault.LegDown, Code: "leg_held", Forecast: fault.ByTime, Err: errLegShut,
		Cause: "the service was found to be down while this call waited for its turn", Remedy: "none: it waits until the service answers",
	}
}

// waiter is one call that waits for its turn.
type waiter struct {
	class class
	turn  chan struct{} // closed when it has come
}

// turns decides whose call is next. Within a class it is first come, first served. Among the campaigns' slots it is the
// one that has had least lately, so that a small campaign passes beside a large one, and a campaign that is alone has
// everything. The caller holds a lock.
type turns struct {
	waiting [classes][]*waiter
	had     [events.Slots]float64 // turns, each counting half after hadHalf
	at      time.Time             // of had
	count   int                   // of turns while both registrations and listings waited
}

// hadHalf is how fast what a campaign has had is forgotten.
const hadHalf = time.Minute

func (t *turns) join(c class) *waiter {
	w := &waiter{class: c, turn: make(chan struct{})}
	t.waiting[c] = append(t.waiting[c], w)
	return w
}

// leave takes a call out of the queue; false if its turn has come already.
func (t *turns) leave(w *waiter) bool {
	i := slices.Index(t.waiting[w.class], w)
	if i >= 0 {
		t.waiting[w.class] = slices.Delete(t.waiting[w.class], i, i+1)
	}
	return i >= 0
}

// next takes out the call whose turn it is; nil when none waits.
func (t *turns) next(now time.Time) *waiter {
	c, found := t.choose(now)
	if !found {
		return nil
	}
	w := t.waiting[c][0]
	t.waiting[c] = t.waiting[c][1:]
	if c < events.Slots {
		t.had[c]++
	}
	return w
}

func (t *turns) choose(now time.Time) (c class, found bool) {
	t.forget(now)
	slot, registers := t.least()
	lists := len(t.waiting[listings]) > 0
	switch {
	case len(t.waiting[probes]) > 0:
		return probes, true
	case registers && lists:
		if t.count++; t.count%listingEvery == 0 {
			return listings, true
		}
		return slot, true
	case lists:
		return listings, true
	}
	return slot, registers
}

// least is the waiting slot that has had least.
func (t *turns) least() (least class, found bool) {
	for c := range class(events.Slots) {
		if len(t.waiting[c]) > 0 && (!found || t.had[c] < t.had[least]) {
			least, found = c, true
		}
	}
	return least, found
}

func (t *turns) forget(now time.Time) {
	if passed := now.Sub(t.at); passed > 0 {
		part := math.Exp2(-passed.Seconds() / hadHalf.Seconds())
		for c := range t.had {
			t.had[c] *= part
		}
		t.at = now
	}
}
