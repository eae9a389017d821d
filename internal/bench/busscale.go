package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// scalingFigures measure 1, 2 and 4 worker processes that share one lane. Their handlers wait, so that the processors
// are not what limits them as long as the bus is thrifty with them.
func (b busBench) scalingFigures(ctx context.Context) (figures []figure, err error) {
	r, err := newBusRig(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	title := fmt.Sprintf("workers on one lane, handler of %v, %d at once each", b.plan.sharedWait, handlerWindow)
	name := func(workers int) string { return fmt.Sprintf("%d processes", workers) }
	var variants []variant
	for _, workers := range []int{1, 2, 4} {
		variants = append(variants, variant{name(workers), func(ctx context.Context) (cost, error) { return b.shared(ctx, r, workers) }})
	}
	all, err := b.compare(ctx, title, variants)
	if err != nil {
		return nil, err
	}
	one := all[name(1)]
	for _, step := range []struct {
		workers int
		aim     float64
	}{{2, 1.9}, {4, 3.6}} {
		many := all[name(step.workers)]
		figures = append(figures, atLeast(figure{
			name: title + ": " + name(step.workers), value: fmt.Sprintf("factor %.2f: %s", many.ratio(one), many), against: "1 process: " + one.String(),
		}, many.ratio(one), step.aim))
	}
	return figures, nil
}

// shared measures how fast a lane empties while so many processes share it, from when all of them work.
func (b busBench) shared(ctx context.Context, r *busRig, workers int) (c cost, err error) {
	app := fmt.Sprintf("b%d", r.made)
	most := float64(handlerWindow*workers) / b.plan.sharedWait.Seconds()
	if err := r.fill(ctx, app, 256, int(most*(b.plan.watch+startTime).Seconds())); err != nil {
		return c, err
	}
	// Each process holds a window in its handlers and as much again prefetched.
	o := workerOptions{r.store.url, app, handlerWindow, 2 * handlerWindow * workers, b.plan.sharedWait}
	running, err := startWorkers(ctx, o, workers)
	defer func() {
		for _, worker := range running {
			err = errors.Join(err, worker.stop())
		}
		err = errors.Join(err, r.purge(ctx))
	}()
	if err != nil {
		return c, err
	}
	c.rate, err = r.emptying(ctx, b.plan.watch)
	return c, err
}

// startTime is what the start of the workers may take of their backlog.
const startTime = 3 * time.Second

func startWorkers(ctx context.Context, o workerOptions, n int) ([]*child, error) {
	all := make([]*child, n)
	var group errgroup.Group
	for i := range all {
		group.Go(func() (err error) {
			var ready told
			all[i], err = startChild(ctx, &ready, o.args()...)
			return err
		})
	}
	err := group.Wait()
	return running(all), err
}

func running(all []*child) []*child {
	var started []*child
	for _, c := range all {
		if c != nil {
			started = append(started, c)
		}
	}
	return started
}

// emptying returns how many messages a second leave the stream.
func (r *busRig) emptying(ctx context.Context, d time.Duration) (float64, error) {
	before, err := r.waiting(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	pause(ctx, d)
	after, err := r.waiting(ctx)
	if err != nil {
		return 0, err
	}
	if after == 0 {
		return 0, errors.New("the backlog was gone too early to measure")
	}
	return float64(before-after) / time.Since(began).Seconds(), nil
}
