package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/service"
)

func poisonedCommand(env service.Env) *cobra.Command {
	var url string
	var window int
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "poisoned", Hidden: true, Args: cobra.NoArgs, Short: "A worker that meets poison, in a process of its own",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return workOffPoison(cmd.Context(), env, url, window, wait)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "of NATS")
	cmd.Flags().IntVar(&window, "handlers", 1, "handled at once")
	cmd.Flags().DurationVar(&wait, "wait", 0, "of the handler")
	return cmd
}

// workOffPoison works until ctx or the input ends. It says when it begins, and every panic.
func workOffPoison(ctx context.Context, env service.Env, url string, window int, wait time.Duration) error {
	ours, err := openBus(ctx, url, "poisoned")
	if err != nil {
		return err
	}
	defer ours.Close()
	ctx, stop := untilOrphaned(ctx, env.Stdin)
	defer stop()
	policy, err := app.DefaultWorkPolicy() // warmy-worker's
	if err != nil {
		return err
	}
	h := &victim{wait: wait, out: env.Stdout}
	h.say()
	return ours.Serve(ctx, bus.ServeConfig{Drain: drain}, bus.Lane{
		Lane: events.Register, Leg: "bench", Window: window, Policy: policy, Handler: h,
	})
}

// victim is a handler that waits, and to which poison does what poison does.
type victim struct {
	wait time.Duration

	mu  sync.Mutex
	out io.Writer
}

func (v *victim) say() {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, _ = io.WriteString(v.out, "{}\n") // a told; when nobody listens any more, we are about to stop
}

// Handle waits, panics, or dies.
func (v *victim) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	switch {
	case e.Mailbox == killerName:
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("die: %w", err)
		}
		select {} // the signal is under way
	case strings.HasPrefix(e.Mailbox, panickerPrefix):
		v.say()
		panic("poison")
	}
	pause(ctx, v.wait)
	return nil, nil
}

// Bury has nothing to record.
func (*victim) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

// team is worker processes, each of which is started again when it is killed.
type team struct {
	end     context.CancelFunc
	done    sync.WaitGroup
	deaths  atomic.Int64
	panics  atomic.Int64
	started chan struct{}

	mu     sync.Mutex
	failed error
}

// superviseWorkers returns when every worker has begun.
func superviseWorkers(ctx context.Context, p poisonPlan, url string) (*team, error) {
	ctx, end := context.WithCancel(ctx)
	t := &team{end: end, started: make(chan struct{}, p.workers)}
	args := []string{"poisoned", "--url", url, "--handlers", strconv.Itoa(p.window), "--wait", p.wait.String()}
	for range p.workers {
		t.done.Go(func() { t.keep(ctx, args) })
	}
	for range p.workers {
		<-t.started
	}
	return t, t.failure()
}

// keep runs one worker after the other until ctx ends.
func (t *team) keep(ctx context.Context, args []string) {
	for first := true; ctx.Err() == nil; first = false {
		var ready told
		c, err := startChild(ctx, &ready, args...)
		if first {
			t.started <- struct{}{}
		}
		if err == nil {
			for c.out.Decode(&ready) == nil {
				t.panics.Add(1)
			}
			err = c.cmd.Wait()
		}
		if ctx.Err() != nil {
			return
		}
		if !killed(err) {
			t.fail(fmt.Errorf("a worker ended by itself: %w", err))
			return
		}
		t.deaths.Add(1)
	}
}

func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

func (t *team) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = errors.Join(t.failed, err)
}

func (t *team) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// stop ends every worker, and returns what none of them should have met.
func (t *team) stop() error {
	t.end()
	t.done.Wait()
	return t.failure()
}
