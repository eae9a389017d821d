package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	manyWaiting = 1_000_000 // for which the aim was set
	fewWaiting  = 10_000
	slowWait    = 500 * time.Millisecond
	memoryAim   = 256 // MiB
)

// memoryFigures measure what a worker process holds while many messages wait for its slow handler: the backlog must be
// the server's, not the worker's.
func (b busBench) memoryFigures(ctx context.Context) (figures []figure, err error) {
	r, err := newBusRig(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	few, err := b.resident(ctx, r, min(fewWaiting, b.plan.backlog))
	if err != nil {
		return nil, err
	}
	many, err := b.resident(ctx, r, b.plan.backlog)
	if err != nil {
		return nil, err
	}
	f := figure{
		name:  fmt.Sprintf("resident set of a worker, %d waiting", b.plan.backlog),
		value: many.String(), against: fmt.Sprintf("%d waiting: %s", min(fewWaiting, b.plan.backlog), few),
	}
	f = atMost(f, float64(many.peak)/1024, memoryAim, "%.0f MiB with 1,000,000")
	if b.plan.backlog < manyWaiting {
		f.met = "–" // fewer prove nothing
	}
	return []figure{f}, nil
}

// resident is a process's resident set in KiB, over time.
type resident struct {
	peak    int
	samples []int
}

func (m resident) String() string {
	quarter := max(1, len(m.samples)/4)
	return fmt.Sprintf("peak %d MiB; first quarter %d MiB, last %d MiB", m.peak/1024,
		slices.Max(m.samples[:quarter])/1024, slices.Max(m.samples[len(m.samples)-quarter:])/1024)
}

// resident watches a worker while n messages wait.
func (b busBench) resident(ctx context.Context, r *busRig, n int) (m resident, err error) {
	app := fmt.Sprintf("b%d", r.made)
	fmt.Fprintf(b.env.Stderr, "  memory: %d messages are stored …\n", n)
	if err := r.fill(ctx, app, 256, n); err != nil {
		return m, err
	}
	var ready told
	worker, err := startChild(ctx, &ready, workerOptions{r.store.url, app, handlerWindow, 4 * handlerWindow, slowWait}.args()...)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, worker.stop(), r.purge(ctx)) }()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(b.plan.watch); time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return m, context.Cause(ctx)
		}
		now, peak, err := residentSet(worker.cmd.Process.Pid)
		if err != nil {
			return m, err
		}
		m.peak, m.samples = max(m.peak, peak), append(m.samples, now)
	}
	return m, b.stillWorking(ctx, r, worker, n)
}

// stillWorking checks that the worker worked and left a backlog to the end: otherwise its memory says nothing.
func (b busBench) stillWorking(ctx context.Context, r *busRig, worker *child, n int) error {
	var now told
	if err := worker.ask(&now); err != nil {
		return err
	}
	waiting, err := r.waiting(ctx)
	if err == nil && (now.Handled == 0 || waiting == 0 || n >= manyWaiting && waiting < manyWaiting*9/10) {
		err = fmt.Errorf("the worker handled %d messages and left %d of %d", now.Handled, waiting, n)
	}
	return err
}

// residentSet returns a process's resident set, now and at its highest, in KiB.
func residentSet(pid int) (now, peak int, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("the resident set of another process can be read on Linux only: %w", err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")) // other lines are no numbers
		switch name {
		case "VmRSS":
			now = kib
		case "VmHWM":
			peak = kib
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("process %d has no resident set", pid)
	}
	return now, peak, nil
}
