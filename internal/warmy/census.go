package warmy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// Lists are Warmy's listings as the Census asks for them: a Prober's.
type Lists interface {
	// List returns a page, from 1, of the mailboxes whose address contains filter; all for an empty one.
	List(ctx context.Context, account, filter string, page int) (Page, error)
	// Find looks for the whole address in a listing that is filtered by it.
	Find(ctx context.Context, account, address string) (id string, found bool, err error)
}

// CensusConfig is what a Census is made of.
type CensusConfig struct {
	Warmy  Lists
	Listed handlers.Records[mailbox.Listed]    // what is remembered of the last listings, by account
	Seen   func(account string, l ListingSeen) // hears of every listing; nil: nobody does
	Now    func() time.Time                    // the clock of whoever names a time to Look; required
}

// ListingOutcome is what became of a listing.
type ListingOutcome string

// The outcomes. Those after Broken are suspicious: somebody has to look.
const (
	Complete   ListingOutcome = "complete"   // every mailbox was listed, and it adds up
	Counted    ListingOutcome = "counted"    // the first page alone, for how many there are
	Filtered   ListingOutcome = "filtered"   // one address was looked up
	Moved      ListingOutcome = "moved"      // mailboxes came or went meanwhile, so it proves nothing
	Broken     ListingOutcome = "failed"     // Warmy did not answer
	Unreadable ListingOutcome = "unreadable" // no listing, or one that does not add up, repeats itself or does not end
	Fell       ListingOutcome = "fell"       // a fifth of the mailboxes is gone
	Emptied    ListingOutcome = "empty"      // all are
	Renamed    ListingOutcome = "renamed"    // an id stands for another address than before; about others it is believed
)

// ListingOutcomes lists every outcome of a listing.
func ListingOutcomes() []ListingOutcome {
	return []ListingOutcome{Complete, Counted, Filtered, Moved, Broken, Unreadable, Fell, Emptied, Renamed}
}

// Suspicious tells whether a listing of this outcome wants somebody to look at Warmy. Nothing was changed by what is odd in it.
func (o ListingOutcome) Suspicious() bool {
	return slices.Contains([]ListingOutcome{Unreadable, Fell, Emptied, Renamed}, o)
}

// ListingSeen is one listing as an operator hears of it.
type ListingSeen struct {
	Outcome   ListingOutcome
	Mailboxes int           // as Warmy said; 0 where it did not
	Before    int           // as the last trusted listing said
	Asks      int           // how many mailboxes waited for the answer
	Took      time.Duration //
}

const (
	// countFor is how long the number of an account's mailboxes is known, to choose the cheaper question by it.
	countFor = 5 * time.Minute
	// countApart is how long absences wait for others before the account is counted for them.
	countApart = 15 * time.Second
	// suspectFor is how long a suspicious account is not asked again.
	suspectFor = 2 * time.Minute
	// unsteadyFor is how long an account is not listed whole whose mailboxes moved while they were listed.
	unsteadyFor = 5 * time.Minute
	// pageTries is how often a page is asked for that Warmy fails to answer: without it a listing of a hundred pages would
	// hardly ever come to its end.
	pageTries = 3
)

// Census answers for many mailboxes from one complete listing of their account. It asks as little of Warmy as it can: a
// filtered lookup for each mailbox while there are fewer of them than the account has pages, the pages otherwise. At
// most one listing of an account is under way, and all who wait are answered by it. What is suspicious answers nobody; and
// because a lookup cannot tell, nobody is said to be absent by one before the account was counted anew.
// It is safe for concurrent use.
type Census struct {
	cfg CensusConfig

	mu    sync.Mutex
	rolls map[string]*roll
}

var _ handlers.Lister = (*Census)(nil)

// NewCensus returns a Census that knows nothing yet. It panics without a clock: this machine's would do in every test, and be
// another one than the workers wait by.
func NewCensus(cfg CensusConfig) *Census {
	if cfg.Seen == nil {
		cfg.Seen = func(string, ListingSeen) {}
	}
	if cfg.Now == nil {
		panic("warmy: a census needs the clock that its askers go by")
	}
	return &Census{cfg: cfg, rolls: make(map[string]*roll)}
}

// Look is Lister's.
func (c *Census) Look(ctx context.Context, account, address string, since time.Time) (handlers.Listing, error) {
	if early := since.Sub(c.cfg.Now()); early > 0 {
		return handlers.Listing{}, tooEarly(early)
	}
	r := c.roll(account)
	a := &ask{ctx: context.WithoutCancel(ctx), probe: leg.IsProbe(ctx), address: canonical(address), since: since, reply: make(chan reply, 1)}
	if said, ok := r.ask(a); ok { //nolint:contextcheck // a call is made with the context of one who asks
		return said.listing, said.err
	}
	select {
	case said := <-a.reply:
		if said.asked {
			leg.Asked(ctx, said.outage)
		}
		return said.listing, said.err
	case <-ctx.Done():
		r.leave(a)
		return handlers.Listing{}, fmt.Errorf("wait for the listing: %w", context.Cause(ctx))
	}
}

