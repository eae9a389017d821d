package config

import (
	"fmt"
	"time"

	"kindling/internal/secret"
)

// dates reads what the rule of its key has let pass.
func dates(texts []string) []time.Time {
	var days []time.Time
	for _, text := range texts {
		if day, err := time.Parse(time.DateOnly, text); err == nil {
			days = append(days, day)
		}
	}
	return days
}

func (a App) warnOfExpiry(key string, now time.Time, warn *problems) {
	for i, day := range a.ClientSecretExpires {
		if n := expiring(day, now, "make a new client secret; see docs/runbooks/client-secret-expires.md"); n != nil {
			warn.add(Problem{Key: fmt.Sprintf("%sclient_secret_expires[%d]", key, i), Reason: "the client secret " + n.reason, Remedy: n.remedy})
		}
	}
}

// expiring words what is to be said of a day on which something ends; nil while there is time.
func expiring(at, now time.Time, remedy string) *note {
	switch left := secret.DaysLeft(at, now); {
	case left > secret.NoticeDays:
		return nil
	case left < 0:
		return &note{"expired on " + at.UTC().Format(time.DateOnly), remedy}
	case left == 0:
		return &note{"expires today", remedy}
	case left == 1:
		return &note{"expires tomorrow", remedy}
	default:
		return &note{fmt.Sprintf("expires on %s, in %d days", at.UTC().Format(time.DateOnly), left), remedy}
	}
}
