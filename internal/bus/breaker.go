package bus

import (
	"errors"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"

	"kindling/internal/fault"
	"kindling/internal/leg"
)

// breaker judges, in this process, whether the dependency behind a leg is down. It only judges: holding the leg, for
// everybody, is the gate's, and after the hold a new breaker begins (docs/adr/0011).
type breaker struct {
	two *gobreaker.TwoStepCircuitBreaker[struct{}]
}

const (
	breakAfter  = 5           // failures at least
	breakWithin = time.Minute // in which they count
)

var errOutage = errors.New("the dependency failed")

func newBreaker(name string) *breaker {
	return &breaker{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: name, Interval: breakWithin, BucketPeriod: breakWithin / 6, Timeout: forever,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			if c.ConsecutiveFailures >= breakAfter && strings.HasPrefix(name, leg.Name("warmy", "")) {
				return true // what succeeded before says nothing any more, and every further POST has an unclear outcome
			}
			return c.TotalFailures >= breakAfter && c.TotalFailures >= c.TotalSuccesses
		},
	})}
}

// judge counts what one attempt has seen; one that asked nobody has seen nothing. tripped tells that the dependency is
// down, by this attempt or by one before.
func (b *breaker) judge(seen *leg.Witness) (tripped bool) {
	if !seen.Failed() && !seen.Answered() {
		return false
	}
	done, err := b.two.Allow()
	if err != nil {
		return true
	}
	if seen.Failed() {
		done(errOutage)
	} else {
		done(nil)
	}
	return b.two.State() == gobreaker.StateOpen
}

// breakerOpen is why a leg is held whose dependency is down.
func breakerOpen(last *fault.Fault) *fault.Fault {
	return &fault.Fault{
		Class: fault.LegDown, Code: "breaker_open", Forecast: fault.ByTime, Err: last,
		Cause:  "the service fails again and again, or does not answer; it is left alone for a while",
		Remedy: "none: it is asked again by itself, and all that waits goes on when it answers",
	}
}