// Registrar returns r with a Find that is answered by the census: whoever posts, or takes an operator's word, because an
// address is not listed must not believe a listing that the census does not.
func (c *Census) Registrar(r handlers.Registrar) handlers.Registrar { return counted{r, c} }

type counted struct {
	handlers.Registrar

	census *Census
}

// Find is Registrar's.
func (c counted) Find(ctx context.Context, account, address string) (id string, found bool, err error) {
	l, err := c.census.Look(ctx, account, address, c.census.cfg.Now())
	return l.ID, l.Found, err
}

func (c *Census) roll(account string) *roll {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rolls[account]
	if r == nil {
		r = &roll{census: c, account: account, more: make(chan struct{}, 1)}
		c.rolls[account] = r
	}
	return r
}

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

// snapshot is a complete listing: the ids by canonical address, nothing else, for 100,000 mailboxes are many.
type snapshot struct {
	began    time.Time
	ids      map[string]string // twice: listed under two ids
	withheld map[string]bool   // addresses of which nothing is said
}

// twice stands for the id of an address that is listed twice. No id of Warmy's is empty.
const twice = ""

// of answers for one address.
func (s *snapshot) of(address string) reply {
	id, found := s.ids[address]
	switch {
	case s.withheld[address]:
		return reply{err: suspicious(renamed())}
	case found && id == twice:
		return reply{err: listedTwice()}
	}
	return reply{listing: handlers.Listing{ID: id, Found: found, Began: s.began}}
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

// serve answers until nobody waits. Every call is made for one of those who wait: by its context it takes its turn, and
// stands back while the leg is held.
func (r *roll) serve() {
	for {
		r.rewind()
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

// rewind forgets what seems to have begun later than now: the clock was set back, and nobody can tell how long ago it was. Who
// asks for a listing that begins later than now is sent away, as by Look.
func (r *roll) rewind() {
	now := r.census.cfg.Now()
	r.until, r.unsteady = earlier(r.until, now.Add(suspectFor)), earlier(r.unsteady, now.Add(unsteadyFor))
	if r.countedAt.After(now) {
		r.countedAt = time.Time{}
	}
	r.answer(func(a *ask) bool { return a.since.After(now) }, func(a *ask) reply { return reply{err: tooEarly(a.since.Sub(now)), asked: a.lookedUp()} })
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
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// first is for whom the next call is made, and with how many others. A probe asks for itself alone: it is to end soon, and
// while it lasts nobody else may call.
func (r *roll) first() (a *ask, waiting int) {
	if i := slices.IndexFunc(r.asks, func(a *ask) bool { return a.probe }); i >= 0 {
		return r.asks[i], 1
	}
	return r.asks[0], len(r.asks)
}

// step makes the next call or listing. Absences are kept until all have been looked up, so that one count serves them all.
func (r *roll) step(ctx context.Context, first *ask, waiting int) {
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

// rest waits for d, and tells whether it ended by itself: not because somebody came, or because nobody waits any more.
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

// miss keeps an absence until the account has been counted anew.
func (r *roll) miss(a *ask, said reply) {
	r.mu.Lock()
	a.absent = &said
	r.mu.Unlock()
	r.settle()
}

// settle answers those whose absence is certain: the account was counted since they may be asked about.
func (r *roll) settle() {
	r.rewind()
	r.answer(func(a *ask) bool { return a.absent != nil && !r.countedAt.Before(a.since) }, func(a *ask) reply { return *a.absent })
}

// distrust answers everybody for a while that the account is suspicious.
func (r *roll) distrust(err error, seen *leg.Witness) {
	r.suspect, r.until = suspicious(err), r.census.cfg.Now().Add(suspectFor)
	r.share(everybody, seen, false, func(*ask) reply { return reply{err: r.suspect} })
}

// list answers all who wait with a complete listing, unless its first page tells that other questions cost less, whose
// number is given.
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

func everybody(*ask) bool { return true }

func only(a *ask) func(*ask) bool { return func(b *ask) bool { return a == b } }

// serves tells whether the snapshot may answer a.
func (s *snapshot) serves(a *ask) bool { return !s.began.Before(a.since) }

// tooEarly is the fault of an ask that no listing of today can answer.
func tooEarly(by time.Duration) *fault.Fault {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "warmy_listing_early", Forecast: fault.ByTime, After: by,
		Cause: "what the listing shows now would prove nothing yet", Remedy: "none: it is asked again by itself",
	}
}

// suspicious is the fault of everybody whose account's listing is suspicious: nothing is decided, nothing is counted.
func suspicious(err error) *fault.Fault {
	f := &fault.Fault{
		Class: fault.RetryAfter, Code: "warmy_listing_suspicious", Forecast: fault.ByTime, After: suspectFor,
		Cause:  "Warmy's listing shows less than it should, or contradicts itself: nothing is decided by it",
		Remedy: "compare with Warmy's own page; it is listed again by itself (runbook warmy-listing-suspicious)",
	}
	if known, ok := errors.AsType[*fault.Fault](err); ok {
		f.Cause = known.Cause
	}
	return f
}
