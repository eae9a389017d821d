package console

import (
	"context"

	"kindling/internal/leg"
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
	if j.underWay[item.Account] >= c.worth(ctx, item.Account) {
		err := c.await(ctx, j, c.stall(ctx, j), func(int) (bool, error) {
			return j.underWay[item.Account] < c.worth(ctx, item.Account), tooMany(j, judged(j))
		})
		if err != nil {
			return err
		}
	}
	j.underWay[item.Account]++
	return nil
}

// worth is how many calls the account may make in a minute now, as far as that is known.
func (c *Console) worth(ctx context.Context, account string) int {
	if pace := c.glance(ctx, leg.Name("warmy", account)).PerMinute; pace > 0 {
		return max(1, int(pace))
	}
	return usualPace
}
