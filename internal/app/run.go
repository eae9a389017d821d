package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/bus"
	"kindling/internal/service"
)

// process is one of Kindling's processes: it runs until ctx ends.
type process func(ctx context.Context, h Host) error

// stopNotice is how long a program that stands alone still takes requests after it has called itself unready, so that a
// balancer that asks every second or two turns away first.
const stopNotice = 3 * time.Second

// run runs processes until all have ended; the failure of one ends the others. Health and figures are served to the end,
// and readiness fails from the moment at which the processes are told to stop.
func run(ctx context.Context, h Host, processes ...process) error {
	all, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, h.Health.Drain)()
	observed, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	var working sync.WaitGroup
	working.Add(len(processes))
	for _, process := range processes {
		all.Go(func() error {
			defer working.Done()
			return process(ctx, h)
		})
	}
	go func() { working.Wait(); ended() }()
	all.Go(func() error { return metrics(observed, h) })
	all.Go(func() error { return h.Metrics.expiries.remind(observed, h.Log) })
	err := all.Wait()
	if errors.Is(err, bus.ErrDenied) {
		err = service.WithExit(service.ExitPermission, err)
	}
	return err
}

// metrics serves health and figures on the listener that is not public.
func metrics(ctx context.Context, h Host) error {
	if h.Config.Metrics.Listen == "" {
		<-ctx.Done()
		return nil
	}
	h.Notice = 0
	return h.serve(ctx, "metrics", h.Config.Metrics.Listen, h.Health.Handler())
}
