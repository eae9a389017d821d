package console

import (
	"context"
	"fmt"
	"time"

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

// waitForCanary waits until what became of every mailbox replayed so far is known, at most CanaryWait.
func (c *Console) waitForCanary(ctx context.Context, j *Job) error {
	c.jobs.change(j, func(j *Job) { j.State = JobCanary })
	timeout := time.NewTimer(c.cfg.CanaryWait)
	defer timeout.Stop()
	tick := time.NewTicker(c.settleTick())
	defer tick.Stop()
	for waiting := true; waiting && c.judge(j) > 0; {
		select {
		case <-timeout.C:
			waiting = false
		default:
			if err := c.turn(ctx, j, tick.C); err != nil {
				return err
			}
		}
	}
	c.jobs.change(j, func(j *Job) { j.State = JobRunning })
	return tooMany(j)
}

func (c *Console) settleTick() time.Duration {
	return min(time.Second, c.cfg.CanaryWait/20+time.Millisecond)
}

// patience is how many times CanaryWait a job waits at its end, at most: others may wait for its place.
const patience = 10

// settle waits until what became of every replayed mailbox is known: while mailboxes settle, and CanaryWait longer.
// A job that is cancelled or stopped meanwhile has done its work: it says how many are undecided, and ends.
func (c *Console) settle(ctx context.Context, j *Job) error {
	if !j.watches() {
		return nil
	}
	c.jobs.change(j, func(j *Job) { j.State = JobSettling })
	limit, quiet := time.NewTimer(patience*c.cfg.CanaryWait), time.NewTimer(c.cfg.CanaryWait)
	defer limit.Stop()
	defer quiet.Stop()
	tick := time.NewTicker(c.settleTick())
	defer tick.Stop()
	pending := c.judge(j)
	for waiting := true; waiting && pending > 0 && !c.isCancelled(j); {
		select {
		case <-ctx.Done():
			waiting = false
		case <-limit.C:
			waiting = false
		case <-quiet.C:
			waiting = false
		case <-tick.C:
		}
		now := c.judge(j)
		if now < pending {
			quiet.Reset(c.cfg.CanaryWait)
		}
		pending = now
	}
	if pending > 0 {
		c.jobs.change(j, func(j *Job) {
			j.Note = fmt.Sprintf("what becomes of %d mailboxes is not known yet; they go on by themselves", pending)
		})
	}
	return tooMany(j)
}

// judge counts what became of the replayed mailboxes and returns of how many that is not known yet.
func (c *Console) judge(j *Job) (pending int) {
	if !j.watches() {
		return 0
	}
	fate := replayed.fate
	if j.Kind == jobReconnect {
		fate = replayed.fateAgain
	}
	recovered, died := 0, 0
	for i, before := range j.replayed {
		item, ok := c.roster.Mailbox(j.mailboxes[i])
		if !before.done || !ok {
			continue
		}
		switch fate(before, item.Status) {
		case fateDied:
			died++
		case fateOpen:
			pending++
		case fateGood:
			recovered++
		}
	}
	c.jobs.change(j, func(j *Job) { j.Recovered, j.DiedAgain, j.watched = recovered, died, recovered+died+pending })
	return pending
}

// fate is what became of a mailbox.
type fate int

const (
	fateOpen fate = iota // not known yet
	fateGood
	fateDied
)

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
// owner can help.
func (before replayed) fateAgain(now mailbox.Status) fate {
	switch {
	case now.State != mailbox.StateRegistered:
		return fateDied
	case now.Reason == mailbox.Reconnecting || now.Told.Equal(before.told):
		return fateOpen
	case now.Reason == mailbox.ReconnectFailed:
		return fateDied
	}
	return fateGood
}

// tooMany compares with all that were replayed: those that are undecided may still recover, and dying is often quicker.
func tooMany(j *Job) error {
	if float64(j.DiedAgain)*100 > j.MaxFailure*float64(j.watched) {
		return errTooMany
	}
	return nil
}
