package bus

import (
	"time"

	"kindling/internal/events"
)

// timeline is what all processes know of one budget. Its times are the server's. Older versions know Next alone, and
// drop the rest when they write: then the next 429 tells again.
type timeline struct {
	Next   time.Time `json:"next"`            // the end of what is reserved
	Until  time.Time `json:"until,omitzero"`  // nobody calls before: a 429 said so
	Part   float64   `json:"part,omitempty"`  // of the budget that is used, 0 to 1; 0: all of it
	Rate   float64   `json:"rate,omitempty"`  // calls per minute that this makes, for whoever looks on
	Raised time.Time `json:"raised,omitzero"` // when Part was changed last

	Written time.Time `json:"written,omitzero"` // when all this was; zero: an older version wrote it
}

const (
	// longestTold is the longest that a 429 may make everybody wait.
	longestTold = 10 * time.Minute
	// calm is how long no 429 must come before the pace is raised a step, and within what time after the wait a second
	// one means that the pace itself is too fast.
	calm = time.Minute
	// leastPart is the slowest pace, raiseBy one step up.
	leastPart = 1.0 / 16
	raiseBy   = 1.0 / 8
	// readAhead is how far the server's clock may seem to go back.
	readAhead = 5 * time.Second
)

// decodeTimeline reads the time line of a budget as it is meant now; what cannot be meant is as if it were not there. longest
// is how far ahead its end can be. moved tells that the clock was set since it was written: then it is to be written again, for
// who starts now cannot know.
func decodeTimeline(data []byte, clock *serverClock, now time.Time, longest time.Duration) (line timeline, moved bool) {
	if events.DecodeStrict(data, &line) != nil {
		return timeline{Part: 1}, false
	}
	by := clock.moved(line.Written, now)
	return line.shifted(by).bounded(now, longest), by != 0
}

// shifted is the time line by a clock that was set.
func (l timeline) shifted(by time.Duration) timeline {
	for _, t := range []*time.Time{&l.Next, &l.Until, &l.Raised, &l.Written} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	return l
}

// bounded is the time line without what cannot be meant.
func (l timeline) bounded(now time.Time, longest time.Duration) timeline {
	if l.Next.After(now.Add(longest + readAhead)) {
		l.Next = time.Time{}
	}
	if l.Until.After(now.Add(longestTold + readAhead)) {
		l.Until = time.Time{}
	}
	if l.Raised.After(now.Add(readAhead)) {
		l.Raised = time.Time{}
	}
	if !(l.Part > 0 && l.Part <= 1) {
		l.Part = 1
	}
	l.Part = max(l.Part, leastPart)
	if !(l.Rate > 0) {
		l.Rate = 0
	}
	return l
}

// told is the time line after a 429 that asks for a wait, in answer to a call that was sent at sent. One sent soon after a
// wait tells that the pace is too fast: it is halved. One that was under way when the wait began says nothing about the
// pace after it, however late its answer comes.
func (l timeline) told(sent, now time.Time, wait time.Duration) timeline {
	if !l.Until.IsZero() && !sent.Before(l.Until) && sent.Sub(l.Until) < calm {
		l.Part, l.Raised = max(l.Part/2, leastPart), now
	}
	if until := now.Add(min(wait, longestTold)); until.After(l.Until) {
		l.Until = until
	}
	return l
}

// recovered is the time line after a time without a 429: a step faster.
func (l timeline) recovered(now time.Time) timeline {
	since := l.Raised
	if l.Until.After(since) {
		since = l.Until
	}
	if l.Part < 1 && now.Sub(since) >= calm {
		l.Part, l.Raised = min(1, l.Part+raiseBy), now
	}
	return l
}

// free is when the next call may be reserved.
func (l timeline) free(now time.Time) time.Time {
	free := now
	for _, t := range []time.Time{l.Next, l.Until} {
		if t.After(free) {
			free = t
		}
	}
	return free
}
