package leg

import (
	"cmp"
	"fmt"
	"time"
)

// Load is what waits on a leg and how fast it is worked off. It is not stored: whoever lists legs reads it again.
type Load struct {
	Waiting   int       `json:"waiting,omitempty"`    // mailboxes, of all campaigns
	Coming    int       `json:"coming,omitempty"`     // mailboxes whose consent is on its way here, through another leg
	Calls     int       `json:"calls,omitempty"`      // that all these take; 0: one each
	PerMinute float64   `json:"per_minute,omitempty"` // calls that the whole fleet may make now; 0: not paced, or not known
	NotBefore time.Time `json:"not_before,omitzero"`  // nobody calls before, for the service asked for a pause
	DoneAt    time.Time `json:"done_at,omitzero"`     // when all this will be done at this pace; zero: no estimate
	Seen      time.Time `json:"-"`                    // when this was so, by the clock that the times above go by
}

// Estimated returns the load of a leg in this state with its estimate.
func (l Load) Estimated(state State) Load {
	from := l.Seen
	if l.NotBefore.After(from) {
		from = l.NotBefore
	}
	l.DoneAt = Estimate(from, cmp.Or(l.Calls, l.Waiting+l.Coming), l.PerMinute, state)
	return l
}

// Busy reports whether there is anything to be done.
func (l Load) Busy() bool { return l.Waiting > 0 || l.Coming > 0 }

// Estimate tells when calls will be made that begin at from, at so many a minute, on a leg in this state; the zero time when
// nobody can tell: the leg is not open, the pace is not known, or nothing waits.
func Estimate(from time.Time, calls int, perMinute float64, state State) time.Time {
	if calls <= 0 || !(perMinute > 0) || state != Open {
		return time.Time{}
	}
	minutes := float64(calls) / perMinute
	if minutes > longestEstimate.Minutes() {
		return time.Time{}
	}
	return from.Add(time.Duration(minutes * float64(time.Minute))).UTC()
}

// longestEstimate is how far ahead an estimate means something.
const longestEstimate = 365 * 24 * time.Hour

// Outlook says in a line what waits and when it will be done; "" when nothing waits. now decides whether the day is told.
func (l Leg) Outlook(now time.Time) string {
	if !l.Busy() {
		return ""
	}
	text := l.amount()
	if l.PerMinute > 0 {
		text += ", " + l.Pace() + "/min"
	}
	if l.NotBefore.After(now) {
		text += ", no call before " + Clock(l.NotBefore, now)
	}
	switch {
	case l.State != Open:
		return text + ": " + string(l.State) + ", no estimate"
	case l.DoneAt.IsZero():
		return text + ": no estimate"
	}
	return text + ": done at about " + Clock(l.DoneAt, now)
}

// amount says how much waits. Calls are told where they are not one for each.
func (l Load) amount() string {
	text := fmt.Sprintf("%d waiting", l.Waiting)
	if l.Coming > 0 {
		text += fmt.Sprintf(" and %d on their way", l.Coming)
	}
	if l.Calls != 0 && l.Calls != l.Waiting+l.Coming {
		text += fmt.Sprintf(" (%d calls)", l.Calls)
	}
	return text
}

// Pace words how many calls the whole fleet may make in a minute; "" when that is not known.
func (l Load) Pace() string {
	switch {
	case !(l.PerMinute > 0):
		return ""
	case l.PerMinute < 1:
		return fmt.Sprintf("%.2g", l.PerMinute)
	}
	return fmt.Sprintf("%.0f", l.PerMinute)
}

// Clock writes a time as it is told to people, with the day when it is far from now.
func Clock(at, now time.Time) string {
	if at.Sub(now).Abs() > 20*time.Hour {
		return at.UTC().Format("2006-01-02 15:04") + " UTC"
	}
	return at.UTC().Format("15:04") + " UTC"
}
