package app

import (
	"errors"
	"slices"
	"testing"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
)

func TestEveryHintIsCountedByWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	permanent := func(code string) error { return &fault.Fault{Class: fault.Permanent, Code: code} }
	for want, c := range map[string]struct {
		follows []events.Event
		err     error
	}{
		hintFine:    {},
		hintRepair:  {follows: make([]events.Event, 1)},
		hintGone:    {err: permanent(handlers.CodeGone)},
		hintUnknown: {err: permanent("hint_unknown")},
		hintFailed:  {err: errors.New("anything")},
	} {
		if got := hintOutcome(c.follows, c.err); got != want || !slices.Contains(hintOutcomes(), got) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
