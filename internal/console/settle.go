package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// replayed remembers a replayed mailbox as it was before, which tells an old death from a new one whatever the clocks say.
type replayed struct {
	done bool
	died time.Time // since when it was dead; zero: it was not
	told time.Time // of a reconnection: the last step of the one before
}

func (c *Console) beforeReplay(j *Job, i int) replayed {
	r := replayed{done: true}
	if !j.watches() {
		return r
	}
	item, _ := c.roster.Mailbox(j.mailboxes[i])
	r.told = item.Status.Told
	if item.Status.State == mailbox.StateDead {
		r.died = item.Status.Since
	}
	return r
}

// waitForCanary waits until it is known what became of every mailbox so far. What is not known never means "go on": a held
// leg, a 429 or a second id that only the listing shows would let all the others follow.
func (c *Console) waitForCanary(ctx context.Context, j *Job) error {
	c.jobs.change(j, func(j *Job) { j.State = JobCanary })
	err := c.await(ctx, j, c.stall(ctx, j), allDecided)
	c.jobs.change(j, func(j *Job) { j.State, j.canaried = JobRunning, err == nil })
	if err == nil || errors.Is(err, errUndecided) {
		err = cmp.Or(tooMany(j, j.watched), err)
	}
	return err
}

// await looks at what became of the job's mailboxes until that is enough. It gives up with errUndecided when it has waited
// long enough for news.
func (c *Console) await(ctx context.Context, j *Job, over impatience, enough func(pending int) (bool, error)) error {
	defer c.waitsFor(j, "")
	tick := time.NewTicker(c.settleTick())
	defer tick.Stop()
	for least := j.Total + 1; ; {
		pending := c.judge(j)
		if ok, err := enough(pending); ok || err != nil {
			return err
		}
		if over(pending < least) {
			return errUndecided
		}
		least = min(least, pending)
		if err := c.turn(ctx, j, tick.C); err != nil {
			return err
		}
	}
}

func allDecided(pending int) (bool, error) { return pending == 0, nil }

func (c *Console) settleTick() time.Duration {
	return min(time.Second, c.cfg.SettleWait/20+time.Millisecond)
}

// settleWaits is how many times SettleWait a job waits at its end, at most: others may wait for its place.
const settleWaits = 10

// settle waits until what became of every replayed mailbox is known: while mailboxes settle, and SettleWait longer.
// A job that is cancelled or stopped meanwhile has done its work: it says how many are undecided, and ends.
func (c *Console) settle(ctx context.Context, j *Job) error {
	if !j.watches() {
		return nil
	}
	c.jobs.change(j, func(j *Job) { j.State = JobSettling })
	limited, cancel := context.WithTimeout(ctx, settleWaits*c.cfg.SettleWait)
	defer cancel()
	_ = c.await(limited, j, silence(c.cfg.SettleWait), allDecided) // however it ends, the work is done
	if pending := c.judge(j); pending > 0 {
		c.jobs.change(j, func(j *Job) {
			j.Note = fmt.Sprintf("what becomes of %d mailboxes is not known yet; they go on by themselves", pending)
		})
	}
	return tooMany(j, judged(j))
}

// judge counts what became of the replayed mailboxes and returns of how many that is not known yet.
func (c *Console) judge(j *Job) (pending int) {
	if !j.watches() {
		return 0
	}
	recovered, died := 0, 0
	underWay, undecided := map[string]int{}, map[roster.Way]bool{}
	for i, before := range j.replayed {
		item, ok := c.roster.Mailbox(j.mailboxes[i])
		if !before.done || !ok {
			continue
		}
		switch fateOf(j, before, item.Status) {
		case fateDied:
			died++
		case fateOpen:
			pending++
			underWay[item.Account]++
			undecided[roster.Way{App: item.App, Account: item.Account}] = true
		case fateGood:
			recovered++
		}
	}
	c.jobs.change(j, func(j *Job) {
		j.Recovered, j.DiedAgain, j.watched = recovered, died, recovered+died+pending
		j.underWay, j.undecided = underWay, undecided
	})
	return pending
}

// keepUndecided forgets the mailboxes of which it is known what became of them: an operator who resumes the job has seen that,
// and it must not stop the job a second time. The others are still waited for.
func (c *Console) keepUndecided(j *Job) {
	for i, before := range j.replayed {
		item, ok := c.roster.Mailbox(j.mailboxes[i])
		if ok && before.done && j.watches() && fateOf(j, before, item.Status) != fateOpen {
			j.replayed[i] = replayed{}
		}
	}
}

// undecided words what a job waits for in vain, and what to do. It names ids and no addresses.
func (c *Console) undecided(j *Job) string {
	const named = 5
	var some []string
	pending := 0
	for i, before := range j.replayed {
		item, ok := c.roster.Mailbox(j.mailboxes[i])
		if !ok || !before.done || fateOf(j, before, item.Status) != fateOpen {
			continue
		}
		if pending++; pending <= named {
			some = append(some, item.ID+" ("+cmp.Or(item.Status.Reason, string(item.Status.State))+")")
		}
	}
	if pending > named {
		some = append(some, "...")
	}
	return fmt.Sprintf("no news for %s of %d mailboxes, after the time that the line before them takes: %s. Look at the legs, and at one of them (kindling mailbox explain); "+
		"kindling replay resume %s waits for them first, then does the rest", c.cfg.StallLimit, pending, strings.Join(some, ", "), j.ID)
}

// fate is what became of a mailbox.
type fate int

const (
	fateOpen fate = iota // not known yet
	fateGood
	fateDied
)

// fateOf is what became of one of the job's mailboxes.
func fateOf(j *Job, before replayed, now mailbox.Status) fate {
	if j.Kind == jobReconnect {
		return before.fateAgain(now)
	}
	return before.fate(now)
}

func (before replayed) fate(now mailbox.Status) fate {
	dead := now.State == mailbox.StateDead
	switch {
	case dead && !now.Since.Equal(before.died):
		return fateDied
	case dead || underWay(now.State):
		return fateOpen
	}
	return fateGood
}

// fateAgain is that of a mailbox that was to be reconnected. One whose tokens turned out to be gone died, too: only its
// owner can help. So did one of which Warmy has told a second id, before the listing has settled that: what makes mailboxes
// again must not go on until it is known.
func (before replayed) fateAgain(now mailbox.Status) fate {
	switch {
	case now.State != mailbox.StateRegistered:
		return fateDied
	case now.Told.Equal(before.told):
		return fateOpen
	case now.Two, now.Reason == mailbox.ReconnectFailed:
		return fateDied
	case now.Reason == mailbox.Reconnecting:
		return fateOpen
	}
	return fateGood
}

// fewest is how many mailboxes a share is counted of at least: the very first news say little.
const fewest = 20

// judged is the number that failures are compared with while others are undecided. Those are not taken for good ones:
// whatever holds them up would let the job go on.
func judged(j *Job) int { return max(j.Recovered+j.DiedAgain, min(j.watched, fewest)) }

// tooMany compares the failures with so many mailboxes.
func tooMany(j *Job, of int) error {
	if float64(j.DiedAgain)*100 > j.MaxFailure*float64(of) {
		return errTooMany
	}
	return nil
}
