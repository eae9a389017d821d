package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
)

// trace is the W3C traceparent of every event.
const trace = "00-6b696e646c696e672d62656e63683030-62656e636862656e-01"

// header is one header of our messages. Some begin with the event's id.
type header struct {
	name, value string
	id          bool
}

// headers are what raw messages carry too: whatever ours were seen to carry.
type headers []header

// learn publishes one event in one of our ways and reads its headers back.
func (r *busRig) learn(ctx context.Context, publish publisher) (headers, error) {
	evs, err := r.events("learn", 256, 1)
	if err != nil {
		return nil, err
	}
	all, err := parcels(evs)
	if err != nil {
		return nil, err
	}
	if err := publish(ctx, evs, all); err != nil {
		return nil, err
	}
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", stream, err)
	}
	msg, err := s.GetLastMsgForSubject(ctx, all[0].subject)
	if err != nil {
		return nil, fmt.Errorf("read an event back: %w", err)
	}
	return learnt(msg.Header, evs[0]), r.empty(ctx, 1)
}

func learnt(seen nats.Header, e events.Event) headers {
	var all headers
	for name := range seen {
		value, id := strings.CutPrefix(seen.Get(name), e.ID)
		all = append(all, header{name, value, id})
	}
	slices.SortFunc(all, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return all
}

func (h headers) String() string {
	names := make([]string, len(h))
	for i := range h {
		names[i] = h[i].name
	}
	return strings.Join(names, ", ")
}

// msg returns the message that ours would be.
func (h headers) msg(p parcel) *nats.Msg {
	msg := nats.NewMsg(p.subject)
	msg.Data = p.data
	for _, x := range h {
		if x.id {
			msg.Header.Set(x.name, p.id+x.value)
		} else {
			msg.Header.Set(x.name, x.value)
		}
	}
	return msg
}
