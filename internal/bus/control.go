package bus

import (
	"errors"
	"strconv"
	"time"

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

// longestTimeline is how far ahead the end of a call budget's time line can be: slots are reserved when they are near,
// at most a minute's worth, by processes whose clocks may differ.
const longestTimeline = time.Minute + events.ClockSkew

// decodeTimeline reads the end of a call budget's time line; the zero time when it cannot be meant.
func decodeTimeline(data []byte, now time.Time) time.Time {
	var line timeline
	if events.DecodeStrict(data, &line) != nil || line.Next.After(now.Add(longestTimeline)) {
		return time.Time{}
	}
	return line.Next
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
