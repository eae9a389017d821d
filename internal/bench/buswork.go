package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// load is what a consumer has to work off.
type load struct {
	size, n int
	window  int           // how many are handled at once; also the prefetch
	wait    time.Duration // of the handler
}

// fleet bounds what the server lets a consumer hold: a window at the handlers and one prefetched for each of two processes.
func (l load) fleet() int { return 4 * l.window }

// work is a load under way.
type work struct {
	load

	rig   *busRig
	name  string // of the connection
	app   string // whose share of the stream it is
	slots chan struct{}

	once    sync.Once
	begun   meter
	handled atomic.Int64
	done    chan struct{} // closed when everything was handled once
	failed  atomic.Pointer[error]
}

func (r *busRig) newWork(l load, name string) *work {
	return &work{
		load: l, rig: r, name: name, app: fmt.Sprintf("b%d", r.made), slots: make(chan struct{}, l.window), done: make(chan struct{}),
	}
}

// handle is the handler: nothing, or a wait.
func (w *work) handle(ctx context.Context) {
	w.once.Do(func() { w.begun = startMeter() })
	if w.wait > 0 {
		pause(ctx, w.wait)
	}
	if w.handled.Add(1) == int64(w.n) {
		close(w.done)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fail keeps the first error of a handling.
func (w *work) fail(err error) {
	if err != nil {
		w.failed.CompareAndSwap(nil, &err)
	}
}

// failure is what went wrong in this work, if anything did: then its figures are worth nothing.
func (w *work) failure() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	if n := w.handled.Load(); n != int64(w.n) {
		return fmt.Errorf("%d messages were handled %d times", w.n, n)
	}
	return nil
}

func (w *work) consumer() string { return "code-" + w.app }

func (w *work) topic() string { return stream + "/" + w.consumer() }

// createConsumer makes the consumer that Serve makes for a lane.
func (w *work) createConsumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	cons, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: w.consumer(), FilterSubject: events.LaneFilter(events.Code, w.app), AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckWait: 30 * time.Second, MaxAckPending: w.fleet(), MaxDeliver: -1, MaxWaiting: 512,
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return cons, nil
}

// settled waits until the server has every acknowledgement.
func (w *work) settled(ctx context.Context) error {
	cons, err := w.rig.js.Consumer(ctx, stream, w.consumer())
	if err != nil {
		return fmt.Errorf("find consumer: %w", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := cons.Info(ctx)
		if err != nil {
			return fmt.Errorf("ask for the consumer: %w", err)
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d acknowledgements are missing", info.NumAckPending), context.Cause(ctx))
		}
	}
}
