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

// class is who shares a budget.
type class int

const (
	// others is whoever has not said for whom he calls: hints, and what was forgotten. It is the zero class, so that nobody passes
	// for a campaign by saying nothing.
	others   class = iota
	listings       // that settle unclear registrations
	probes         // that find out whether the service is back
	begun          // what waits for one more turn, and has begun already what must not wait long
	lookUps        // of tariff plans: one call in ten minutes, for which imports wait, and which is given up after a minute
	slots          // the first of the campaigns' slots, which are the classes from here on
	classes  = slots + events.Slots
)

// yields is which part of the turns those who yield get at most while those wait to whom they yield: one of so many.
// Listings yield to registrations, and others to both.
const yields = 4

type callingKey struct{}

// callingOf returns for whom ctx's call is made.
func callingOf(ctx context.Context) calling {
	s, _ := ctx.Value(callingKey{}).(calling)
	switch {
	case leg.IsProbe(ctx):
		s.class = probes
	case leg.IsBegun(ctx):
		s.class = begun
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
	case events.Code, events.Refresh: // they have no budget of Warmy's to share
	}
	return context.WithValue(ctx, callingKey{}, s)
}

// lookingUp says that calls under the returned context are for tariff plans.
func lookingUp(ctx context.Context) context.Context {
	return context.WithValue(ctx, callingKey{}, calling{class: lookUps})
}

func slotClass(campaign string) class {
	n, err := strconv.Atoi(strings.TrimPrefix(events.Slot(campaign), "s"))
	if err != nil || n < 0 || n >= events.Slots {
		return others
	}
	return slots + class(n)
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

// queue decides whose call is next. Within a class it is first come, first served. Among the campaigns' slots it is the
// one that has had least lately, so that a small campaign passes beside a large one, and a campaign that is alone has
// everything. The caller holds a lock.
type queue struct {
	waiting [classes][]*waiter
	had     [classes]float64 // turns of the campaigns' slots, each counting half after hadHalf
	at      time.Time        // of had

	count [slots + 1]int // turns that the class had, or gave to those behind it, while any waited there
}

// hadHalf is how fast what a campaign has had is forgotten.
const hadHalf = time.Minute

func (q *queue) join(c class) *waiter {
	w := &waiter{class: c, turn: make(chan struct{})}
	q.waiting[c] = append(q.waiting[c], w)
	return w
}

// leave takes a call out of the queue; false if its turn has come already.
func (q *queue) leave(w *waiter) bool {
	i := slices.Index(q.waiting[w.class], w)
	if i >= 0 {
		q.waiting[w.class] = slices.Delete(q.waiting[w.class], i, i+1)
	}
	return i >= 0
}

// next takes out the call whose turn it is; nil when none waits.
func (q *queue) next(now time.Time) *waiter {
	c, found := q.choose(now)
	if !found {
		return nil
	}
	w := q.waiting[c][0]
	q.waiting[c] = q.waiting[c][1:]
	if c >= slots {
		q.had[c]++
	}
	return w
}

func (q *queue) choose(now time.Time) (c class, found bool) {
	q.forget(now)
	slot, registers := q.least()
	switch {
	case q.waits(probes):
		return probes, true
	case q.waits(begun):
		return begun, true
	case q.waits(lookUps):
		return lookUps, true
	case registers && !q.gives(slots, listings, others):
		return slot, true
	case q.waits(listings) && !q.gives(listings, others):
		return listings, true
	}
	return others, q.waits(others)
}

func (q *queue) waits(c class) bool { return len(q.waiting[c]) > 0 }

// gives reports whether a class gives this turn to those who yield to it: one of so many, if any of them waits.
func (q *queue) gives(c class, behind ...class) bool {
	if !slices.ContainsFunc(behind, q.waits) {
		return false
	}
	q.count[c]++
	return q.count[c]%yields == 0
}

// least is the waiting slot that has had least.
func (q *queue) least() (least class, found bool) {
	for c := slots; c < classes; c++ {
		if q.waits(c) && (!found || q.had[c] < q.had[least]) {
			least, found = c, true
		}
	}
	return least, found
}

func (q *queue) forget(now time.Time) {
	if passed := now.Sub(q.at); passed > 0 {
		part := math.Exp2(-passed.Seconds() / hadHalf.Seconds())
		for c := range q.had {
			q.had[c] *= part
		}
		q.at = now
	}
}
