package console

import (
	"context"
	"slices"
	"sync"
)

const (
	parallelJobs = 4  // that run at the same time, beside the reconnections
	maxWaiting   = 50 // of the reconnections, and of all the others
)

// runJobs does the jobs as their turns come until ctx ends.
func (c *Console) runJobs(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	for {
		for _, j := range c.jobs.begin() {
			group.Go(func() {
				c.run(ctx, j)
				c.jobs.leave(j)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.jobs.changed:
		}
	}
}

// inLine is what a job says that waits for its turn.
const inLine = "waits for others to end: four jobs run at the same time, and one reconnection for each account"

// begin takes those that may run out of the line.
func (s *jobs) begin() (begun []*Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var before []*Job
	s.waiting = slices.DeleteFunc(s.waiting, func(j *Job) bool {
		if !s.may(j, before) {
			before = append(before, j)
			j.Note = inLine
			return false
		}
		j.Note = ""
		s.running, begun = append(s.running, j), append(begun, j)
		return true
	})
	return begun
}

// may reports whether a job may run while those before it wait. A reconnection goes at the pace of its accounts, which is
// hours for thousands of mailboxes: it holds up none but those of the same accounts, and there it is alone, so that no more
// than one minute's worth stands before an owner who consents now. One that is cancelled only has to say so.
func (s *jobs) may(j *Job, before []*Job) bool {
	switch {
	case j.cancelled:
		return true
	case j.Kind == jobReconnect:
		return !slices.ContainsFunc(slices.Concat(s.running, before), j.shares)
	}
	return count(s.running, j.alike) < parallelJobs
}

// shares reports whether both reconnect mailboxes of one account.
func (j Job) shares(other *Job) bool {
	return slices.ContainsFunc(j.accounts, func(name string) bool { return slices.Contains(other.accounts, name) })
}

// alike reports whether both stand in one line: that of the reconnections, or that of all others.
func (j Job) alike(other *Job) bool { return (j.Kind == jobReconnect) == (other.Kind == jobReconnect) }

// full reports whether too many wait in the line that j would join.
func (s *jobs) full(j *Job) bool { return count(s.waiting, j.alike) >= maxWaiting }

// leave says that a job has ended.
func (s *jobs) leave(j *Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(other *Job) bool { return other == j })
	s.wake()
}

// wake has it looked at whether more may begin.
func (s *jobs) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func count(all []*Job, counts func(*Job) bool) (n int) {
	for _, j := range all {
		if counts(j) {
			n++
		}
	}
	return n
}

// accountsOf lists the accounts of a reconnection's mailboxes.
func (c *Console) accountsOf(j *Job) (names []string) {
	if j.Kind != jobReconnect {
		return nil
	}
	for _, id := range j.mailboxes {
		if item, ok := c.roster.Mailbox(id); ok && !slices.Contains(names, item.Account) {
			names = append(names, item.Account)
		}
	}
	return names
}
