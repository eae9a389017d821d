package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nuid"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Handler is what happens to one kind of event: see package handlers.
type Handler interface {
	// Handle does e's work. Whoever asks the leg's dependency in it says so by leg.Asked: that is what the breaker and
	// the probes of a held leg go by.
	Handle(ctx context.Context, e events.Event) ([]events.Event, error)
	// Bury records that e became a dead letter.
	Bury(ctx context.Context, e events.Event, f *fault.Fault) error
}

// Lane is one leg's share of one kind of work.
type Lane struct {
	Lane    events.Lane
	Leg     string // the app's or the account's name
	Window  int    // how many are handled at once by this process
	Fleet   int    // how many are delivered at once to all processes; 0: 8 × Window
	Single  bool   // one process of all takes from it at a time; another one goes on when that one is gone
	Policy  Policy
	Handler Handler
	Outage  time.Duration // how long the leg is left alone after an outage, before it is probed; 0: ServeConfig.HoldFor
}

// Observer hears of every delivery that was concluded. Labels are from closed sets.
type Observer interface {
	Delivered(lane events.Lane, outcome string, took time.Duration)
}

// ServeConfig is what Serve needs beside its lanes.
type ServeConfig struct {
	Observer Observer      // may be nil
	Drain    time.Duration // how long running handlers may take after the stop; 0: 20 s
	HoldFor  time.Duration // how long a leg is held when its fault does not say; 0: 1 min

	Rescuer    Rescuer       // hears of what the second net catches; may be nil
	SweepEvery time.Duration // how often the queues are searched for stuck messages; 0: 5 min

	Owner string        // this process, for its turns at Single lanes; empty: a random name
	Turn  time.Duration // how long the others wait when the process whose turn it was is gone; 0: 20 s
}

const (
	defaultDrain   = 20 * time.Second
	defaultHoldFor = time.Minute
	defaultTurn    = 20 * time.Second
	// republishDelay is how long an input waits whose follow-up could not be stored.
	republishDelay = 2 * time.Second
	// secondCopyDelay is how long a second delivery of a message waits while the first one is handled here.
	secondCopyDelay = 5 * time.Second
	// sameEventDelay is the same for another message of the event, which is rarer and has no ack wait behind it.
	sameEventDelay = time.Second
	// concludeTime bounds the storing of what a handler concluded.
	concludeTime = 15 * time.Second
)

// Serve handles the lanes until ctx ends, then lets running handlers finish and gives the rest back.
func (b *Bus) Serve(ctx context.Context, cfg ServeConfig, lanes ...Lane) error {
	err := b.serve(ctx, cfg, lanes)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop, perhaps while it was starting: that is no failure
	}
	return err
}

func (b *Bus) serve(ctx context.Context, cfg ServeConfig, lanes []Lane) error {
	cfg = cfg.withDefaults()
	gates, shut, err := b.openGates(ctx, lanes)
	if err != nil {
		return err
	}
	defer shut()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: cfg.Drain + 10*time.Second}, watermillLog(b.log))
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	router.AddMiddleware(Settle, middleware.Recoverer)
	var subscribers []*Subscriber
	var workers []*worker
	for _, lane := range lanes {
		w := &worker{bus: b, cfg: cfg, lane: lane, gates: gates.of(lane), stop: ctx}
		subs, err := w.subscribe(ctx, router)
		if err != nil {
			return err
		}
		subscribers, workers = append(subscribers, subs...), append(workers, w)
	}
	b.tellLegs(ctx, gates) // a consumer that was made or changed just now knows of no hold
	catching, stopCatching := context.WithCancel(ctx)
	caught := b.catch(catching, cfg, workers)
	defer func() { stopCatching(); caught() }()
	err = router.Run(ctx)
	for _, s := range subscribers {
		err = errors.Join(err, s.Close())
	}
	return err
}

func (c ServeConfig) withDefaults() ServeConfig {
	c.Drain = cmp.Or(c.Drain, defaultDrain)
	c.HoldFor = cmp.Or(c.HoldFor, defaultHoldFor)
	c.Turn = cmp.Or(c.Turn, defaultTurn)
	c.Owner = cmp.Or(c.Owner, nuid.Next())
	return c
}

// gates are those of the served lanes' legs, by name.
type gates map[string]*gate

// of returns the gates of a lane, in the order of legsOf.
func (g gates) of(lane Lane) []*gate {
	var own []*gate
	for _, name := range legsOf(lane.Lane, lane.Leg) {
		own = append(own, g[name])
	}
	return own
}

// openGates makes the gates of the lanes' legs and keeps them in step with the control bucket until shut is called: nothing may
// pass a gate whose state is not known.
func (b *Bus) openGates(ctx context.Context, lanes []Lane) (opened gates, shut func(), err error) {
	opened = make(gates)
	for _, lane := range lanes {
		for _, name := range legsOf(lane.Lane, lane.Leg) {
			if opened[name] == nil {
				opened[name] = newGate(b.Legs(), name)
			}
		}
	}
	if err := b.lookAtClock(ctx); err != nil {
		return nil, nil, err
	}
	stopWatch, err := b.watchLegs(ctx, opened)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range opened {
		if _, _, err := g.load(ctx); err != nil {
			stopWatch()
			return nil, nil, err
		}
	}
	forget := b.publishGates(opened)
	stopKeeping := background(ctx, func(ctx context.Context) { b.keepLegs(ctx, opened) })
	return opened, func() { stopKeeping(); forget(); stopWatch() }, nil
}

// background runs work until stop is called, which returns when it has ended.
func background(ctx context.Context, work func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); work(ctx) }()
	return func() { cancel(); <-done }
}

func watermillLog(log *slog.Logger) watermill.LoggerAdapter {
	return untraced{watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{
		slog.LevelInfo:  slog.LevelDebug, // what the router does at start and stop is of no interest to an operator
		slog.LevelError: slog.LevelDebug, // a message given back is an error to the router; the lane has logged why
	})}
}

// untraced is a logger without the words that the router has for every message, which nobody reads and which cost.
type untraced struct{ watermill.LoggerAdapter }

// Trace says nothing.
func (untraced) Trace(string, watermill.LogFields) {}

// With keeps saying nothing.
func (u untraced) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return untraced{u.LoggerAdapter.With(fields)}
}
