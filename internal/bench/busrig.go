package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/events"
)

const (
	// window bounds what raw clients have under way, as the Bus bounds its own publishes.
	window = 1024
	// stream is the lane's stream that everything here travels through, raw or not.
	stream = "CODE"
	// patience bounds what should take seconds, so that a stall ends as an error.
	patience = 5 * time.Minute
)

// busRig is a store with Kindling's streams, a raw connection to it, and what fills it.
type busRig struct {
	store *store
	raw   *nats.Conn
	js    jetstream.JetStream
	like  headers // those of an event that our Bus published
	plain headers // those of a message that our Watermill Publisher published
	made  int     // events so far: no id, no subject is used twice
}

func newBusRig(ctx context.Context, lazy bool) (*busRig, error) {
	s, err := startStore(ctx, lazy)
	if err != nil {
		return nil, err
	}
	r := &busRig{store: s}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *busRig) open(ctx context.Context) (err error) {
	if r.raw, r.js, err = r.connect("raw"); err != nil {
		return err
	}
	ours, err := openBus(ctx, r.store.url, "prepare")
	if err != nil {
		return err
	}
	defer ours.Close()
	if _, err := ours.Ensure(ctx); err != nil {
		return err
	}
	if r.like, err = r.learn(ctx, busPublisher(ours)); err != nil {
		return err
	}
	r.plain, err = r.learn(ctx, watermillPublisher(ours))
	return err
}

func (r *busRig) close() error {
	if r.raw != nil {
		r.raw.Close()
	}
	return r.store.close()
}

// connect opens a raw connection with the settings of nats.go that a careful user would choose.
func (r *busRig) connect(name string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(r.store.url, nats.Name(name))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window))
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("open JetStream: %w", err)
	}
	return nc, js, nil
}

func openBus(ctx context.Context, url, name string) (*bus.Bus, error) {
	return bus.Connect(ctx, bus.Config{URL: url, Name: name, Log: slog.New(slog.DiscardHandler)})
}

// parcel is an event on the wire.
type parcel struct {
	id, subject string
	data        []byte
}

func parcels(evs []events.Event) ([]parcel, error) {
	all := make([]parcel, len(evs))
	for i, e := range evs {
		data, err := events.Encode(e)
		if err != nil {
			return nil, err
		}
		all[i] = parcel{id: e.ID, subject: e.Subject(), data: data}
	}
	return all, nil
}

// events returns n events of one app, each exactly size bytes on the wire, none of which was made before.
func (r *busRig) events(app string, size, n int) ([]events.Event, error) {
	at := time.Now().Truncate(time.Second)
	sealed, campaign := []byte("123"), "bench"
	fit := func() ([]byte, error) { return events.Encode(r.event(app, campaign, sealed, at)) }
	data, err := fit()
	if err != nil {
		return nil, err
	}
	missing := size - len(data)
	if missing < 0 {
		return nil, fmt.Errorf("an event has at least %d bytes, not %d", len(data), size)
	}
	sealed, campaign = slices.Repeat([]byte("123"), 1+missing/4), campaign+strings.Repeat("-", missing%4)
	if data, err = fit(); err != nil || len(data) != size {
		return nil, errors.Join(fmt.Errorf("an event has %d bytes, not %d", len(data), size), err)
	}
	evs := make([]events.Event, n)
	for i := range evs {
		r.made++
		evs[i] = r.event(app, campaign, sealed, at)
	}
	return evs, nil
}

func (r *busRig) event(app, campaign string, sealed []byte, at time.Time) events.Event {
	id := fmt.Sprintf("m%023d", r.made)
	e := events.New(events.CodeReceived, id, at)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt, e.Sealed = id, app, "bench", campaign, "bench", sealed
	return e
}

// fill stores n events of app through the raw connection. In a profile it is a case of its own.
func (r *busRig) fill(ctx context.Context, app string, size, n int) (err error) {
	pprof.Do(ctx, pprof.Labels("case", "fill"), func(ctx context.Context) { err = r.fillAll(ctx, app, size, n) })
	return err
}

func (r *busRig) fillAll(ctx context.Context, app string, size, n int) error {
	for left := n; left > 0; left -= fillChunk {
		evs, err := r.events(app, size, min(left, fillChunk))
		if err != nil {
			return err
		}
		all, err := parcels(evs)
		if err != nil {
			return err
		}
		if err := r.publishRaw(ctx, r.js, r.like, all); err != nil {
			return err
		}
	}
	return nil
}

const fillChunk = 10_000

// publishRaw publishes with window messages under way and returns when all are stored.
func (r *busRig) publishRaw(ctx context.Context, js jetstream.JetStream, like headers, all []parcel) error {
	futures := make([]jetstream.PubAckFuture, len(all))
	for i, m := range all {
		future, err := js.PublishMsgAsync(like.msg(m), jetstream.WithStallWait(patience))
		if err != nil {
			return fmt.Errorf("publish raw: %w", err)
		}
		futures[i] = future
	}
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return fmt.Errorf("publish raw: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// waiting counts the messages in the stream.
func (r *busRig) waiting(ctx context.Context) (int, error) {
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("find stream %s: %w", stream, err)
	}
	return int(s.CachedInfo().State.Msgs), nil //nolint:gosec // a count
}

// empty removes what is in the stream, which must be exactly n messages.
func (r *busRig) empty(ctx context.Context, n int) error {
	have, err := r.waiting(ctx)
	if err == nil && have != n {
		err = fmt.Errorf("the stream holds %d messages instead of %d", have, n)
	}
	if err != nil || n == 0 {
		return err
	}
	return r.purge(ctx)
}

func (r *busRig) purge(ctx context.Context) error {
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("find stream %s: %w", stream, err)
	}
	if err := s.Purge(ctx); err != nil {
		return fmt.Errorf("empty stream %s: %w", stream, err)
	}
	return nil
}
