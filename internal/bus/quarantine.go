package bus

import (
	"context"
	"time"

	"kindling/internal/events"
)

// undecodable buries a message that is no event, with its bytes quoted; one of a newer version is left for a newer build.
func (w *worker) undecodable(ctx context.Context, d *delivery, payload []byte, cause error) (string, error) {
	if decision := Undecodable(cause); decision.Verdict == Leave {
		d.nakAfter(decision.Delay)
		return "left", errGivenBack
	}
	if err := w.bus.bury(ctx, d, payload, events.Event{}, w.lane.Lane, notAnEvent(cause), time.Now()); err != nil {
		d.nakAfter(republishDelay)
		return "left", errGivenBack
	}
	w.bus.log.ErrorContext(ctx, "dead_letter", "lane", w.lane.Lane, "fault", "undecodable", "error", cause)
	return "dead", nil
}
