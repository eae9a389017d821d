package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/events"
)

// codeLife is the handler of codes, with a record of how long each had to live when its redeem began.
type codeLife struct {
	bus.Handler

	left prometheus.Observer
	now  func() time.Time
}

// Handle records the life left, in seconds; 0 for a code that came too late.
func (h codeLife) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	if !e.Deadline.IsZero() {
		h.left.Observe(max(0, e.Deadline.Sub(h.now()).Seconds()))
	}
	return h.Handler.Handle(ctx, e)
}
