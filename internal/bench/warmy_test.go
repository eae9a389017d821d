package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
)

// TestTheWarmyBenchSeesEveryMailboxAndEveryCall runs it on a few mailboxes. How fast it was proves nothing here.
func TestTheWarmyBenchSeesEveryMailboxAndEveryCall(t *testing.T) {
	t.Parallel()
	fair, err := fairFigures(t.Context(), warmyPlan{share: 4})
	if err != nil || len(fair) != 1 || !strings.Contains(fair[0].value, "×") {
		t.Errorf("%+v, %v", fair, err)
	}
	pace, err := paceCase{perMinute: 600, workers: 1, run: time.Second}.measure(t.Context())
	if err != nil || len(pace) != 3 || pace[2].value != "0" || pace[2].met != "met" || strings.Contains(pace[1].value, "at most 0 in") {
		t.Errorf("%+v, %v", pace, err)
	}
}

func TestCallsOverTheBudgetAndMailboxesCreatedTwiceMissTheirAims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		most, twice int
		want        []string
	}{
		{55, 0, []string{"met", "met", "met"}},
		{56, 0, []string{"met", "not met", "met"}},
		{55, 10, []string{"met", "met", "not met"}},
	} {
		var l warmyLedger
		l.Summary.MostPerMinute, l.Summary.CreatedTwice = test.most, test.twice
		var got []string
		for _, f := range (paceCase{perMinute: 55}).figures(0.98, 300, l) {
			got = append(got, f.met)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("at most %d calls, %d created twice: %v, want %v", test.most, test.twice, got, test.want)
		}
	}
}

func TestAttemptsThatAnOutageBurnedMissTheirAim(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		seen outageSeen
		want []string
	}{
		{outageSeen{back: 10 * time.Second}, []string{"met", "met", "–"}},
		{outageSeen{burned: 1}, []string{"not met", "met", "–"}},
		{outageSeen{back: 10*time.Second + time.Millisecond}, []string{"met", "not met", "–"}},
	} {
		var got []string
		for _, f := range test.seen.figures(warmyPlan{}) {
			got = append(got, f.met)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.seen, got, test.want)
		}
	}
}

// The fast fleets would go on for a quarter of an hour.
func TestAFailureAtTheSlowBudgetEndsTheFastFleets(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	p := warmyPlan{cases: []paceCase{{perMinute: 55}}, fast: []paceCase{{perMinute: 600, workers: 1, run: time.Hour}}}
	o := options{only: []string{"pace"}}
	if _, err := p.measure(ctx, o.wants); !errors.Is(err, errNoWorkers) || ctx.Err() != nil {
		t.Errorf("%v; the fast fleets were measured until %v", err, ctx.Err())
	}
}

func TestTheTwoCampaignsOfTheBenchHaveSlotsOfTheirOwn(t *testing.T) {
	t.Parallel()
	if events.Slot("small") == events.Slot("large") {
		t.Error("they share a slot: there is nothing to be fair about")
	}
}
