// Package fault classifies failures. The adaptor that sees a failure decides its class; the bus decides
// from the class alone what happens to the message (docs/design.md, "Delivery policy"); operators read the cause,
// the remedy and the forecast.
//
// A Fault never contains text of a third party: answers of Microsoft or Warmy can hold tokens.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Class says what can be done about a failure.
type Class string

// The closed set of classes. An error without a class is Transient.
const (
	Transient    Class = "transient"     // later may work
	RetryAfter   Class = "retry_after"   // later may work, not before Fault.After has passed
	Permanent    Class = "permanent"     // never will
	NeedsConsent Class = "needs_consent" // only the mailbox's owner (or the tenant's admin) can help
	Unclear      Class = "unclear"       // the effect may have happened; must be reconciled, never repeated blindly
	LegDown      Class = "leg_down"      // nothing on this leg can succeed; the message is kept, no attempt is counted
)

// Classes lists every class, in the order in which reports show them.
func Classes() []Class {
	return []Class{Transient, RetryAfter, Permanent, NeedsConsent, Unclear, LegDown}
}

// Forecast says what a replay of a dead letter would need to succeed.
type Forecast string

// The closed set of forecasts. Replay takes ByTime and ByConfig unless told otherwise.
const (
	ByTime   Forecast = "by_time"   // waiting was all it needed
	ByConfig Forecast = "by_config" // an operator has to change a setting first
	ByPerson Forecast = "by_person" // the owner or an admin has to act; a new link, not a replay
	Never    Forecast = "never"
)

// Forecasts lists every forecast.
func Forecasts() []Forecast { return []Forecast{ByTime, ByConfig, ByPerson, Never} }

// Fault is a classified failure. It is an error; wrap it with %w and find it again with Of.
type Fault struct { //nolint:errname // the domain's word; fault.Error would hide the method it has
	Class    Class
	Code     string        // from a closed set, such as "AADSTS70008" or "warmy_422_field"; a metric label
	Cause    string        // what happened, in our words
	Remedy   string        // what puts it right, in our words
	Forecast Forecast      // what a replay would need
	Reason   string        // with NeedsConsent: one of package mailbox's reasons; empty otherwise
	After    time.Duration // the least delay before the next step (RetryAfter, Unclear), or how long to hold the leg (LegDown; 0: the leg's own interval)
	Outage   bool          // the dependency itself failed or did not answer (5xx, time-out, broken connection): nothing is said against the event
	Err      error         // the underlying error, if any; must not hold a third party's text
}

// Error returns code and cause.
func (f *Fault) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %s: %v", f.Code, f.Cause, f.Err)
	}
	return f.Code + ": " + f.Cause
}

// Unwrap returns the underlying error.
func (f *Fault) Unwrap() error { return f.Err }

// Of returns the Fault in err's chain. An error without one is Transient, with code "unclassified":
// the safe reading of an unknown failure is that later may work.
func Of(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{
		Class: Transient, Code: "unclassified", Cause: "an unexpected error inside Kindling",
		Remedy: "read the log of the worker at this time; replay when the cause is gone", Forecast: ByTime, Err: err,
	}
}

// Is reports whether err is of class c.
func Is(err error, c Class) bool { return err != nil && Of(err).Class == c }
