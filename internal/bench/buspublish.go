package bench

import (
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"kindling/internal/bus"
	"kindling/internal/events"
)

// The ways to publish.
const (
	rawPublish    = "raw PublishMsgAsync"
	rawOneSubject = "raw PublishMsgAsync, one subject"
	oneCall       = "bus.Publish, one call"
	fourCallers   = "bus.Publish, 4 callers with 256 each"
	watermillCall = "Watermill Publisher, one call"
)

// publisher stores the same events, given in both forms, in one of the ways.
type publisher func(ctx context.Context, evs []events.Event, all []parcel) error

// publish compares how fast n messages of size bytes are stored, with the same window and the same headers.
func (b busBench) publish(ctx context.Context, r *busRig, title string, size, n int) (map[string]costs, error) {
	raw := func(name string, like headers) variant {
		return variant{name, func(ctx context.Context) (cost, error) {
			nc, js, err := r.connect(name)
			if err != nil {
				return cost{}, err
			}
			defer nc.Close()
			return r.published(ctx, size, n, name == rawOneSubject, func(ctx context.Context, _ []events.Event, all []parcel) error {
				return r.publishRaw(ctx, js, like, all)
			})
		}}
	}
	ours := func(name string, publish func(*bus.Bus) publisher) variant {
		return variant{name, func(ctx context.Context) (cost, error) {
			ours, err := openBus(ctx, r.store.url, name)
			if err != nil {
				return cost{}, err
			}
			defer ours.Close()
			return r.published(ctx, size, n, name == watermillCall, publish(ours))
		}}
	}
	return b.compare(ctx, title, []variant{
		raw(rawPublish, r.like), ours(oneCall, busPublisher), ours(fourCallers, busCallers),
		raw(rawOneSubject, r.plain), ours(watermillCall, watermillPublisher),
	})
}

// published measures one way to publish n new events.
func (r *busRig) published(ctx context.Context, size, n int, oneSubject bool, publish publisher) (cost, error) {
	evs, err := r.events("bench", size, n)
	if err != nil {
		return cost{}, err
	}
	all, err := parcels(evs)
	if err != nil {
		return cost{}, err
	}
	for i := range all {
		if oneSubject {
			all[i].subject = all[0].subject
		}
	}
	m := startMeter()
	if err := publish(ctx, evs, all); err != nil {
		return cost{}, err
	}
	return m.stop(n), r.empty(ctx, n)
}

func busPublisher(ours *bus.Bus) publisher {
	return func(ctx context.Context, evs []events.Event, _ []parcel) error {
		return ours.Publish(bus.WithTrace(ctx, trace), evs...)
	}
}

// busCallers have the same window of messages under way as one call, and encode while others wait.
func busCallers(ours *bus.Bus) publisher {
	return func(ctx context.Context, evs []events.Event, _ []parcel) error {
		group, ctx := errgroup.WithContext(bus.WithTrace(ctx, trace))
		group.SetLimit(4)
		for chunk := range slices.Chunk(evs, window/4) {
			group.Go(func() error { return ours.Publish(ctx, chunk...) })
		}
		return group.Wait()
	}
}

// watermillPublisher publishes under the first message's subject, because a call of Watermill's has one topic.
func watermillPublisher(ours *bus.Bus) publisher {
	return func(ctx context.Context, _ []events.Event, all []parcel) error {
		msgs := make([]*message.Message, len(all))
		for i, p := range all {
			msgs[i] = message.NewMessage(p.id, p.data)
			msgs[i].SetContext(ctx)
			msgs[i].Metadata.Set("traceparent", trace)
		}
		return ours.Publisher().Publish(all[0].subject, msgs...) //nolint:contextcheck // the messages have it
	}
}
