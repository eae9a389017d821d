package secret

import "time"

// NoticeDays is how many days before its end a secret is spoken of: time enough to make a new one and to post mailboxes again.
const NoticeDays = 30

// DaysLeft counts the days from today to the day on which something expires, by the calendar of UTC. On that day it is 0,
// after it less than 0.
func DaysLeft(expires, now time.Time) int {
	const day = 24 * time.Hour
	return int(expires.UTC().Truncate(day).Sub(now.UTC().Truncate(day)) / day)
}
