package console

import (
	"context"

	"kindling/internal/mailbox"
)

// usualPace is a minute's worth of an account whose pace is not known.
const usualPace = 55

// makeRoom waits while a minute's worth of the account's calls is under way for the job. Reconnections stand in one line with
// the new registrations of their campaign: an owner who consents now must not wait behind thousands of them.
func (c *Console) makeRoom(ctx context.Context, j *Job, id mailbox.ID) error {
	item, ok := c.roster.Mailbox(id)
	if j.Kind != jobReconnect || !ok {
		return nil
	}
	if j.underWay[item.Account] >= j.window[item.Account] {
		err := c.await(ctx, j, func(int) (bool, error) {
			c.measure(ctx, j, item.Account)
			return j.underWay[item.Account] < j.window[item.Account], tooMany(j, judged(j))
		})
		if err != nil {
			return err
		}
	}
	j.underWay[item.Account]++
	return nil
}

// measure notes how many calls the account may make in a minute now. What is not known stays as it was: that must not stop
// the job.
func (c *Console) measure(ctx context.Context, j *Job, account string) {
	if j.window[account] == 0 {
		j.window[account] = usualPace
	}
	legs, err := c.legs(ctx)
	if err != nil {
		return
	}
	if pace := legOf(legs, "warmy", account).PerMinute; pace > 0 {
		j.window[account] = max(1, int(pace))
	}
}
