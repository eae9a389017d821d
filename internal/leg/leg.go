// Package leg names the dependencies of the pipeline as its work lanes see them: "microsoft/<app>", "warmy/<account>", and
// "refresh/<app>", the refresh lane's own view of Microsoft: refreshes that fail must not delay codes.
//
// A leg on which nothing can succeed is held: its messages are neither delivered nor counted, for all workers at once,
// until an operator releases it or a probe succeeds.
package leg

import (
	"strings"
	"time"
)

// State says whether work flows on a leg.
type State string

// The states of a leg.
const (
	Open    State = "open"    // work flows
	Held    State = "held"    // nothing is pulled until Until, or until it is released
	Probing State = "probing" // a little work is let through to see whether the dependency is back
)

// HeldByOperator is the code of a leg that an operator holds, until one releases it.
const HeldByOperator = "held_by_operator"

// Who changes a leg's state but operators.
const (
	ByFault = "fault"
	ByProbe = "probe"
)

// Leg is one dependency and what is known of its health.
type Leg struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Code  string    `json:"code,omitempty"`  // of the fault that holds it
	Cause string    `json:"cause,omitempty"` // in our words
	By    string    `json:"by,omitempty"`    // ByFault, ByProbe or the operator's name
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"` // zero with Held: until released by hand; with Probing: when the probe counts as lost

	Prober  string    `json:"prober,omitempty"` // with Probing: the process whose delivery is let through
	Written time.Time `json:"written,omitzero"` // when Until was; zero: an older version wrote it

	// Relapses is how often in a row the leg was held again although its probe had been answered: what the probe let through
	// failed, or what came soon after it.
	Relapses int `json:"relapses,omitempty"`

	Load // of a listed leg
}

// clockSlack is by how much the ideas that two processes have of the server's clock may differ.
const clockSlack = time.Second

// Over reports whether a hold, or a probe, that ends by itself has ended. It has, too, when now is before the time at which it
// was written: the server's clock was set back, and the wait would last so much longer.
func (l Leg) Over(now time.Time) bool { return !l.Until.IsZero() && l.Left(now) <= 0 }

// Left is how long a hold, or a probe, that ends by itself still lasts; not above zero when it is over.
func (l Leg) Left(now time.Time) time.Duration {
	if now.Before(l.Written.Add(-clockSlack)) {
		return now.Sub(l.Written)
	}
	return l.Until.Sub(now)
}

// settled is how long the work of a leg that a probe released must go well before nothing is left of what was.
const settled = time.Minute

// Recovering reports whether a probe released the leg only just now.
func (l Leg) Recovering(now time.Time) bool {
	return l.State == Open && l.By == ByProbe && now.Sub(l.Since) < settled
}

// RelapsesAt is Relapses as far as they count at now.
func (l Leg) RelapsesAt(now time.Time) int {
	if l.State == Open && !l.Recovering(now) {
		return 0
	}
	return l.Relapses
}

// longestRest bounds the hold of a leg that relapses.
const longestRest = time.Minute

// Rest is how long a leg that relapses at now is left alone: d at first, then twice as long each time, up to a minute. Each try
// costs a call with an effect, whose outcome nobody knows.
func (l Leg) Rest(d time.Duration, now time.Time) time.Duration {
	for range l.RelapsesAt(now) {
		if d >= longestRest {
			break
		}
		d = min(2*d, longestRest)
	}
	return d
}

// Name returns the name of a leg of the given kind ("microsoft", "refresh" or "warmy").
func Name(kind, which string) string { return kind + "/" + which }

// Key returns the leg's name in the form in which it may stand in a key or a subject.
func Key(name string) string { return strings.ReplaceAll(name, "/", ".") }
