package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// outageFigures take Warmy down while many wait.
func outageFigures(ctx context.Context, p warmyPlan) (figures []figure, err error) {
	r, err := newWarmyRig(ctx, otherBudget)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.begin(ctx, "outage", p.waiting, 2, wrongTime{}); err != nil {
		return nil, err
	}
	if _, _, err := r.next(ctx, 0); err != nil {
		return nil, err
	}
	pause(ctx, startTime)
	seen, err := r.takeDown(ctx, p.down)
	if err != nil {
		return nil, err
	}
	return seen.figures(p), nil
}

// outageSeen is what an outage came to.
type outageSeen struct {
	back                  time.Duration // until the full pace was back
	calls, posts, unclear int           // meanwhile; unclear: POSTs that are looked up later
	burned, buried        int           // attempts, and of those the last ones
	why                   string        // the last dead letter's code
}

// takeDown has every call fail for a while, and waits until the full pace is back.
func (r *warmyRig) takeDown(ctx context.Context, down time.Duration) (seen outageSeen, err error) {
	before, err := r.ledger(ctx, "")
	if err != nil {
		return seen, err
	}
	if err := r.outage(ctx, http.StatusServiceUnavailable); err != nil {
		return seen, err
	}
	pause(ctx, down)
	if err := r.outage(ctx, 0); err != nil {
		return seen, err
	}
	back := time.Now()
	during, err := r.ledger(ctx, "")
	if err != nil {
		return seen, err
	}
	seen.calls, seen.posts = during.calls()-before.calls(), during.of("create")-before.of("create")
	seen.back, err = r.fullPace(ctx, back)
	seen.unclear, seen.buried, seen.burned = int(r.unclear.Load()), int(r.dead.Load()), int(r.burned.Load()+r.dead.Load())
	if code := r.why.Load(); code != nil {
		seen.why = *code
	}
	return seen, err
}

func (s outageSeen) figures(p warmyPlan) []figure {
	title := fmt.Sprintf("warmy down %v with %d waiting, %d calls a minute, 2 workers", p.down, p.waiting, otherBudget)
	burned := fmt.Sprint(s.burned)
	if s.buried > 0 {
		burned = fmt.Sprintf("%d (%d buried, the last one for %s)", s.burned, s.buried, s.why)
	}
	return []figure{
		atMost(figure{
			name: title + ": attempts burned", value: burned, against: "timers and dead letters in the store",
		}, float64(s.burned), 0, "%.0f"),
		atMost(figure{
			name: "warmy down: until the full pace was back", value: fmt.Sprintf("%.1f s", s.back.Seconds()), against: fmt.Sprintf("%v at ≥ %.0f %% of the budget", paceSpan, 100*fullShare),
		}, s.back.Seconds(), 10, "%.0f s"),
		remark("warmy down: calls meanwhile", fmt.Sprintf("%d (%d POSTs, %d of them to be looked up later)", s.calls, s.posts, s.unclear)),
	}
}

const (
	// paceSpan is how long a pace must last to count, and fullShare which part of the budget is the full one: the budget
	// keeps a reserve, and a span begins and ends between two calls.
	paceSpan  = 5 * time.Second
	fullShare = 0.94
	// longestReturn is when one need not wait further for the full pace.
	longestReturn = 90 * time.Second
)

// fullPace returns how long after back the calls came at full pace.
func (r *warmyRig) fullPace(ctx context.Context, back time.Time) (time.Duration, error) {
	type sample struct {
		at    time.Time
		calls int
	}
	var all []sample
	want := int(fullShare * float64(r.perMin) * paceSpan.Minutes())
	for ctx.Err() == nil {
		l, err := r.ledger(ctx, "")
		if err != nil {
			return 0, err
		}
		now := sample{time.Now(), l.of("create")}
		all = append(all, now)
		if i := slices.IndexFunc(all, func(s sample) bool { return now.at.Sub(s.at) <= paceSpan }); now.calls-all[i].calls >= want {
			return all[i].at.Sub(back), nil
		}
		if now.at.Sub(back) > longestReturn {
			return longestReturn, nil
		}
		pause(ctx, 5*ledgerEvery)
	}
	return 0, context.Cause(ctx)
}
