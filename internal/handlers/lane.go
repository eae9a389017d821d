package handlers

import (
	"context"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Handler is what handles one kind of event: Handle does it, and Bury records that the bus gave it up.
type Handler interface {
	Handle(ctx context.Context, e events.Event) ([]events.Event, error)
	Bury(ctx context.Context, e events.Event, f *fault.Fault) error
}

// Lane handles the events of one lane: one kind, which has a life of its own, by Other, and the usual ones by Usual.
type Lane struct {
	Usual Handler
	Kind  events.Kind
	Other Handler
}

func (l Lane) of(e events.Event) Handler {
	if e.Kind == l.Kind {
		return l.Other
	}
	return l.Usual
}

// Handle handles e by its kind.
func (l Lane) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	return l.of(e).Handle(ctx, e)
}

// Bury records that the bus gave e up.
func (l Lane) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return l.of(e).Bury(ctx, e, f)
}
