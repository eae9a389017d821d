package bus

import (
	"errors"
	"strconv"

	"kindling/internal/events"
	"kindling/internal/leg"
)

// What the control bucket holds is no fact of a mailbox. Where it cannot be read its safe default is taken, so that bad
// bytes there stop no lane for good: a leg is open (a fault holds it again), a call budget begins now, no handling has
// begun.

// decodeLeg reads the state of the named leg.
func decodeLeg(name string, data []byte) (leg.Leg, error) {
	open := leg.Leg{Name: name, State: leg.Open}
	var stored leg.Leg
	if err := events.DecodeStrict(data, &stored); err != nil {
		return open, err
	}
	switch {
	case stored.Name != name:
		return open, errors.New("the record is another leg's")
	case stored.State != leg.Open && stored.State != leg.Held && stored.State != leg.Probing:
		return open, errors.New("field state: unknown")
	}
	return stored, nil
}

// mostBegan is more beginnings than any policy allows.
const mostBegan = 1000

// decodeBegan reads how often a handling began and never ended.
func decodeBegan(data []byte) int {
	n, err := strconv.Atoi(string(data))
	if err != nil || n < 0 || n > mostBegan {
		return 0
	}
	return n
}
