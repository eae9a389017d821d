package bus

import (
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Policy is how much patience a lane has.
type Policy struct {
	Attempts int           // failures that a handler saw before the event is given up
	MaxAge   time.Duration // age of the fact after which it is given up, whatever the attempts; 0: no limit
	Base     time.Duration // first back-off; doubled with every failure
	Cap      time.Duration // longest back-off
	Crashes  int           // deliveries in a row that never came to an end before the event is given up; 0: no limit
	Nak      bool          // wait in the lane instead of as a timer: for waits of seconds only, since it keeps its place in the window
}

// outagesPerAttempt is how many failures of the dependency weigh as much as one of the event. An outage that holds the leg
// counts for nothing; this is for the event that alone makes its dependency fail.
const outagesPerAttempt = 4

// Verdict is what happens to a delivery.
type Verdict int

// The verdicts.
const (
	Acked Verdict = iota // done: acknowledge
	Retry                // handle again after Delay
	Hold                 // stop the leg, keep the message, count nothing
	Bury                 // dead letter
	Leave                // give it back untouched: another replica can handle it, or the process is stopping
)

// Decision is a verdict with its delay.
type Decision struct {
	Verdict Verdict
	Delay   time.Duration
}

// Decide is the whole delivery policy (docs/design.md, "Delivery policy"): what happens after a handler returned err.
// failed is how often it failed before; jitter is a random number in [0,1).
func (p Policy) Decide(e events.Event, err error, failed int, now time.Time, jitter float64) Decision {
	if err == nil {
		return Decision{Verdict: Acked}
	}
	f := fault.Of(err)
	switch f.Class {
	case fault.LegDown:
		return Decision{Verdict: Hold, Delay: f.After}
	case fault.Permanent, fault.NeedsConsent, fault.Unclear:
		// The last two are the handler's to conclude. If they leak here, burying is the safe end: never a blind repeat.
		return Decision{Verdict: Bury}
	case fault.Transient, fault.RetryAfter:
	}
	delay := max(f.After+time.Duration(jitter*float64(f.After)/4), p.backoff(failed+e.Outages, jitter))
	due := now.Add(delay)
	switch {
	case f.Outage && e.Outages+1 >= outagesPerAttempt*p.Attempts:
		return Decision{Verdict: Bury}
	case f.Class == fault.Transient && !f.Outage && failed+1 >= p.Attempts:
		return Decision{Verdict: Bury}
	case p.MaxAge > 0 && due.After(born(e, now).Add(p.MaxAge)):
		return Decision{Verdict: Bury}
	case now.Before(e.Deadline) && due.After(e.Deadline):
		// Not before the deadline: the handler sees it pass and says so in its own words.
		return Decision{Verdict: Retry, Delay: e.Deadline.Sub(now)}
	}
	return Decision{Verdict: Retry, Delay: delay}
}

// born is when the age of e began to count. An idle grant does not age while it waits, be it for a worker that was away
// for weeks: only its failures count.
func born(e events.Event, now time.Time) time.Time {
	switch {
	case e.Kind != events.GrantIdle:
		return later(e.At, e.Renewed)
	case len(e.Tries) == 0:
		return now
	}
	return later(e.Tries[0].At, e.Renewed)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// backoff is exponential with full jitter, and never zero: a message given back at once comes back at once.
func (p Policy) backoff(failures int, jitter float64) time.Duration {
	ceiling := p.Cap
	if shift := min(failures, 30); p.Base<<shift > 0 && p.Base<<shift < p.Cap {
		ceiling = p.Base << shift
	}
	return max(time.Duration(jitter*float64(ceiling)), p.Base/4)
}

// keptTries bounds the history that an event carries: the first ones and the latest.
const keptTries = 16

func addTry(tries []events.Try, f *fault.Fault, now time.Time) []events.Try {
	next := append(append([]events.Try(nil), tries...), events.Try{At: now.UTC(), Class: string(f.Class), Code: f.Code, Cause: f.Cause})
	if len(next) > keptTries {
		next = append(next[:keptTries/2:keptTries/2], next[len(next)-keptTries/2:]...)
	}
	return next
}

func crashLoop() *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "crash_loop", Forecast: fault.ByConfig,
		Cause:  "the event was delivered again and again and never concluded: it seems to kill its worker",
		Remedy: "read the workers' logs around these times, mend or update, then replay",
	}
}

func notAnEvent(err error) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "undecodable", Forecast: fault.Never, Err: err,
		Cause:  "the message is not an event that this build can read",
		Remedy: "find the producer that wrote it; discard the dead letter",
	}
}
