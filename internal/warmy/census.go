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

// Suspicious reports whether a listing of this outcome wants somebody to look at Warmy. Nothing was changed by what is odd
// in it.
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

// Census answers for many mailboxes from one complete listing of their account. It asks as little of Warmy as it can: a
// filtered lookup for each mailbox while there are fewer of them than the account has pages, the pages otherwise. At
// most one listing of an account is under way, and all who wait are answered by it. A suspicious listing answers nobody. A
// lookup cannot reveal one, so an absence it finds is reported only after a fresh count. It is safe for concurrent use.
type Census struct {
	cfg CensusConfig

	mu    sync.Mutex
	rolls map[string]*roll
}

var _ handlers.Lister = (*Census)(nil)

// NewCensus returns a Census that knows nothing yet. It panics without a clock: this machine's would do in every test, and
// be another one than the workers wait by.
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
