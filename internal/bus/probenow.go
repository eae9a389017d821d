package bus

import (
	"context"

	"kindling/internal/leg"
)

// ProbeNow ends the wait of a held leg if its cause may be gone: the next delivery of the fleet probes. because is asked about
// the code of the fault that holds it. A leg that an operator holds stays his.
func (l Legs) ProbeNow(ctx context.Context, name string, because func(code string) bool) error {
	_, _, err := l.change(ctx, name, func(current leg.Leg) (leg.Leg, bool) {
		now := l.now().UTC()
		if current.State != leg.Held || current.Until.IsZero() || current.Over(now) || !because(current.Code) {
			return current, false
		}
		current.Until, current.Written = now, now
		return current, true
	})
	return err
}
