package mailbox

import "time"

const (
	// leastShrink is the size from which a shrinking account is suspicious: of a few mailboxes a fifth is soon gone.
	leastShrink = 10
	// shrinkFor is how long an account must have been smaller before that is believed: somebody will have seen the alarm.
	shrinkFor = 24 * time.Hour
	// shrinkGap is how far apart two listings may be that show too few, if the time between them is to count: nobody knows
	// what a listing would have shown, and with nothing to settle there was no alarm.
	shrinkGap = 2 * time.Hour
)

// Listed is what is remembered of the listings of one Warmy account, so that one that shows too little is not believed:
// what it does not show would be posted again. warmy-worker alone writes it.
type Listed struct {
	Count  int       `json:"count"`           // mailboxes, as a trusted listing said
	At     time.Time `json:"at"`              // when that was
	Shrunk time.Time `json:"shrunk,omitzero"` // since when listings show too few; zero: they do not
	Short  time.Time `json:"short,omitzero"`  // when the last one did
}

// Shrinkage is why a listing is too small to be believed.
type Shrinkage string

// The ways to be too small.
const (
	NotShrunk Shrinkage = ""
	Fell      Shrinkage = "fell"  // by more than a fifth
	Emptied   Shrinkage = "empty" // it was not
)

// Sighted returns what is remembered when a listing says count, and whether that is too few. A shrinkage that was seen
// again and again for a day is believed. The count itself is not remembered yet: it is a claim.
func (l Listed) Sighted(count int, now time.Time) (Listed, Shrinkage) {
	why := l.shrinkage(count)
	if why == NotShrunk {
		l.Shrunk, l.Short = time.Time{}, time.Time{}
		return l, NotShrunk
	}
	if l.Shrunk.IsZero() || now.Sub(l.Short) > shrinkGap {
		l.Shrunk = now.UTC()
	}
	l.Short = now.UTC()
	if now.Sub(l.Shrunk) >= shrinkFor {
		why = NotShrunk
	}
	return l, why
}

func (l Listed) shrinkage(count int) Shrinkage {
	switch {
	case count == 0 && l.Count > 0:
		return Emptied
	case l.Count >= leastShrink && count*5 < l.Count*4:
		return Fell
	}
	return NotShrunk
}

// Trusted returns what is remembered of a listing that is believed. What is remembered rises at once and falls once a day
// at most: otherwise an account could vanish in small steps, none of which is suspicious.
func (l Listed) Trusted(count int, now time.Time) Listed {
	if count < l.Count && now.Sub(l.At) < shrinkFor {
		return l
	}
	return Listed{Count: count, At: now.UTC()}
}
