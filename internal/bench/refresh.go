package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
)

// refresh measures what keeping grants alive costs: the timers that wait, and refreshes through the real lane.
func (o options) refresh(ctx context.Context) ([]figure, error) {
	timers, err := o.timerFigures(ctx)
	if err != nil {
		return timers, err
	}
	refreshes, err := o.refreshFigures(ctx)
	return append(timers, refreshes...), err
}

const (
	manyRefreshes = 5_000
	fewRefreshes  = 1_000
	// refreshAim is a million mailboxes in a little more than a quarter of an hour.
	refreshAim = 1000
	// longIdle is the age that tokens are given: every one is due.
	longIdle = 60 * 24 * time.Hour
)

// refreshFigures measure refreshes per second through token-worker's lane, from timers that have come due.
func (o options) refreshFigures(ctx context.Context) ([]figure, error) {
	s, err := startSimulator(ctx, redirectURI)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.stop() }()
	n := manyRefreshes
	if o.quick {
		n = fewRefreshes
	}
	var figures []figure
	for _, lazy := range []bool{true, false} {
		if o.sync != bothSyncs && o.sync != syncName(lazy) {
			continue
		}
		fmt.Fprintf(o.env.Stderr, "  refreshes: %d, sync %s …\n", n, syncName(lazy))
		cost, err := refreshRound(ctx, s, fmt.Sprintf("refresh%t", lazy), n, lazy)
		if err != nil {
			return figures, err
		}
		figures = append(figures, atLeast(figure{
			name: "refreshes by policy, sync " + syncName(lazy), value: fmt.Sprintf("%.0f/s of %d", cost.rate, n),
			against: fmt.Sprintf("%.1f writes and %.2f ms of processor each, the server in this process included", cost.writes, 1000*cost.processor/float64(n)),
		}, cost.rate, refreshAim))
	}
	return figures, nil
}

// refreshCost is what refreshes took.
type refreshCost struct {
	rate      float64 // a second
	writes    float64 // each
	processor float64 // seconds in all, of this process
}

func refreshRound(ctx context.Context, s *simulator, prefix string, n int, lazy bool) (cost refreshCost, err error) {
	p, err := newRig(ctx, s, lazy)
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	evs, err := p.prepare(ctx, s, prefix, n)
	if err != nil {
		return cost, err
	}
	if _, err := p.measure(ctx, evs); err != nil {
		return cost, err
	}
	if err := p.age(ctx, prefix, n); err != nil {
		return cost, err
	}
	before, err := p.bus.Writes(ctx)
	if err != nil {
		return cost, err
	}
	began := watchNeighbours()
	if cost.rate, err = p.refreshed(ctx, n); err != nil {
		return cost, err
	}
	cost.processor = (watchNeighbours().ours - began.ours).Seconds()
	after, err := p.bus.Writes(ctx)
	cost.writes = float64(after.Stored-before.Stored+after.Acked-before.Acked) / float64(n)
	return cost, err
}

// age makes every mailbox's tokens old, and gives it a timer that has come due.
func (p *rig) age(ctx context.Context, prefix string, n int) error {
	box, err := seal.OpenGrants(p.host.Config.Keys.Dir)
	if err != nil {
		return err
	}
	grants := p.bus.Grants(box)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for _, address := range addresses(prefix, n) {
		group.Go(func() error {
			inv := p.invitation(address)
			grant, revision, err := grants.Load(ctx, inv.ID)
			if err != nil {
				return err
			}
			if grant.Tokens == nil {
				return fmt.Errorf("%s has no tokens", inv.ID)
			}
			tokens := *grant.Tokens
			tokens.SavedAt = tokens.SavedAt.Add(-longIdle)
			grant.Tokens = &tokens
			if _, err := grants.Save(ctx, inv.ID, grant, revision); err != nil {
				return err
			}
			return p.bus.Publish(ctx, mailbox.IdleEvent(inv, tokens, time.Now()))
		})
	}
	return group.Wait()
}

// refreshed runs token-worker until every grant is refreshed, and returns how many a second.
func (p *rig) refreshed(ctx context.Context, n int) (float64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(ctx)
	counter := &rotated{registered: registered{ready: make(chan struct{})}, want: n, done: make(chan struct{})}
	group.Go(func() error { return p.bus.Facts(p.people).Follow(running, counter) })
	select {
	case <-counter.ready:
	case <-running.Done():
		return 0, group.Wait()
	}
	host := p.host
	host.Config.Policy.Refresh, host.Config.Policy.KeepAliveAfter = string(mailbox.RefreshKeepAlive), longIdle/2
	group.Go(func() error { return app.TokenWorker(running, host) })
	select {
	case <-counter.done:
	case <-running.Done():
		return 0, errors.Join(errNotYet, group.Wait())
	}
	took := counter.last.Sub(counter.first)
	stop()
	return float64(n-1) / took.Seconds(), group.Wait()
}

// rotated counts the grants that were refreshed.
type rotated struct {
	registered

	want int
	done chan struct{}

	mu          sync.Mutex
	seen        int
	first, last time.Time
}

// Registration is of no interest here.
func (*rotated) Registration(mailbox.ID, mailbox.Registration) {}

// Grant counts the first refresh of each.
func (r *rotated) Grant(_ mailbox.ID, g mailbox.Grant) {
	if g.Tokens == nil || g.Tokens.Rotation != 1 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if r.seen++; r.seen == 1 {
		r.first = r.last
	}
	if r.seen == r.want {
		close(r.done)
	}
}
