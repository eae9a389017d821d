package warmy

import (
	"context"
	"sync"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

const (
	// countFor is how long the number of an account's mailboxes is known, to choose the cheaper question by it.
	countFor = 5 * time.Minute
	// countApart is how long absences wait for others before the account is counted for them.
	countApart = 15 * time.Second
	// suspectFor is how long a suspicious account is not asked again.
	suspectFor = 2 * time.Minute
	// unsteadyFor is how long an account is not listed whole whose mailboxes moved while they were listed.
	unsteadyFor = 5 * time.Minute
)

// roll is one account: who asks, and what was listed last.
type roll struct {
	census  *Census
	account string

	mu      sync.Mutex
	asks    []*ask // the oldest first
	serving bool
	more    chan struct{}      // hears of those who come
	stop    context.CancelFunc // of the call under way
	last    *snapshot          // the last complete listing

	// What the one who serves knows.
	pages     int              // of the account
	countedAt time.Time        // when the count began that told so, and that the account is not suspicious
	unsteady  time.Time        // until when the account is not listed whole
	suspect   error            // what is answered while the account is suspicious
	until     time.Time        // when that ends
	doubts    map[string]doubt // by id
}

// serve answers until nobody waits. Every call is made for one of those who wait: by its context it takes its turn, and
// stands back while the leg is held.
func (r *roll) serve() {
	for {
		r.mu.Lock()
		if len(r.asks) == 0 {
			r.serving, r.stop = false, nil
			r.mu.Unlock()
			return
		}
		first, waiting := r.first()
		ctx, cancel := context.WithCancel(first.ctx)
		r.stop = cancel
		r.mu.Unlock()
		r.step(ctx, first, waiting)
		cancel()
	}
}

// rewind forgets what seems to have begun later than now: the clock was set back, and nobody can tell how long ago it was.
// Who asks for a listing that begins later than now is sent away, as by Look; sent reports whether anybody was.
func (r *roll) rewind() (sent bool) {
	now := r.census.cfg.Now()
	r.until, r.unsteady = earlier(r.until, now.Add(suspectFor)), earlier(r.unsteady, now.Add(unsteadyFor))
	if r.countedAt.After(now) {
		r.countedAt = time.Time{}
	}
	r.answer(func(a *ask) bool { return a.since.After(now) }, func(a *ask) reply {
		sent = true
		return reply{err: tooEarly(a.since.Sub(now)), asked: a.lookedUp()}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.last.began.After(now) {
		r.last.began = time.Time{}
	}
	for _, a := range r.asks {
		if a.absent != nil && a.absent.listing.Began.After(now) {
			a.absent = nil
		}
	}
	return sent
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// step makes the next call or listing. Absences are kept until all have been looked up, so that one count serves them all.
func (r *roll) step(ctx context.Context, first *ask, waiting int) {
	if r.rewind() {
		return // first may be among those who were sent away
	}
	now := r.census.cfg.Now()
	next, questions, overdue := r.questions(first, now)
	switch {
	case now.Before(r.until):
		r.answer(everybody, func(*ask) reply { return reply{err: r.suspect} })
	case now.Sub(r.countedAt) >= countFor || questions >= r.pages && !now.Before(r.unsteady):
		r.list(ctx, waiting, questions)
	case next != nil && !overdue:
		r.lookUp(ctx, next)
	case overdue || r.rest(ctx, countApart-now.Sub(r.countedAt)):
		r.list(ctx, waiting, questions)
	}
}

// rest waits for d, and reports whether it ended by itself: not because somebody came, or because nobody waits any more.
func (r *roll) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.more:
	case <-ctx.Done():
	}
	return false
}

// lookUp answers one ask with a filtered listing: at once if it is found.
func (r *roll) lookUp(ctx context.Context, a *ask) {
	began := r.census.cfg.Now()
	if r.withheld()[a.address] {
		r.census.cfg.Seen(r.account, ListingSeen{Outcome: Renamed, Asks: 1})
		r.answer(only(a), func(*ask) reply { return reply{err: suspicious(renamed())} })
		return
	}
	ctx, seen := leg.Watch(ctx)
	id, found, err := r.census.cfg.Warmy.Find(ctx, r.account, a.address)
	said := reply{err: err, asked: seen.Answered() || seen.Failed(), outage: seen.Failed()}
	outcome := Filtered
	if err != nil {
		outcome = unread(err)
	}
	r.census.cfg.Seen(r.account, ListingSeen{Outcome: outcome, Asks: 1, Took: r.census.cfg.Now().Sub(began)})
	switch {
	case outcome == Unreadable:
		r.distrust(err, seen)
		return
	case outcome == Moved: // so many addresses contain this one that they fill pages
		said.err = suspicious(err)
	case err == nil:
		said.listing = handlers.Listing{ID: id, Found: found, Began: began}
	}
	if err == nil && !found {
		r.miss(a, said)
		return
	}
	r.answer(only(a), func(*ask) reply { return said })
	if fault.Is(err, fault.LegDown) { // nobody else would fare better, but a probe that came meanwhile
		r.answer(func(b *ask) bool { return !b.probe }, func(*ask) reply { return reply{err: err} })
	}
}

// miss keeps an absence until the account has been counted again.
func (r *roll) miss(a *ask, said reply) {
	r.mu.Lock()
	a.absent = &said
	r.mu.Unlock()
	r.settle()
}

// settle answers those whose lookup found nothing, if the account was counted at or after their since.
func (r *roll) settle() {
	r.rewind()
	r.answer(func(a *ask) bool { return a.absent != nil && !r.countedAt.Before(a.since) }, func(a *ask) reply { return *a.absent })
}

// distrust answers everybody for a while that the account is suspicious.
func (r *roll) distrust(err error, seen *leg.Witness) {
	r.suspect, r.until = suspicious(err), r.census.cfg.Now().Add(suspectFor)
	r.share(everybody, seen, false, func(*ask) reply { return reply{err: r.suspect} })
}

// list reads the whole account and answers everybody. It stops after page one if questions, so many single calls, are
// cheaper.
func (r *roll) list(ctx context.Context, waiting, questions int) {
	began := r.census.cfg.Now()
	ctx, seen := leg.Watch(ctx)
	v := &visit{roll: r, began: began, limit: questions}
	outcome, err := v.run(ctx)
	took := ListingSeen{Outcome: outcome, Mailboxes: v.count, Before: v.before, Asks: waiting, Took: r.census.cfg.Now().Sub(began)}
	r.census.cfg.Seen(r.account, took)
	if r.census.cfg.Now().Before(began) {
		return // the clock was set back meanwhile: it is listed again
	}
	switch {
	case outcome == Complete || outcome == Renamed:
		shot := v.snapshot()
		r.mu.Lock()
		r.last = shot
		r.mu.Unlock()
		r.share(shot.serves, seen, false, func(a *ask) reply { return shot.of(a.address) })
	case outcome == Counted:
		r.settle()
	case outcome == Moved:
		r.unsteady = r.census.cfg.Now().Add(unsteadyFor)
	case outcome.Suspicious():
		r.distrust(err, seen)
	case ctx.Err() == nil: // else nobody waits any more, or somebody who came just now
		would := &snapshot{began: began}
		r.share(would.serves, seen, seen.Failed(), func(*ask) reply { return reply{err: err} })
	}
}
