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

// run reads the listing. An error goes with every outcome but Complete, Counted and Moved.
func (v *visit) run(ctx context.Context) (Outcome, error) {
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
			return v.conclude()
		}
	}
	return Unreadable, endless()
}

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

// measure takes the size of the account from its first page, and tells whether to read on: Complete if so.
func (v *visit) measure(ctx context.Context, first Page) (Outcome, error) {
	v.count = first.Count
	if outcome, err := v.remember(ctx); err != nil {
		return outcome, err
	}
	v.roll.pages, v.roll.counted = max(1, first.Total), v.roll.census.cfg.Now()
	if first.Total > v.limit || !first.Last && v.roll.counted.Before(v.roll.unsteady) {
		return Counted, nil
	}
	return Complete, nil
}

// remember compares the size with the last trusted one, which outlives this process, and keeps it.
func (v *visit) remember(ctx context.Context) (Outcome, error) {
	records, now := v.roll.census.cfg.Listed, v.roll.census.cfg.Now()
	known, revision, err := records.Load(ctx, v.roll.account)
	if err != nil {
		return Broken, fmt.Errorf("load the last listing: %w", err)
	}
	v.before = known.Count
	next, shrunk := known.Now(v.count, now)
	if next != known {
		if _, err := records.Save(ctx, v.roll.account, next, revision); err != nil && !errors.Is(err, handlers.ErrConflict) {
			return Broken, fmt.Errorf("save the last listing: %w", err)
		}
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

// conclude judges a listing that has ended.
func (v *visit) conclude() (Outcome, error) {
	if f := v.survey.complete(); f != nil {
		return unread(f), f
	}
	v.roll.mu.Lock()
	last := v.roll.last
	v.roll.mu.Unlock()
	if last == nil {
		return Complete, nil
	}
	for address, id := range last.ids {
		if email, listed := v.survey.byID[id]; listed && canonical(email) != address {
			return Renamed, untrusted("an id stands for another address than before")
		}
	}
	return Complete, nil
}

// snapshot is what the listing showed.
func (v *visit) snapshot() *snapshot {
	ids := make(map[string]string, len(v.survey.byID))
	for id, email := range v.survey.byID {
		address := canonical(email)
		if _, listed := ids[address]; listed {
			id = twice
		}
		ids[address] = id
	}
	return &snapshot{began: v.began, ids: ids}
}

// unread is the outcome of a listing that ended in err.
func unread(err error) Outcome {
	switch {
	case errors.Is(err, errMoved):
		return Moved
	case fault.Of(err).Code == "warmy_listing_untrusted":
		return Unreadable
	}
	return Broken
}
