package console

import (
	"context"
	"time"

	"kindling/internal/leg"
)

// impatience reports whether a job has waited for news of its mailboxes long enough. It is asked again and again; news says
// that there were some since it was asked last.
type impatience func(news bool) (over bool)

// silence ends after so long without news.
func silence(limit time.Duration) impatience {
	since := time.Now()
	return func(news bool) bool {
		if news {
			since = time.Now()
		}
		return time.Since(since) >= limit
	}
}

// stall ends StallLimit after the job's mailboxes should have had their turn. They stand in line behind others, whole
// campaigns among them: that is no silence, and neither is the time in which nobody may call. The line is measured when
// there are news: what joins it later comes behind.
func (c *Console) stall(ctx context.Context, j *Job) impatience {
	var line line  // when the time began to run
	var began bool // the time runs; until then the line is not known
	var left time.Duration
	looked := time.Now()
	return func(news bool) bool {
		current, now := c.lineOf(ctx, j), time.Now()
		passed := now.Sub(looked)
		looked, began = now, began && !news
		switch {
		case current.shut != "":
		case !began:
			began, line, left = true, current, c.cfg.StallLimit+current.ahead
		default:
			left -= time.Duration(float64(passed) * current.speed(line))
		}
		c.waitsFor(j, current.shut)
		return began && left <= 0
	}
}

// line is what stands before the undecided mailboxes of a job.
type line struct {
	ahead time.Duration // that it takes at this pace; 0: not known, or nothing
	pace  float64       // calls a minute of the slowest account; 0: not paced, or not known
	shut  string        // the leg on which nobody calls now, and why; "": none
}

// speed is how fast the line moves in comparison with an earlier one, at most 1.
func (l line) speed(before line) float64 {
	if l.pace == 0 || before.pace == 0 {
		return 1
	}
	return min(1, l.pace/before.pace)
}

// lineOf measures the line on the ways of the job's undecided mailboxes.
func (c *Console) lineOf(ctx context.Context, j *Job) (all line) {
	for way := range j.undecided {
		for _, name := range []string{leg.Name("microsoft", way.App), leg.Name("refresh", way.App), leg.Name("warmy", way.Account)} {
			current := c.glance(ctx, name)
			all.shut = max(all.shut, shut(current))
			all.ahead = max(all.ahead, current.DoneAt.Sub(current.Seen))
			if pace := current.PerMinute; pace > 0 && (all.pace == 0 || pace < all.pace) {
				all.pace = pace
			}
		}
	}
	return all
}

// shut names a leg on which nobody calls now, and says why; "" when work flows.
func shut(l leg.Leg) string {
	switch {
	case l.State != leg.Open && l.State != "":
		return l.Name + ", which is " + string(l.State)
	case l.NotBefore.After(l.Seen):
		return l.Name + ": no call before " + leg.Clock(l.NotBefore, l.Seen)
	}
	return ""
}

// waitsFor notes the leg that a job waits for; "": none.
func (c *Console) waitsFor(j *Job, leg string) {
	note := ""
	if leg != "" {
		note = "waits for the leg " + leg
	}
	if j.Note != note { // only the goroutine that runs the job changes it
		c.jobs.change(j, func(j *Job) { j.Note = note })
	}
}
