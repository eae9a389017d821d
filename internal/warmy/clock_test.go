package warmy_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// setBack is an account at a Warmy that takes a second for each call. The census's clock is set back once: during a lookup of
// this address.
type setBack struct {
	*account

	during string
	by     time.Duration
	once   sync.Once
	off    atomic.Int64
}

func (s *setBack) Now() time.Time { return time.Now().Add(time.Duration(s.off.Load())) }

func (s *setBack) List(ctx context.Context, account, filter string, n int) (warmy.Page, error) {
	time.Sleep(time.Second) // of a bubble
	return s.account.List(ctx, account, filter, n)
}

func (s *setBack) Find(ctx context.Context, account, address string) (string, bool, error) {
	time.Sleep(time.Second) // of a bubble
	if address == s.during {
		s.once.Do(func() { s.off.Store(-int64(s.by)) })
	}
	return s.account.Find(ctx, account, address)
}

func TestWhoWaitsWhileTheClockIsSetBackIsSentAwayAndNothingIsListedForHim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &setBack{account: accountOf(1000), during: "m1@contoso.example", by: 10 * time.Minute}
		c := warmy.NewCensus(warmy.CensusConfig{Warmy: s, Listed: s.account, Now: s.Now})
		if _, err := c.Look(t.Context(), "main", "m2@contoso.example", s.Now()); err != nil { // it is counted
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		since := s.Now()
		var all sync.WaitGroup
		all.Go(func() { _, _ = c.Look(t.Context(), "main", s.during, since) })
		synctest.Wait() // its lookup is under way
		_, err := c.Look(t.Context(), "main", "absent@contoso.example", since)
		if f := wants(t, err, fault.RetryAfter, "warmy_listing_early"); f.After < 9*time.Minute || f.After > 10*time.Minute {
			t.Errorf("it comes again after %v", f.After)
		}
		all.Wait()
		if s.lists != 1 || s.finds > 3 {
			t.Errorf("%d pages and %d lookups", s.lists, s.finds)
		}
	})
}

// TestWhatWasListedBeforeTheClockWasSetBackIsNoNews has a listing and a count that seem to be of the future.
func TestWhatWasListedBeforeTheClockWasSetBackIsNoNews(t *testing.T) {
	t.Parallel()
	t.Run("listing", func(t *testing.T) {
		t.Parallel()
		a := accountOf(50)
		c := a.census()
		a.look(t, c, "m1@contoso.example")
		a.pass(-10 * time.Minute)
		a.grow(1) // by a POST that was made now
		if got := a.look(t, c, "m51@contoso.example"); got.err != nil || !got.Found || got.Began.After(a.now) {
			t.Errorf("%+v, asked at %v", got, a.now)
		}
	})
	t.Run("count", func(t *testing.T) {
		t.Parallel()
		a := accountOf(1000)
		c := a.census()
		a.look(t, c, "m1@contoso.example")
		a.pass(-10 * time.Minute)
		a.boxes = nil
		wants(t, a.look(t, c, "m7@contoso.example").err, fault.RetryAfter, "warmy_listing_suspicious")
	})
	t.Run("suspicion", func(t *testing.T) {
		t.Parallel()
		a := accountOf(50)
		a.stored.Count, a.stored.At = 1000, a.now
		c := a.census()
		wants(t, a.look(t, c, "m1@contoso.example").err, fault.RetryAfter, "warmy_listing_suspicious")
		a.pass(-10 * time.Minute)
		a.stored.Count = 0
		wants(t, a.look(t, c, "m1@contoso.example").err, fault.RetryAfter, "warmy_listing_suspicious")
		a.pass(3 * time.Minute)
		if got := a.look(t, c, "m1@contoso.example"); got.err != nil || !got.Found {
			t.Errorf("suspicious for longer than two minutes: %+v", got)
		}
	})
}
