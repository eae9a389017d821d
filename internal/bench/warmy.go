package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// warmyPlan is how much is measured at Warmy. The budget is counted over sliding minutes, so no run of it can be shorter.
type warmyPlan struct {
	cases   []paceCase
	fast    []paceCase // one after the other: each wants the machine
	waiting int        // mailboxes during the outage
	down    time.Duration
	share   int // mailboxes of the small campaign; the big one has nine times as many
}

// paceCase is one fleet on one account.
type paceCase struct {
	perMinute int
	workers   int
	kill      bool          // a worker is killed and started again
	clock     time.Duration // by which one worker's clock is ahead
	set       bool          // to that, while it works
	run       time.Duration
}

func (c paceCase) name() string {
	name := fmt.Sprintf("%d workers", c.workers)
	if c.workers == 1 {
		name = "1 worker"
	}
	switch {
	case c.kill:
		name += ", one killed and started again"
	case c.set:
		name += fmt.Sprintf(", the clock of one set %v ahead while it works", c.clock)
	case c.clock != 0:
		name += fmt.Sprintf(", the clock of one %v ahead", c.clock)
	}
	return fmt.Sprintf("warmy, %d calls a minute, %s, %v", c.perMinute, name, c.run)
}

// wrongTime is by how much a worker's clock is ahead, and since when after its start.
type wrongTime struct{ by, after time.Duration }

func (c paceCase) wrong() wrongTime {
	if c.set {
		return wrongTime{c.clock, 2*startTime + c.run/4}
	}
	return wrongTime{by: c.clock}
}

// wrongClock is far more than any clock that is kept at all is off.
const wrongClock = 10 * time.Minute

// fleets are the cases of one budget.
func fleets(perMinute int, run time.Duration) []paceCase {
	return []paceCase{
		{perMinute: perMinute, workers: 1, run: run},
		{perMinute: perMinute, workers: 2, run: run},
		{perMinute: perMinute, workers: 4, run: run},
		{perMinute: perMinute, workers: 4, kill: true, run: run},
		{perMinute: perMinute, workers: 4, clock: wrongClock, run: run},
		{perMinute: perMinute, workers: 4, clock: -wrongClock, run: run},
		{perMinute: perMinute, workers: 4, clock: wrongClock, set: true, run: run},
		{perMinute: perMinute, workers: 4, clock: -wrongClock, set: true, run: run},
	}
}

const (
	slowBudget = 55
	fastBudget = 6000
	// otherBudget is that of the outage and of the fair shares: fast enough to see seconds, slow enough for any machine.
	otherBudget = 600
)

func (o options) warmyPlan() warmyPlan {
	if o.quick || o.brief {
		slow := fleets(slowBudget, 70*time.Second)[2:5]
		slow[1].run = 100 * time.Second // a slot that the dead worker had reserved is lost
		return warmyPlan{
			cases: slow, fast: fleets(fastBudget, 65*time.Second)[2:3],
			waiting: 500, down: 15 * time.Second, share: 60,
		}
	}
	return warmyPlan{
		cases: fleets(slowBudget, 5*time.Minute), fast: fleets(fastBudget, 2*time.Minute), waiting: 10_000, down: 5 * time.Minute, share: 300,
	}
}

func warmyParts() []string { return []string{"pace", "outage", "fair"} }

// warmy measures the three promises about Warmy's account: its budget, an outage, and fair shares.
func (o options) warmy(ctx context.Context) ([]figure, error) {
	return o.warmyPlan().measure(ctx, o.wants)
}

func (p warmyPlan) measure(ctx context.Context, wants func(parts ...string) bool) ([]figure, error) {
	var pace, others []figure
	group, ctx := errgroup.WithContext(ctx)
	if wants("pace") { // 55 calls a minute leave the machine to the others
		group.Go(func() (err error) { pace, err = together(ctx, p.cases); return err })
	}
	group.Go(func() (err error) { others, err = p.busy(ctx, wants); return err })
	err := group.Wait()
	return slices.Concat(pace, others), err
}

// busy measures what wants the machine: outage and fair shares at the same time, then each fast fleet by itself.
func (p warmyPlan) busy(ctx context.Context, wants func(parts ...string) bool) ([]figure, error) {
	var fast, outage, fair []figure
	group, both := errgroup.WithContext(ctx)
	if wants("outage") {
		group.Go(func() (err error) { outage, err = outageFigures(both, p); return err })
	}
	if wants("fair") {
		group.Go(func() (err error) { fair, err = fairFigures(both, p); return err })
	}
	err := group.Wait()
	for _, c := range p.fast {
		if err != nil || !wants("pace") {
			break
		}
		var figures []figure
		figures, err = c.measure(ctx)
		fast = append(fast, figures...)
	}
	return slices.Concat(fast, outage, fair), err
}

// together measures cases at the same time.
func together(ctx context.Context, cases []paceCase) ([]figure, error) {
	all := make([][]figure, len(cases))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range cases {
		group.Go(func() (err error) { all[i], err = c.measure(ctx); return err })
	}
	err := group.Wait()
	return slices.Concat(all...), err
}

// errNoWorkers is of a case that would wait for ever.
var errNoWorkers = errors.New("a fleet without workers makes no calls")

