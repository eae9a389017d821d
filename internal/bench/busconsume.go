package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// way is one way to consume: run works off what there is until ctx ends.
type way struct {
	name string
	run  func(ctx context.Context, w *work) error
}

// The ways to consume, from the barest to the whole.
func rawConsume() way { return way{"raw Consume with Ack", runRawPlain} }

func rawDoubleAck() way { return way{"raw Consume with DoubleAck in goroutines", runRawDouble} }

func subscriberAlone() way { return way{"Subscriber alone", runSubscriber} }

func subscriberRouted() way { return way{"Subscriber under the Router", runRouter} }

func serveLane() way { return way{"bus.Serve, one lane", runLane} }

// consume compares ways to work off the same load.
func (b busBench) consume(ctx context.Context, r *busRig, title string, l load, ways ...way) (map[string]costs, error) {
	variants := make([]variant, len(ways))
	for i, v := range ways {
		variants[i] = variant{v.name, func(ctx context.Context) (cost, error) { return r.consumed(ctx, l, v) }}
	}
	return b.compare(ctx, title, variants)
}

// consumed measures one way, from the first message at the handler until the server has heard of the last acknowledgement.
func (r *busRig) consumed(ctx context.Context, l load, v way) (s cost, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the messages were not worked off in time"))
	defer cancel()
	w := r.newWork(l, v.name)
	if err := r.fill(ctx, w.app, l.size, l.n); err != nil {
		return cost{}, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- v.run(running, w) }()
	s, err = w.finish(ctx, ended)
	stop()
	if err == nil {
		err = errors.Join(<-ended, w.failure(), r.js.DeleteConsumer(ctx, stream, w.consumer()), r.empty(ctx, 0))
	}
	return s, err
}

func (w *work) finish(ctx context.Context, ended <-chan error) (cost, error) {
	select {
	case <-w.done:
	case err := <-ended:
		return cost{}, errors.Join(errors.New("ended before its messages did"), err)
	case <-ctx.Done():
		return cost{}, context.Cause(ctx)
	}
	if err := w.settled(ctx); err != nil {
		return cost{}, err
	}
	s := w.begun.stop(w.n)
	t, err := w.rig.store.traffic(w.name)
	s.toServer, s.toClient = float64(t.ToServer)/float64(w.n), float64(t.ToClient)/float64(w.n)
	return s, err
}

func runRawPlain(ctx context.Context, w *work) error {
	return w.rawLoop(ctx, func(msg jetstream.Msg) {
		if w.wait == 0 {
			w.handle(ctx)
			w.fail(msg.Ack())
			return
		}
		w.slots <- struct{}{}
		go func() {
			defer func() { <-w.slots }()
			w.handle(ctx)
			w.fail(msg.Ack())
		}()
	})
}

func runRawDouble(ctx context.Context, w *work) error {
	answered := context.WithoutCancel(ctx) // the last answers arrive after the last message was handled
	return w.rawLoop(ctx, func(msg jetstream.Msg) {
		w.slots <- struct{}{}
		go func() {
			defer func() { <-w.slots }()
			w.handle(ctx)
			w.fail(msg.DoubleAck(answered))
		}()
	})
}

func (w *work) rawLoop(ctx context.Context, take func(jetstream.Msg)) error {
	nc, js, err := w.rig.connect(w.name)
	if err != nil {
		return err
	}
	defer nc.Close()
	cons, err := w.createConsumer(ctx, js)
	if err != nil {
		return err
	}
	consuming, err := cons.Consume(take, jetstream.PullMaxMessages(w.window), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return fmt.Errorf("consume raw: %w", err)
	}
	<-ctx.Done()
	consuming.Stop()
	<-consuming.Closed()
	for range cap(w.slots) {
		w.slots <- struct{}{} // until nobody works any more
	}
	return nil
}

// subscriber opens a Bus and a Subscriber of it, on a consumer with the raw one's settings.
func (w *work) subscriber(ctx context.Context) (*bus.Bus, *bus.Subscriber, error) {
	ours, err := openBus(ctx, w.rig.store.url, w.name)
	if err != nil {
		return nil, nil, err
	}
	if _, err := w.createConsumer(ctx, w.rig.js); err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, &bus.Subscriber{Bus: ours, Window: w.window, Prefetch: w.window, Drain: drain}, nil
}

// drain bounds the end of a consumer that has nothing left to do.
const drain = 5 * time.Second

func runSubscriber(ctx context.Context, w *work) error {
	ours, sub, err := w.subscriber(ctx)
	if err != nil {
		return err
	}
	defer ours.Close()
	msgs, err := sub.Subscribe(ctx, w.topic())
	if err != nil {
		return err
	}
	for msg := range msgs {
		w.handle(msg.Context()) //nolint:contextcheck // a message has a life of its own
		msg.Ack()
	}
	return sub.Close()
}

func runRouter(ctx context.Context, w *work) error {
	ours, sub, err := w.subscriber(ctx)
	if err != nil {
		return err
	}
	defer ours.Close()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: drain}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	sub.Settled = true
	router.AddMiddleware(bus.Settle)
	router.AddConsumerHandler("bench", w.topic(), sub, func(msg *message.Message) error { //nolint:contextcheck // as above
		w.handle(msg.Context())
		return nil
	})
	return errors.Join(router.Run(ctx), sub.Close())
}

func runLane(ctx context.Context, w *work) error {
	ours, err := openBus(ctx, w.rig.store.url, w.name)
	if err != nil {
		return err
	}
	defer ours.Close()
	return serve(ctx, ours, w.app, w.window, w.fleet(), laneHandler{w})
}

// serve works off one app's share of the code lane.
func serve(ctx context.Context, ours *bus.Bus, app string, window, fleet int, h bus.Handler) error {
	policy := bus.Policy{Attempts: 10, Base: time.Second, Cap: time.Minute, Crashes: 5, Nak: true}
	return ours.Serve(ctx, bus.ServeConfig{Drain: drain}, bus.Lane{
		Lane: events.Code, Leg: app, Window: window, Fleet: fleet, Policy: policy, Handler: h,
	})
}

// laneHandler is a work as the lane sees it.
type laneHandler struct{ *work }

// Handle does what every way does with a message.
func (h laneHandler) Handle(ctx context.Context, _ events.Event) ([]events.Event, error) {
	h.handle(ctx)
	return nil, nil
}

// Bury keeps the fault: nothing here may fail.
func (h laneHandler) Bury(_ context.Context, _ events.Event, f *fault.Fault) error {
	h.fail(f)
	return nil
}
