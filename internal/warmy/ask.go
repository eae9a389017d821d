package warmy

import (
	"context"
	"slices"
	"time"

	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// ask is one mailbox about which the listing is asked.
type ask struct {
	ctx     context.Context //nolint:containedctx // for whom it is called; a listing lives as long as anybody waits for it
	probe   bool            // it finds out whether Warmy is back
	address string          // canonical
	since   time.Time
	reply   chan reply
	absent  *reply // of its lookup, which did not find it, until the account is counted
}

// lookedUp reports whether Warmy was asked for it alone.
func (a *ask) lookedUp() bool { return a.absent != nil && a.absent.asked }

// reply answers an ask.
type reply struct {
	listing handlers.Listing
	err     error
	asked   bool // Warmy was asked for it; of many who waited for one call, one is told
	outage  bool // and did not answer
}

// ask answers at once from the last listing, or joins those who wait.
func (r *roll) ask(a *ask) (reply, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.last.serves(a) && !r.last.began.After(r.census.cfg.Now()) {
		return r.last.of(a.address), true
	}
	r.asks = append(r.asks, a)
	select {
	case r.more <- struct{}{}:
	default:
	}
	if !r.serving {
		r.serving = true
		go r.serve()
	}
	return reply{}, false
}

// leave takes a out of those who wait. A call for which nobody waits any more is broken off.
func (r *roll) leave(a *ask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = slices.DeleteFunc(r.asks, func(b *ask) bool { return a == b })
	if len(r.asks) == 0 && r.stop != nil {
		r.stop()
	}
}

// first is for whom the next call is made, and with how many others. A probe asks for itself alone: it is to end soon, and
// while it lasts nobody else may call.
func (r *roll) first() (a *ask, waiting int) {
	if i := slices.IndexFunc(r.asks, func(a *ask) bool { return a.probe }); i >= 0 {
		return r.asks[i], 1
	}
	return r.asks[0], len(r.asks)
}

// questions returns who is to be looked up next, nil for nobody, and what it costs to answer all who wait without listing
// the account whole: a lookup each, and a count for those whose absence waits for it. overdue tells that one has waited long.
func (r *roll) questions(first *ask, now time.Time) (next *ask, cost int, overdue bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch { // a probe asks for itself alone
	case first.probe && first.absent == nil:
		return first, 1, false
	case first.probe:
		return nil, 1, true
	}
	count := 0
	if first.absent == nil {
		next = first
	}
	for _, a := range r.asks {
		if a.absent != nil {
			count = 1
			overdue = overdue || now.Sub(a.absent.listing.Began) >= overdueAfter
			continue
		}
		cost++
		if next == nil {
			next = a
		}
	}
	return next, cost + count, overdue
}

// overdueAfter is how long an absence waits for the count while others are looked up.
const overdueAfter = 30 * time.Second

// answer replies to those who wait and are meant.
func (r *roll) answer(meant func(*ask) bool, say func(*ask) reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = slices.DeleteFunc(r.asks, func(a *ask) bool {
		if !meant(a) {
			return false
		}
		a.reply <- say(a)
		return true
	})
}

// share answers those who wait and are meant with what one call has shown. It is one answer of Warmy's, or one failure, however
// many waited: one of them hears of it, the probe if there is one. A lookup that was made for an ask alone still counts.
func (r *roll) share(meant func(*ask) bool, seen *leg.Witness, outage bool, say func(*ask) reply) {
	hears := r.hears(meant)
	r.answer(meant, func(a *ask) reply {
		said := say(a)
		said.asked = a.lookedUp()
		if a == hears && (seen.Answered() || seen.Failed()) {
			said.asked, said.outage = true, outage
		}
		return said
	})
}

// hears is the ask that a shared answer is told to.
func (r *roll) hears(meant func(*ask) bool) (hears *ask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asks {
		if meant(a) && (hears == nil || a.probe && !hears.probe) {
			hears = a
		}
	}
	return hears
}

func everybody(*ask) bool { return true }

func only(a *ask) func(*ask) bool { return func(b *ask) bool { return a == b } }
