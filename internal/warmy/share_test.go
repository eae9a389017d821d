package warmy_test

import (
	"context"
	"sync"
	"testing"

	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/warmy"
)

// TestOneListingIsOneAnswerHoweverManyWaited counts what the breaker counts. A thousand successes for one listing would outweigh
// every failure beside it.
func TestOneListingIsOneAnswerHoweverManyWaited(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil            func(a *account)
		answered, failed int
	}{
		"complete":   {func(*account) {}, 1, 0},
		"suspicious": {func(a *account) { a.stored = mailbox.Listed{Count: 1000, At: a.now} }, 1, 0},
		"failed": {func(a *account) {
			a.bend = func(int, warmy.Page) (warmy.Page, error) {
				return warmy.Page{}, failing(fault.Transient, "warmy_5xx", true)
			}
		}, 0, 1},
		"page 2 failed once": {func(a *account) {
			failed := false
			a.bend = func(n int, p warmy.Page) (warmy.Page, error) {
				if n == 2 && !failed {
					failed = true
					return warmy.Page{}, failing(fault.Transient, "warmy_5xx", true)
				}
				return p, nil
			}
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := accountOf(250)
			c.spoil(a)
			answered, failed := 0, 0
			for _, got := range a.crowd(t, a.census(), 250, a.now) {
				if got.seen.Answered() {
					answered++
				}
				if got.seen.Failed() {
					failed++
				}
			}
			if answered != c.answered || failed != c.failed {
				t.Errorf("%d heard of an answer and %d of a failure, want %d and %d", answered, failed, c.answered, c.failed)
			}
		})
	}
}

// TestAProbeHearsOfTheListingThatAnswersIt lets it come while the account is listed for somebody else.
func TestAProbeHearsOfTheListingThatAnswersIt(t *testing.T) {
	t.Parallel()
	a := accountOf(50)
	a.held, a.asked = make(chan struct{}), make(chan struct{}, 100)
	c := a.census()
	var all sync.WaitGroup
	look := func(ctx context.Context) *leg.Witness {
		ctx, seen := leg.Watch(ctx)
		all.Go(func() {
			if l, err := c.Look(ctx, "main", "m1@contoso.example", a.now); err != nil || l.ID != "1" {
				t.Errorf("%+v, %v", l, err)
			}
		})
		return seen
	}
	plain := look(t.Context())
	<-a.asked
	probe := look(leg.Probe(t.Context()))
	eventually(t, func() bool { return warmy.Waiting(c, "main") == 2 })
	close(a.held)
	all.Wait()
	if !probe.Answered() || plain.Answered() {
		t.Errorf("the probe heard of the listing: %t, and who had asked first: %t", probe.Answered(), plain.Answered())
	}
}
