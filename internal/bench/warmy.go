package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// watch returns which part of the budget was used while the fleet worked. It begins and ends with a call, so that no part of
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
