package leg

import (
	"fmt"
	"time"
)

// Load is what waits on a leg and how fast it is worked off. It is not stored: whoever lists legs reads it anew.
type Load struct {
	Waiting   int       `json:"waiting,omitempty"`    // mailboxes, of all campaigns
	PerMinute float64   `json:"per_minute,omitempty"` // calls that the whole fleet may make now; 0: not paced, or not known
	DoneAt    time.Time `json:"done_at,omitzero"`     // when all that waits will be done at this pace; zero: no estimate
}

// Estimate tells when waiting items will be done at so many a minute on a leg in this state; the zero time when nobody can
// tell: the leg is not open, the pace is not known, or nothing waits.
func Estimate(now time.Time, waiting int, perMinute float64, state State) time.Time {
	if waiting <= 0 || !(perMinute > 0) || state != Open {
		return time.Time{}
	}
	minutes := float64(waiting) / perMinute
	if minutes > longestEstimate.Minutes() {
		return time.Time{}
	}
	return now.Add(time.Duration(minutes * float64(time.Minute))).UTC()
}

// longestEstimate is how far ahead an estimate means something.
const longestEstimate = 365 * 24 * time.Hour

// Outlook says in a line what waits and when it will be done; "" when nothing waits. now decides whether the day is told.
func (l Leg) Outlook(now time.Time) string {
	if l.Waiting == 0 {
		return ""
	}
	text := fmt.Sprintf("%d waiting", l.Waiting)
	if l.PerMinute > 0 {
		text += fmt.Sprintf(", %.0f/min", l.PerMinute)
	}
	switch {
	case l.State != Open:
		return text + ": " + string(l.State) + ", no estimate"
	case l.DoneAt.IsZero():
		return text + ": no estimate"
	case l.DoneAt.Sub(now) > 20*time.Hour:
		return text + ": done at about " + l.DoneAt.UTC().Format("2006-01-02 15:04") + " UTC"
	}
	return text + ": done at about " + l.DoneAt.UTC().Format("15:04") + " UTC"
}
