package console

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errCancelled = errors.New("cancelled by an operator")
	errTooMany   = errors.New("too many mailboxes died again")
	errUndecided = errors.New("what became of the mailboxes is not known")
)

// run does a job's remaining items and writes down how it ended.
func (c *Console) run(ctx context.Context, j *Job) {
	err := c.work(ctx, j)
	c.dead.forget()
	stalled := ""
	if errors.Is(err, errUndecided) {
		stalled = c.undecided(j)
	}
	c.jobs.change(j, func(j *Job) {
		j.EndedAt = c.cfg.Now().UTC()
		switch {
		case err == nil:
			j.State = JobDone
		case errors.Is(err, errCancelled):
			j.State, j.Note = JobCancelled, "resume it to do the rest"
		case errors.Is(err, errTooMany):
			j.State, j.Note = JobStopped, tooManyNote(j)
		case stalled != "":
			j.State, j.Note = JobStopped, stalled
		case ctx.Err() != nil:
			j.State, j.Note = JobStopped, "the console was stopped; choose the same again"
		default:
			j.State, j.Note = JobStopped, "the store did not answer; resume it when it is back"
			c.cfg.Log.ErrorContext(ctx, "job_stopped", "job", j.ID, "error", err)
		}
	})
	c.concluded(ctx, j.actor, j.request, deedOf(j), err)
}

func tooManyNote(j *Job) string {
	note := fmt.Sprintf("more than %g %% of the mailboxes died again; look at their dead letters", j.MaxFailure)
	if j.left() > 0 {
		note += " before you resume it"
	}
	return note
}

// judgeEvery is how many replays pass between two looks at what became of them.
const judgeEvery = 50

func (c *Console) work(ctx context.Context, j *Job) error {
	c.jobs.change(j, func(j *Job) {
		j.State = JobRunning
		if j.replayed == nil {
			j.replayed = make([]replayed, j.Total)
			j.underWay = map[string]int{}
		}
	})
	if c.isCancelled(j) {
		return errCancelled
	}
	pace := time.NewTicker(time.Duration(float64(time.Second) / j.Rate))
	defer pace.Stop()
	for i := j.Done + j.Skipped; i < j.Total; i++ {
		if err := c.look(ctx, j, i); err != nil {
			return err
		}
		if err := c.turn(ctx, j, pace.C); err != nil {
			return err
		}
		if err := c.step(ctx, j, i); err != nil {
			return err
		}
	}
	return c.settle(ctx, j)
}

// turn waits until the pace allows the next step.
func (c *Console) turn(ctx context.Context, j *Job, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-tick:
	}
	if c.isCancelled(j) {
		return errCancelled
	}
	return nil
}

func (c *Console) isCancelled(j *Job) bool {
	c.jobs.mu.Lock()
	defer c.jobs.mu.Unlock()
	return j.cancelled
}

// step does item i. What is gone, or cannot be done any more, is skipped; only a store that fails stops the job.
func (c *Console) step(ctx context.Context, j *Job, i int) error {
	before := c.beforeReplay(j, i)
	var err error
	switch j.Kind {
	case jobReplay:
		err = c.cfg.DeadLetters.Replay(ctx, j.items[i])
	case jobDiscard:
		err = c.cfg.DeadLetters.Discard(ctx, j.items[i])
	case jobReinvite:
		_, err = c.reinvite(ctx, j.mailboxes[i], false)
	case jobReconnect:
		err = c.reconnect(ctx, j, j.mailboxes[i])
	}
	gone := false
	if err != nil {
		status := asProblem(err).Status
		gone = errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotReplayable) || status >= 400 && status < 500
		if !gone {
			return err
		}
	}
	c.jobs.change(j, func(j *Job) {
		if gone {
			j.Skipped++
			return
		}
		j.Done++
		j.replayed[i] = before
	})
	return nil
}

// look judges a job before its step i: behind its canary, from time to time, and where it would crowd an account.
func (c *Console) look(ctx context.Context, j *Job, i int) error {
	if !j.watches() {
		return nil
	}
	if j.Canary > 0 && !j.canaried && j.Done >= j.Canary {
		if err := c.waitForCanary(ctx, j); err != nil {
			return err
		}
	}
	if i%judgeEvery == 0 {
		c.judge(j)
		if err := tooMany(j, judged(j)); err != nil {
			return err
		}
	}
	return c.makeRoom(ctx, j, j.mailboxes[i])
}
