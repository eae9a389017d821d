package bench

import (
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
	if err != nil || len(pace) != 2 || !strings.Contains(pace[1].value, "0 created twice") || strings.Contains(pace[1].value, "at most 0 in") {
		t.Errorf("%+v, %v", pace, err)
	}
}

func TestTheTwoCampaignsOfTheBenchHaveSlotsOfTheirOwn(t *testing.T) {
	t.Parallel()
	if events.Slot("small") == events.Slot("large") {
		t.Error("they share a slot: there is nothing to be fair about")
	}
}
