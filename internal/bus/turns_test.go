package bus

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/leg"
)

// order lets every class keep as many waiting as backlog says, and tells who had n turns, one every pause.
func order(t *testing.T, at *turns, backlog map[class]int, n int, pause time.Duration) map[class]int {
	t.Helper()
	for c, many := range backlog {
		for range many {
			at.join(c)
		}
	}
	had, now := make(map[class]int), at.at
	if now.IsZero() {
		now = time.Unix(1000, 0)
	}
	for range n {
		now = now.Add(pause)
		w := at.next(now)
		if w == nil {
			break
		}
		had[w.class]++
	}
	return had
}

func TestACampaignThatIsAloneHasEveryTurn(t *testing.T) {
	t.Parallel()
	if had := order(t, new(turns), map[class]int{3: 100}, 100, time.Second); had[3] != 100 {
		t.Errorf("%v", had)
	}
}

func TestTwoCampaignsThatWaitFromTheBeginningShareEvenly(t *testing.T) {
	t.Parallel()
	if had := order(t, new(turns), map[class]int{3: 100, 9: 1000}, 100, time.Second); had[3] != 50 || had[9] != 50 {
		t.Errorf("%v", had)
	}
}

func TestACampaignThatComesLaterPassesOneThatHadMuch(t *testing.T) {
	t.Parallel()
	var at turns
	order(t, &at, map[class]int{9: 1000}, 300, time.Second)
	if had := order(t, &at, map[class]int{3: 100}, 30, time.Second); had[3] != 30 {
		t.Errorf("the newcomer had %d of the first 30 turns", had[3])
	}
	if had := order(t, &at, map[class]int{3: 400}, 600, time.Second); had[9] < 200 {
		t.Errorf("the large campaign had %d of 600 turns: it starves", had[9])
	}
}

func TestListingsHaveAPartOfTheTurnsWhileRegistrationsWaitAndAllOtherwise(t *testing.T) {
	t.Parallel()
	if had := order(t, new(turns), map[class]int{3: 100, listings: 100}, 80, time.Second); had[listings] != 20 || had[3] != 60 {
		t.Errorf("%v", had)
	}
	if had := order(t, new(turns), map[class]int{listings: 100}, 80, time.Second); had[listings] != 80 {
		t.Errorf("%v", had)
	}
}

func TestAProbeGoesFirst(t *testing.T) {
	t.Parallel()
	var at turns
	order(t, &at, map[class]int{3: 5, listings: 5}, 0, 0)
	at.join(probes)
	if w := at.next(time.Unix(1000, 0)); w.class != probes {
		t.Errorf("class %d was first", w.class)
	}
}

func TestWhoHasLeftHasNoTurn(t *testing.T) {
	t.Parallel()
	var at turns
	first, second := at.join(2), at.join(2)
	if !at.leave(first) || at.leave(first) {
		t.Error("it left never, or twice")
	}
	if got := at.next(time.Unix(1000, 0)); got != second {
		t.Error("the turn went to nobody")
	}
	if at.next(time.Unix(1001, 0)) != nil {
		t.Error("a turn for nobody")
	}
}

func TestACallIsMadeForItsLaneAndItsCampaign(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for want, got := range map[class]calling{
		12:       callingOf(withCalling(ctx, events.Register, "small", nil)),
		listings: callingOf(withCalling(ctx, events.Reconcile, "small", nil)),
		probes:   callingOf(leg.Probe(withCalling(ctx, events.Register, "small", nil))),
		0:        callingOf(ctx),
	} {
		if got.class != want {
			t.Errorf("class %d, want %d", got.class, want)
		}
	}
}

func TestATimelineObeysA429AndHalvesThePaceOnlyWhenItHappensAgain(t *testing.T) {
	t.Parallel()
	now := time.Unix(10_000, 0).UTC()
	line := timeline{Part: 1}.told(now, 30*time.Second)
	if !line.Until.Equal(now.Add(30*time.Second)) || line.Part != 1 {
		t.Fatalf("after the first: %+v", line)
	}
	if got := line.told(now.Add(time.Second), 10*time.Second); got != line {
		t.Errorf("the answer to a call under way changed it: %+v", got)
	}
	if got := line.free(now.Add(time.Second)); !got.Equal(line.Until) {
		t.Errorf("a call is free at %v", got)
	}
	again := line.told(now.Add(40*time.Second), time.Minute)
	if again.Part != 0.5 {
		t.Errorf("after the second: %+v", again)
	}
	if late := line.told(now.Add(10*time.Minute), time.Minute); late.Part != 1 {
		t.Errorf("long after the first: %+v", late)
	}
	if forever := line.told(now, 24*time.Hour); forever.Until.Sub(now) > longestTold {
		t.Errorf("stopped until %v", forever.Until)
	}
	end := again.Until
	if soon := again.recovered(end.Add(calm / 2)); soon.Part != 0.5 {
		t.Errorf("raised too early: %+v", soon)
	}
	for minute, want := range []float64{0.625, 0.75, 0.875, 1, 1} {
		if again = again.recovered(end.Add(time.Duration(minute+1) * calm)); again.Part != want {
			t.Errorf("%d calm minutes after the wait: %v, want %v", minute+1, again.Part, want)
		}
	}
	for range 20 {
		again = again.told(again.Until.Add(time.Second), time.Second)
	}
	if again.Part != leastPart {
		t.Errorf("the pace fell to %v", again.Part)
	}
}

// A reserve that is left free lets calls be late: the most that any minute can hold then is the budget.
func TestNoSlidingMinuteCanHoldMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	for _, perMinute := range []int{1, 7, 55, 60, 600, 6000} {
		b := budget{perMinute: perMinute}
		first := b.interval(1) * time.Duration(perMinute) // between a call and the one that would be too many
		if first-usableFor <= time.Minute {
			t.Errorf("%d a minute: a call as late as allowed is followed %v later by one too many", perMinute, first-usableFor)
		}
		if used := float64(time.Minute) / float64(b.interval(1)) / float64(perMinute); used < 0.98 {
			t.Errorf("%d a minute: %.3f of the budget are used", perMinute, used)
		}
	}
}
