package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// source is one consumer of a lane.
type source struct {
	stream string
	due    bool
	slots  bool // it serves one slot of several
	slot   int
}

func sources(lane events.Lane) []source {
	switch lane {
	case events.Code:
		return []source{{stream: streamCode}}
	case events.Refresh:
		return []source{{stream: streamRefresh}, {stream: streamTokenTimers, due: true}}
	case events.Register:
		all := make([]source, 0, events.Slots+1)
		for slot := range events.Slots {
			all = append(all, source{stream: streamRegister, slots: true, slot: slot})
		}
		return append(all, source{stream: streamWarmyTimers, due: true})
	case events.Reconcile:
		return []source{{stream: streamWarmyTimers, due: true}}
	}
	return nil
}

func (w *worker) subscribe(ctx context.Context, router *message.Router) ([]*Subscriber, error) {
	fleet := w.lane.Fleet
	if fleet == 0 {
		fleet = 8 * w.lane.Window
	}
	var subs []*Subscriber
	for _, src := range sources(w.lane.Lane) {
		cfg := consumerOf(w.lane.Lane, src, w.lane.Leg, fleet)
		ensure := func(ctx context.Context) error { return w.bus.ensureConsumer(ctx, src.stream, cfg) }
		if err := outlast(ctx, ensure); err != nil {
			return nil, err
		}
		sub := &Subscriber{Bus: w.bus, Window: w.lane.Window, Drain: w.cfg.Drain, Ensure: ensure, Settled: true, turn: w.turn()}
		router.AddConsumerHandler(cfg.Durable, src.stream+"/"+cfg.Durable, sub, w.handle)
		subs = append(subs, sub)
	}
	return subs, nil
}

// ensureConsumer creates the consumer, or gives it this configuration's window. It never touches anything else of an
// existing one: an update without its pause would release a held leg.
func (b *Bus) ensureConsumer(ctx context.Context, stream string, want jetstream.ConsumerConfig) error {
	have, err := b.js.Consumer(ctx, stream, want.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		_, err = b.js.CreateConsumer(ctx, stream, want)
		if errors.Is(err, jetstream.ErrConsumerExists) {
			err = nil // another replica was quicker
		}
	case err == nil && isWhole(want, have.CachedInfo().Config):
		err = b.narrow(ctx, stream, want, have.CachedInfo().Config)
	case err == nil:
		err = b.fitConsumer(ctx, stream, want, have.CachedInfo().Config)
	}
	if err != nil {
		return fmt.Errorf("ensure consumer %s of %s: %w", want.Durable, stream, err)
	}
	return nil
}

// isWhole reports whether a consumer is the one for all slots that older versions had.
func isWhole(want, have jetstream.ConsumerConfig) bool {
	whole, cut := strings.CutSuffix(want.FilterSubject, ".s0.>")
	return cut && have.FilterSubject == whole+".>"
}

// narrow makes the consumer of the first slot of the one for all slots: on a work queue no two may deliver the same, so
// this comes before the other slots' are made. What was delivered and not acknowledged comes again.
func (b *Bus) narrow(ctx context.Context, stream string, want, have jetstream.ConsumerConfig) error {
	b.log.InfoContext(ctx, "consumer_narrowed", "consumer", stream+"/"+want.Durable, "from", have.FilterSubject, "to", want.FilterSubject)
	have.FilterSubject, have.MaxAckPending = want.FilterSubject, want.MaxAckPending
	_, err := b.js.UpdateConsumer(ctx, stream, have)
	return err
}

// fitConsumer refuses a consumer whose settings break a promise, and gives it this configuration's window.
func (b *Bus) fitConsumer(ctx context.Context, stream string, want, have jetstream.ConsumerConfig) error {
	if err := Unfit(Findings(compareConsumer(stream, want, have))); err != nil || have.MaxAckPending == want.MaxAckPending {
		return err
	}
	b.log.InfoContext(ctx, "window_changed", "consumer", stream+"/"+want.Durable, "from", have.MaxAckPending, "to", want.MaxAckPending)
	have.MaxAckPending = want.MaxAckPending
	_, err := b.js.UpdateConsumer(ctx, stream, have)
	return err
}

const (
	// startPatience is how long a process that starts outlasts a store that does not answer, such as one that elects a leader.
	startPatience = time.Minute
	startPause    = 500 * time.Millisecond
)

// outlast asks again while the store does not answer. A lane has many consumers, and one unanswered question about one of
// them must not end the process.
func outlast(ctx context.Context, ask func(ctx context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil || errors.Is(err, ErrDenied) || !unanswered(err) && !electing(err) {
			return err
		}
		if rest(within, startPause); within.Err() != nil {
			return err
		}
	}
}

// electing reports whether the store answered that it cannot at the moment, or the connection is on its way to another server.
func electing(err error) bool {
	if errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code == http.StatusServiceUnavailable
}
