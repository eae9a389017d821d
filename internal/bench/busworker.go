package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/service"
)

// workerOptions say what a worker process works off.
type workerOptions struct {
	url, app      string
	window, fleet int
	wait          time.Duration
}

func (o workerOptions) args() []string {
	return []string{"worker", "--url", o.url, "--app", o.app, "--handlers", strconv.Itoa(o.window), "--fleet", strconv.Itoa(o.fleet), "--wait", o.wait.String()}
}

// told is what a worker says at its first message, and whenever it is asked.
type told struct {
	Handled int64 `json:"handled"`
}

func workerCommand(env service.Env) *cobra.Command {
	var o workerOptions
	cmd := &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs, Short: "One lane, in a process of its own",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), env) },
	}
	cmd.Flags().StringVar(&o.url, "url", "", "of NATS")
	cmd.Flags().StringVar(&o.app, "app", "", "whose share of the lane")
	cmd.Flags().IntVar(&o.window, "handlers", 1, "handled at once")
	cmd.Flags().IntVar(&o.fleet, "fleet", 1, "held at once by all processes")
	cmd.Flags().DurationVar(&o.wait, "wait", 0, "of the handler")
	return cmd
}

// run works until ctx or the input ends, and answers each line of the input with what it has handled.
func (o workerOptions) run(ctx context.Context, env service.Env) error {
	ours, err := openBus(ctx, o.url, "worker")
	if err != nil {
		return err
	}
	defer ours.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := &waiter{wait: o.wait, first: make(chan struct{})}
	go func() {
		defer stop()
		h.answer(ctx, env)
	}()
	return errors.Join(serve(ctx, ours, o.app, o.window, o.fleet, h), h.buried())
}

// waiter is a handler that waits.
type waiter struct {
	wait    time.Duration
	handled atomic.Int64
	once    sync.Once
	first   chan struct{} // closed at the first message
	fault   atomic.Pointer[fault.Fault]
}

// answer says that work has begun, then how far it is whenever a line comes.
func (h *waiter) answer(ctx context.Context, env service.Env) {
	select {
	case <-h.first:
	case <-ctx.Done():
		return
	}
	out := json.NewEncoder(env.Stdout)
	err := out.Encode(told{})
	for lines := bufio.NewScanner(env.Stdin); err == nil && lines.Scan(); {
		err = out.Encode(told{Handled: h.handled.Load()})
	}
}

// Handle waits.
func (h *waiter) Handle(ctx context.Context, _ events.Event) ([]events.Event, error) {
	h.once.Do(func() { close(h.first) })
	pause(ctx, h.wait)
	h.handled.Add(1)
	return nil, nil
}

// Bury keeps the fault: nothing here may fail.
func (h *waiter) Bury(_ context.Context, _ events.Event, f *fault.Fault) error {
	h.fault.Store(f)
	return nil
}

func (h *waiter) buried() error {
	if f := h.fault.Load(); f != nil {
		return f
	}
	return nil
}
