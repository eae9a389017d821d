package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// timerPlan says how many timers wait, and how many come due meanwhile.
type timerPlan struct {
	pending   int
	perSecond int
	seconds   int
}

const (
	timerStream = "TIMERS_TOKEN"
	timerApp    = "bench"
	// startAim and lateAim are what a million mailboxes may cost an operator's patience.
	startAim = 30
	lateAim  = 500
)

func (o options) timerPlan() timerPlan {
	if o.quick {
		return timerPlan{pending: 50_000, perSecond: 300, seconds: 10}
	}
	return timerPlan{pending: 1_000_000, perSecond: 300, seconds: 60}
}

// timerFigures measure the server with one timer per mailbox: what they take, how long a restart takes with them, and how
// exact they are while others wait.
func (o options) timerFigures(ctx context.Context) (figures []figure, err error) {
	dir, err := os.MkdirTemp("", "kindling-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	plan := o.timerPlan()
	fmt.Fprintf(o.env.Stderr, "  timers: %d are stored …\n", plan.pending)
	if figures, err = loadTimers(ctx, dir, plan); err != nil {
		return figures, err
	}
	began := time.Now()
	s, err := startStoreIn(ctx, dir, false)
	if err != nil {
		return figures, err
	}
	took := time.Since(began).Seconds()
	defer func() { err = errors.Join(err, s.stop()) }()
	now, peak, err := residentSet(s.cmd.Process.Pid)
	if err != nil {
		return figures, err
	}
	figures = append(figures, atMost(figure{
		name: fmt.Sprintf("start of the server with %d timers", plan.pending), value: fmt.Sprintf("%.1f s", took),
		against: fmt.Sprintf("resident set then %d MiB, at its highest %d MiB", now/1024, peak/1024),
	}, took, startAim, "%.0f s"))
	fmt.Fprintf(o.env.Stderr, "  timers: %d a second come due for %d s …\n", plan.perSecond, plan.seconds)
	late, err := fireTimers(ctx, s, plan)
	return append(figures, late...), err
}

// loadTimers stores the timers without waiting for the disk, which the walk that gives them in earnest does.
func loadTimers(ctx context.Context, dir string, plan timerPlan) (figures []figure, err error) {
	s, err := startStoreIn(ctx, dir, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	empty, _, err := residentSet(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	ours, err := openBus(ctx, s.url, "timers")
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	if _, err := ours.Ensure(ctx); err != nil {
		return nil, err
	}
	began, far := time.Now(), time.Now().Add(25*24*time.Hour)
	for from := 0; from < plan.pending; from += window {
		evs := make([]events.Event, 0, window)
		for i := from; i < min(from+window, plan.pending); i++ {
			evs = append(evs, timerOf(i, far.Add(time.Duration(i)*time.Second/4)))
		}
		if err := publishPatiently(ctx, ours, evs); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	now, peak, err := residentSet(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	stored, err := timersStored(ctx, ours)
	if err != nil || int(stored.Messages) != plan.pending { //nolint:gosec // a count
		return nil, errors.Join(err, fmt.Errorf("%d timers are stored instead of %d", stored.Messages, plan.pending))
	}
	n := float64(plan.pending)
	return []figure{
		remark(fmt.Sprintf("timers: %d stored, default sync", plan.pending), fmt.Sprintf("%.0f s, %.0f/s; %.0f B each, the stream is %.0f %% full", took.Seconds(), n/took.Seconds(), float64(stored.Bytes)/n, 100*stored.Fill)),
		remark("timers: resident set of the server", fmt.Sprintf("%d MiB, at its highest %d MiB; %.0f B each", now/1024, peak/1024, float64(now-empty)*1024/n)),
	}, nil
}

// publishTries is how often a busy machine may miss the client's time-out.
const publishTries = 20

// publishPatiently publishes timers again when an acknowledgement is late: each replaces itself.
func publishPatiently(ctx context.Context, ours *bus.Bus, evs []events.Event) error {
	for tries := 1; ; tries++ {
		err := ours.Publish(ctx, evs...)
		if err == nil || tries == publishTries || !errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}

// timerOf is the ith mailbox's timer, as long as a real one.
func timerOf(i int, at time.Time) events.Event {
	inv := mailbox.Invitation{ID: fmt.Sprintf("m%023d", i), App: timerApp, Account: timerApp, Campaign: "c0000000000000000000000"}
	return mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "aaaaaaaaaaaaaaaaaaaaaaaa"}, at)
}

func timersStored(ctx context.Context, ours *bus.Bus) (bus.StreamFigures, error) {
	all, err := ours.Gauges(bus.GaugeScope{Store: true}).Read(ctx)
	if err != nil {
		return bus.StreamFigures{}, err
	}
	for _, f := range all.Streams {
		if f.Name == timerStream {
			return f, nil
		}
	}
	return bus.StreamFigures{}, fmt.Errorf("there is no stream %s", timerStream)
}

// fireTimers has timers come due and measures how late the server stored them under their due subjects.
func fireTimers(ctx context.Context, s *store, plan timerPlan) (figures []figure, err error) {
	r := &busRig{store: s}
	if r.raw, r.js, err = r.connect("timers"); err != nil {
		return nil, err
	}
	defer r.raw.Close()
	ours, err := openBus(ctx, s.url, "timers")
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	n := plan.perSecond * plan.seconds
	first, err := plan.first(ctx, ours)
	if err != nil {
		return nil, err
	}
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = timerOf(plan.pending+i, first.Add(time.Duration(i/plan.perSecond)*time.Second))
	}
	for chunk := range slices.Chunk(evs, window) {
		if err := publishPatiently(ctx, ours, chunk); err != nil {
			return nil, err
		}
	}
	if time.Now().After(first) {
		return nil, errors.New("the first timers came due before the last ones were stored: the machine is too busy")
	}
	late, err := r.lateness(ctx, n)
	if err != nil {
		return nil, err
	}
	p99 := percentile(late, 0.99)
	return []figure{atMost(figure{
		name:    fmt.Sprintf("timers: lateness at %d/s, sync always", plan.perSecond),
		value:   fmt.Sprintf("p50 %d ms, p99 %d ms, max %d ms", percentile(late, 0.5).Milliseconds(), p99.Milliseconds(), late[n-1].Milliseconds()),
		against: fmt.Sprintf("%d more wait; the server looks every 250 ms", plan.pending),
	}, float64(p99.Milliseconds()), lateAim, "%.0f ms")}, nil
}

// first is when the first timer may come due: all must be stored by then, at the rate at which some others are now.
func (p timerPlan) first(ctx context.Context, ours *bus.Bus) (time.Time, error) {
	began, n := time.Now(), p.perSecond*p.seconds
	evs := make([]events.Event, window)
	for i := range evs {
		evs[i] = timerOf(p.pending+n+i, began.Add(25*24*time.Hour))
	}
	if err := publishPatiently(ctx, ours, evs); err != nil {
		return time.Time{}, err
	}
	took := time.Since(began) * time.Duration(n) / window
	return time.Now().Add(2*took + 10*time.Second).Truncate(time.Second), nil
}

// lateness takes n timers that came due, each once, and returns how late each was, in order.
func (r *busRig) lateness(ctx context.Context, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	consumer, err := r.js.CreateConsumer(ctx, timerStream, jetstream.ConsumerConfig{
		Durable: "due-refresh-" + timerApp, FilterSubject: events.DueFilter(events.Refresh, timerApp), AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: window,
	})
	if err != nil {
		return nil, fmt.Errorf("make a consumer: %w", err)
	}
	type due struct {
		subject string
		late    time.Duration
		err     error
	}
	arrived := make(chan due, n)
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		e, err := events.Decode(msg.Data())
		meta, metaErr := msg.Metadata()
		if err = errors.Join(err, metaErr, msg.Ack()); err != nil {
			arrived <- due{err: err}
			return
		}
		arrived <- due{subject: msg.Subject(), late: meta.Timestamp.Sub(e.NotBefore)}
	})
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	defer func() { consuming.Stop(); <-consuming.Closed() }()
	seen, late := make(map[string]bool, n), make([]time.Duration, 0, n)
	for len(late) < n {
		select {
		case d := <-arrived:
			if d.err != nil || seen[d.subject] {
				return nil, errors.Join(d.err, fmt.Errorf("%q came due twice, or is no timer", d.subject))
			}
			seen[d.subject] = true
			late = append(late, d.late)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d timers came due: %w", len(late), n, context.Cause(ctx))
		}
	}
	slices.Sort(late)
	return late, nil
}
