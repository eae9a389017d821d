package warmy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// visit is one reading of an account's listing.
type visit struct {
	roll   *roll
	began  time.Time
	limit  int // more pages than that are not worth reading
	survey survey
	count  int // mailboxes, as Warmy says
	before int // and as the last trusted listing said
}

// run reads the listing. An error goes with every outcome but Complete and Counted.
func (v *visit) run(ctx context.Context) (ListingOutcome, error) {
	for page := 1; page <= maxPages; page++ {
		listed, err := v.page(ctx, page)
		if err != nil {
			return unread(err), err
		}
		if f := v.survey.add(listed); f != nil {
			return unread(f), f
		}
		if page == 1 {
			if outcome, err := v.measure(ctx, listed); outcome != Complete {
				return outcome, err
			}
		}
		if listed.Last {
			return v.conclude(ctx)
		}
	}
	return Unreadable, endless()
}

// pageTries is how often a page is asked for that Warmy fails to answer: without it a listing of a hundred pages would
// hardly ever come to its end.
const pageTries = 3

// page asks for one page, again when Warmy fails to answer.
func (v *visit) page(ctx context.Context, n int) (listed Page, err error) {
	for range pageTries {
		listed, err = v.roll.census.cfg.Warmy.List(ctx, v.roll.account, "", n)
		if err == nil || !fault.Of(err).Outage || ctx.Err() != nil {
			return listed, err
		}
	}
	return listed, err
}

// measure takes the size of the account from its first page, and reports whether to read on: Complete if so.
func (v *visit) measure(ctx context.Context, first Page) (ListingOutcome, error) {
	v.count = first.Count
	if outcome, err := v.compare(ctx); err != nil {
		return outcome, err
	}
	now := v.roll.census.cfg.Now()
	if first.Total > v.limit || !first.Last && now.Before(v.roll.unsteady) {
		if err := v.trust(ctx); err != nil {
			return Broken, err
		}
		v.roll.pages, v.roll.countedAt = max(1, first.Total), v.began
		return Counted, nil
	}
	v.roll.pages = max(1, first.Total)
	return Complete, nil
}

// compare judges the size by the last trusted one, which outlives this process.
func (v *visit) compare(ctx context.Context) (ListingOutcome, error) {
	var shrunk mailbox.Shrinkage
	err := v.remember(ctx, func(known mailbox.Listed) (next mailbox.Listed) {
		v.before = known.Count
		next, shrunk = known.Sighted(v.count, v.roll.census.cfg.Now())
		return next
	})
	if err != nil {
		return Broken, err
	}
	switch shrunk {
	case mailbox.Fell:
		return Fell, untrusted("more than a fifth of the mailboxes is gone")
	case mailbox.Emptied:
		return Emptied, untrusted("it is empty, and was not")
	case mailbox.NotShrunk:
	}
	return Complete, nil
}

// trust remembers the size: it was read whole and adds up, or nothing else will be read of it.
func (v *visit) trust(ctx context.Context) error {
	return v.remember(ctx, func(known mailbox.Listed) mailbox.Listed { return known.Trusted(v.count, v.roll.census.cfg.Now()) })
}

// remember changes what is remembered of the account. Whoever was faster has seen the same.
func (v *visit) remember(ctx context.Context, change func(mailbox.Listed) mailbox.Listed) error {
	records := v.roll.census.cfg.Listed
	known, revision, err := records.Load(ctx, v.roll.account)
	if err != nil {
		return fmt.Errorf("load the last listing: %w", err)
	}
	next := change(known)
	if next == known {
		return nil
	}
	if _, err := records.Save(ctx, v.roll.account, next, revision); err != nil && !errors.Is(err, handlers.ErrConflict) {
		return fmt.Errorf("save the last listing: %w", err)
	}
	return nil
}

// conclude judges a listing that has ended. One that is Renamed is believed but for the addresses concerned.
func (v *visit) conclude(ctx context.Context) (ListingOutcome, error) {
	if f := v.survey.complete(); f != nil {
		return unread(f), f
	}
	v.count = v.survey.count
	if err := v.trust(ctx); err != nil {
		return Broken, err
	}
	v.roll.pages, v.roll.countedAt = max(1, (v.count+perPage-1)/perPage), v.began
	v.roll.doubt(v.survey.byID)
	if len(v.roll.doubts) > 0 {
		return Renamed, renamed()
	}
	return Complete, nil
}

// doubt is an id that stands for another address than before. Nobody knows whether the mailbox was renamed or Warmy is wrong.
type doubt struct {
	was, is string // canonical addresses
	since   time.Time
}

// doubtFor is how long an id must stand for another address before that is believed: somebody will have seen the alarm.
const doubtFor = 24 * time.Hour

// doubt compares a complete listing with the last one, and what was in doubt already with what it was before.
func (r *roll) doubt(byID map[string]string) {
	now := r.census.cfg.Now()
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	doubts := make(map[string]doubt)
	note := func(id, was string, before doubt) {
		email, listed := byID[id]
		is := canonical(email)
		switch {
		case !listed && before.was == "", listed && is == was:
			return
		case !listed || before.is == is:
			doubts[id] = before
		default:
			doubts[id] = doubt{was, is, now}
		}
	}
	for id, before := range r.doubts {
		if now.Sub(before.since) < doubtFor {
			note(id, before.was, before)
		}
	}
	if last != nil {
		for address, id := range last.ids {
			if _, known := r.doubts[id]; !known {
				note(id, address, doubt{})
			}
		}
	}
	r.doubts = doubts
}

// withheld are the addresses about which nothing is said.
func (r *roll) withheld() map[string]bool {
	now := r.census.cfg.Now()
	addresses := make(map[string]bool)
	for _, d := range r.doubts {
		if now.Sub(d.since) < doubtFor {
			addresses[d.was], addresses[d.is] = true, true
		}
	}
	return addresses
}

func renamed() *fault.Fault { return untrusted("an id stands for another address than before") }

// unread is the outcome of a listing that ended in err.
func unread(err error) ListingOutcome {
	switch {
	case errors.Is(err, errMoved):
		return Moved
	case fault.Of(err).Code == codeUntrusted:
		return Unreadable
	}
	return Broken
}
