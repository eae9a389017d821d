package mailbox

import "time"

const (
	// leastShrink is the size from which a shrinking account is suspicious: of a few mailboxes a fifth is soon gone.
	leastShrink = 10
	// leastVanished is the size from which an account that is empty says more than one that shrank.
	leastVanished = 500
	// shrinkFor is how long an account must have been smaller before that is believed: somebody will have seen the alarm.
	shrinkFor = 24 * time.Hour
)

// Listed is what is remembered of the listings of one Warmy account, so that one that shows too little is not believed:
// what it does not show would be posted again. warmy-worker alone writes it.
type Listed struct {
	Count  int       `json:"count"`           // mailboxes, as the last trusted listing said
	At     time.Time `json:"at"`              // when that was
	Shrunk time.Time `json:"shrunk,omitzero"` // since when listings show too few; zero: they do not
}

// Shrinkage is why a listing is too small to be believed.
type Shrinkage string

// The ways to be too small.
const (
	NotShrunk Shrinkage = ""
	Fell      Shrinkage = "fell"  // by more than a fifth
	Emptied   Shrinkage = "empty" // after 500 mailboxes and more
)

// Now returns what is remembered when a listing says count, and whether that is too few. A shrinkage that lasts for a
// day is believed.
func (l Listed) Now(count int, now time.Time) (Listed, Shrinkage) {
	next := Listed{Count: count, At: now.UTC()}
	why := NotShrunk
	switch {
	case count == 0 && l.Count >= leastVanished:
		why = Emptied
	case l.Count >= leastShrink && count*5 < l.Count*4:
		why = Fell
	}
	switch {
	case why == NotShrunk:
		return next, NotShrunk
	case l.Shrunk.IsZero():
		l.Shrunk = now.UTC()
	case now.Sub(l.Shrunk) >= shrinkFor:
		return next, NotShrunk
	}
	return l, why
}
