package secret_test

import (
	"testing"
	"time"

	"kindling/internal/secret"
)

func TestDaysLeftAreCountedByTheCalendarOfUTC(t *testing.T) {
	t.Parallel()
	expires := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	east := time.FixedZone("east", 12*3600)
	for name, c := range map[string]struct {
		expires, now time.Time
		want         int
	}{
		"a minute before midnight":   {expires, time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC), 1},
		"the first second of it":     {expires, expires, 0},
		"its last second":            {expires, time.Date(2026, 12, 1, 23, 59, 59, 0, time.UTC), 0},
		"the day after":              {expires, time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC), -1},
		"a month before":             {expires, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), 30},
		"another zone's morning":     {expires, time.Date(2026, 12, 1, 6, 0, 0, 0, east), 1},
		"a certificate with an hour": {expires.Add(13 * time.Hour), time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC), 1},
	} {
		if got := secret.DaysLeft(c.expires, c.now); got != c.want {
			t.Errorf("%s: %d days, want %d", name, got, c.want)
		}
	}
}
