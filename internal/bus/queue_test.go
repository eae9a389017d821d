package bus

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/leg"
	"kindling/internal/warmy"
)

// order lets every class keep as many waiting as backlog says, and tells who had n turns, one every pause.
func order(t *testing.T, at *queue, backlog map[class]int, n int, pause time.Duration) map[class]int {
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
	if had := order(t, new(queue), map[class]int{slots + 3: 100}, 100, time.Second); had[slots+3] != 100 {
		t.Errorf("%v", had)
	}
}

func TestTwoCampaignsThatWaitFromTheBeginningShareEvenly(t *testing.T) {
	t.Parallel()
	if had := order(t, new(queue), map[class]int{slots + 3: 100, slots + 9: 1000}, 100, time.Second); had[slots+3] != 50 || had[slots+9] != 50 {
		t.Errorf("%v", had)
	}
}

func TestACampaignThatComesLaterPassesOneThatHadMuch(t *testing.T) {
	t.Parallel()
	var at queue
	order(t, &at, map[class]int{slots + 9: 1000}, 300, time.Second)
	if had := order(t, &at, map[class]int{slots + 3: 100}, 30, time.Second); had[slots+3] != 30 {
		t.Errorf("the newcomer had %d of the first 30 turns", had[slots+3])
	}
	if had := order(t, &at, map[class]int{slots + 3: 400}, 600, time.Second); had[slots+9] < 200 {
		t.Errorf("the large campaign had %d of 600 turns: it starves", had[slots+9])
	}
}

func TestListingsHaveAPartOfTheTurnsWhileRegistrationsWaitAndAllOtherwise(t *testing.T) {
	t.Parallel()
	if had := order(t, new(queue), map[class]int{slots + 3: 100, listings: 100}, 80, time.Second); had[listings] != 20 || had[slots+3] != 60 {
		t.Errorf("%v", had)
	}
	if had := order(t, new(queue), map[class]int{listings: 100}, 80, time.Second); had[listings] != 80 {
		t.Errorf("%v", had)
	}
}

func TestWhoHasNotSaidForWhomHeCallsTakesNoTurnsFromRegistrationsButOfTheListings(t *testing.T) {
	t.Parallel()
	had := order(t, new(queue), map[class]int{slots: 100, slots + 15: 100, others: 100}, 80, time.Second)
	if had[others] != 20 || had[slots] != 30 || had[slots+15] != 30 {
		t.Errorf("beside registrations: %v", had)
	}
	had = order(t, new(queue), map[class]int{slots + 3: 100, listings: 100, others: 100}, 80, time.Second)
	if had[slots+3] != 60 || had[listings] != 15 || had[others] != 5 {
		t.Errorf("beside both: %v", had)
	}
	if had := order(t, new(queue), map[class]int{listings: 100, others: 100}, 80, time.Second); had[listings] != 60 || had[others] != 20 {
		t.Errorf("beside listings: %v", had)
	}
	if had := order(t, new(queue), map[class]int{others: 100}, 80, time.Second); had[others] != 80 {
		t.Errorf("alone: %v", had)
	}
}

func TestAProbeGoesFirstAndThenWhatHasBegun(t *testing.T) {
	t.Parallel()
	var at queue
	order(t, &at, map[class]int{slots + 3: 5, listings: 5}, 0, 0)
	at.join(begun)
	at.join(probes)
	for _, want := range []class{probes, begun} {
		if w := at.next(time.Unix(1000, 0)); w.class != want {
			t.Errorf("class %d was before %d", w.class, want)
		}
	}
}

func TestWhoHasLeftHasNoTurn(t *testing.T) {
	t.Parallel()
	var at queue
	first, second := at.join(slots+2), at.join(slots+2)
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
		slots + 12: callingOf(withCalling(ctx, events.Register, "small", nil)),
		listings:   callingOf(withCalling(ctx, events.Reconcile, "small", nil)),
		probes:     callingOf(leg.Probe(withCalling(ctx, events.Register, "small", nil))),
		begun:      callingOf(leg.Begun(withCalling(ctx, events.Register, "small", nil))),
		others:     callingOf(ctx),
	} {
		if got.class != want {
			t.Errorf("class %d, want %d", got.class, want)
		}
	}
}

func TestATimelineObeysA429AndHalvesThePaceOnlyWhenItHappensAgain(t *testing.T) {
	t.Parallel()
	now := time.Unix(10_000, 0).UTC()
	line := timeline{Part: 1}.told(now, now, 30*time.Second)
	if !line.Until.Equal(now.Add(30*time.Second)) || line.Part != 1 {
		t.Fatalf("after the first: %+v", line)
	}
	if got := line.told(now, now.Add(time.Second), 10*time.Second); got != line {
		t.Errorf("the answer to a call under way changed it: %+v", got)
	}
	if got := line.free(now.Add(time.Second)); !got.Equal(line.Until) {
		t.Errorf("a call is free at %v", got)
	}
	again := line.told(now.Add(40*time.Second), now.Add(41*time.Second), time.Minute)
	if again.Part != 0.5 {
		t.Errorf("after the second: %+v", again)
	}
	if late := line.told(now.Add(10*time.Minute), now.Add(10*time.Minute), time.Minute); late.Part != 1 {
		t.Errorf("long after the first: %+v", late)
	}
	if forever := line.told(now, now, 24*time.Hour); forever.Until.Sub(now) > longestTold {
		t.Errorf("stopped until %v", forever.Until)
	}
	if second := again.told(now.Add(40*time.Second), now.Add(42*time.Second), time.Minute); second.Part != 0.5 {
		t.Errorf("two calls that were under way at once: %+v", second)
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
		again = again.told(again.Until.Add(time.Second), again.Until.Add(time.Second), time.Second)
	}
	if again.Part != leastPart {
		t.Errorf("the pace fell to %v", again.Part)
	}
}

// A Retry-After of a second is over before the last of the calls has its answer that were under way when the first one came.
func TestALateAnswerToACallOfBeforeTheWaitDoesNotHalveThePace(t *testing.T) {
	t.Parallel()
	began := time.Unix(10_000, 0).UTC()
	line := timeline{Part: 1}
	for answered := range 10 {
		line = line.told(began, began.Add(time.Duration(answered)*3*time.Second), time.Second)
	}
	if line.Part != 1 {
		t.Errorf("the pace fell to %v", line.Part)
	}
	if want := began.Add(28 * time.Second); !line.Until.Equal(want) {
		t.Errorf("nobody calls before %v, want %v", line.Until, want)
	}
}

// A reserve that is left free lets calls be late: the most that any minute can hold then is the budget.
func TestNoSlidingMinuteCanHoldMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	for _, perMinute := range []int{1, 7, 55, 60, 600, 6000} {
		b := budget{perMinute: perMinute}
		first := b.interval(1) * time.Duration(perMinute) // between a call and the one that would be too many
		if late := usableFor + warmy.LeavesWithin; first-late <= time.Minute {
			t.Errorf("%d a minute: a call as late as allowed is followed %v later by one too many", perMinute, first-late)
		}
		if used := float64(time.Minute) / float64(b.interval(1)) / float64(perMinute); used < 0.98 {
			t.Errorf("%d a minute: %.3f of the budget are used", perMinute, used)
		}
	}
}