// measure has a backlog worked off, and counts the calls as Warmy does.
func (c paceCase) measure(ctx context.Context) (figures []figure, err error) {
	if c.workers < 1 {
		return nil, errNoWorkers
	}
	r, err := newWarmyRig(ctx, c.perMinute)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	backlog := int(float64(c.perMinute)*(c.run+4*startTime).Minutes()) + c.perMinute/20 + 32
	if err := r.begin(ctx, "backlog", backlog, c.workers, c.wrong()); err != nil {
		return nil, err
	}
	used, err := c.watch(ctx, r)
	if err != nil {
		return nil, err
	}
	l, err := r.ledger(ctx, "")
	if err != nil {
		return nil, err
	}
	return c.figures(used, backlog, l), nil
}

// figures judge which part of the budget was used, and what Warmy's ledger holds against the fleet.
func (c paceCase) figures(used float64, backlog int, l warmyLedger) []figure {
	over := max(0, l.Summary.MostPerMinute-c.perMinute)
	const ledger = "the simulator's ledger"
	return []figure{
		atLeast(figure{
			name: c.name() + ": budget used", value: fmt.Sprintf("%.3f", used), against: fmt.Sprintf("%d mailboxes waited", backlog),
		}, used, 0.97),
		atMost(figure{
			name:  c.name() + ": calls over the budget in any sliding minute",
			value: fmt.Sprintf("%d (at most %d in a minute)", over, l.Summary.MostPerMinute), against: ledger,
		}, float64(over), 0, "%.0f"),
		atMost(figure{
			name: c.name() + ": mailboxes created twice", value: fmt.Sprint(l.Summary.CreatedTwice), against: ledger,
		}, float64(l.Summary.CreatedTwice), 0, "%.0f"),
	}
}

// watch tells which part of the budget was used while the fleet worked. It begins and ends with a call, so that no part of
// one is counted.
func (c paceCase) watch(ctx context.Context, r *warmyRig) (used float64, err error) {
	if _, _, err := r.next(ctx, 0); err != nil {
		return 0, err
	}
	pause(ctx, startTime) // until all of them work
	before, err := r.ledger(ctx, "")
	if err != nil {
		return 0, err
	}
	first, began, err := r.next(ctx, before.calls())
	if err != nil {
		return 0, err
	}
	if c.kill {
		pause(ctx, c.run/4)
		if err := r.kill(ctx, 0); err != nil {
			return 0, err
		}
	}
	pause(ctx, c.run-time.Since(began))
	if before, err = r.ledger(ctx, ""); err != nil {
		return 0, err
	}
	last, ended, err := r.next(ctx, before.calls())
	if err != nil {
		return 0, err
	}
	return float64(last-first) / (float64(c.perMinute) * ended.Sub(began).Minutes()), nil
}

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

// fullPace tells how long after back the calls came at full pace.
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

// fairFigures measure what a small campaign loses to a big one of the same account.
func fairFigures(ctx context.Context, p warmyPlan) (figures []figure, err error) {
	alone, err := smallCampaign(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	beside, err := smallCampaign(ctx, p, 9*p.share)
	if err != nil {
		return nil, err
	}
	ratio := percentile(beside, 0.95).Seconds() / percentile(alone, 0.95).Seconds()
	return []figure{atMost(figure{
		name:    fmt.Sprintf("warmy, a campaign of %d beside one of %d on one account, %d calls a minute, 2 workers: its p95", p.share, 9*p.share, otherBudget),
		value:   fmt.Sprintf("%.2f × (%s)", ratio, spread(beside)),
		against: "alone " + spread(alone),
	}, ratio, 2, "%.0f")}, nil
}

// smallCampaign tells how long after their consent the mailboxes of the small campaign were created, sorted.
func smallCampaign(ctx context.Context, p warmyPlan, big int) (took []time.Duration, err error) {
	r, err := newWarmyRig(ctx, otherBudget)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	small, err := r.seed(ctx, "small", p.share)
	if err != nil {
		return nil, err
	}
	others, err := r.seed(ctx, "large", big)
	if err != nil {
		return nil, err
	}
	if err := r.publish(ctx, others); err != nil {
		return nil, err
	}
	if err := r.work(ctx, 2, wrongTime{}); err != nil {
		return nil, err
	}
	if big > 0 {
		if _, _, err := r.next(ctx, 0); err != nil {
			return nil, err
		}
	}
	pause(ctx, 2*startTime)
	began := time.Now()
	if err := r.publish(ctx, small); err != nil {
		return nil, err
	}
	return r.created(ctx, "small-", p.share, began)
}

// created waits until n mailboxes whose address begins with prefix exist.
func (r *warmyRig) created(ctx context.Context, prefix string, n int, began time.Time) ([]time.Duration, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for {
		l, err := r.ledger(ctx, "?mailboxes=all")
		if err != nil {
			return nil, err
		}
		var took []time.Duration
		for _, m := range l.Mailboxes {
			if strings.HasPrefix(m.Email, prefix) {
				took = append(took, m.CreatedAt.Sub(began))
			}
		}
		if len(took) >= n {
			slices.Sort(took)
			return took, nil
		}
		if pause(ctx, 500*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d mailboxes were created: %w", len(took), n, context.Cause(ctx))
		}
	}
}
