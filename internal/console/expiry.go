package console

import (
	"cmp"
	"slices"
	"time"

	"kindling/internal/secret"
)

// Expiry is the day on which a client secret of an app ends. The console knows the day from the configuration and never the
// secret.
type Expiry struct {
	App      string    // its name
	Position int       // of the secret in client_secret_file, from 1
	At       time.Time // 0:00 UTC of the day
}

// ExpiringSecret is a client secret that ends soon, or has ended.
type ExpiringSecret struct {
	App      string `json:"app"`
	Position int    `json:"position"` // in client_secret_file, from 1
	Expires  string `json:"expires"`  // a date
	DaysLeft int    `json:"days_left"`
}

// Ended reports whether the day is over.
func (e ExpiringSecret) Ended() bool { return e.DaysLeft < 0 }

// expiring lists what is to be spoken of now, the most urgent first.
func (c Config) expiring() []ExpiringSecret {
	var found []ExpiringSecret
	for _, e := range c.Expiries {
		if left := secret.DaysLeft(e.At, c.Now()); left <= secret.NoticeDays {
			found = append(found, ExpiringSecret{e.App, e.Position, e.At.UTC().Format(time.DateOnly), left})
		}
	}
	slices.SortStableFunc(found, func(a, b ExpiringSecret) int { return cmp.Compare(a.DaysLeft, b.DaysLeft) })
	return found
}
