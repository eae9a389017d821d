package app

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/secret"
)

// certificatePosition stands for the certificate of an app where its secrets have a number.
const certificatePosition = "certificate"

// remindEvery is how often the log tells what ends soon; the first time is at the start, as a warning of the configuration.
const remindEvery = 24 * time.Hour

// expiries are the days on which credentials of apps end, as far as this process knows them.
type expiries struct {
	desc *prometheus.Desc
	now  func() time.Time

	mu   sync.Mutex
	days map[expiring]time.Time
}

// expiring is one credential: an app, and the number of a secret or certificatePosition.
type expiring struct{ app, position string }

func newExpiries() *expiries {
	return &expiries{
		desc: prometheus.NewDesc("kindling_client_secret_days_left",
			"Days until a client secret or a certificate of an app expires, by the configured dates; below 0: since.", []string{"app", "position"}, nil),
		now: time.Now, days: map[expiring]time.Time{},
	}
}

func (e *expiries) expect(app, position string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.days[expiring{app, position}] = at
}

func (e *expiries) known() map[expiring]time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.days)
}

// Describe implements prometheus.Collector.
func (e *expiries) Describe(to chan<- *prometheus.Desc) { to <- e.desc }

// Collect implements prometheus.Collector.
func (e *expiries) Collect(to chan<- prometheus.Metric) {
	for which, at := range e.known() {
		to <- value(e.desc, float64(secret.DaysLeft(at, e.now())), which.app, which.position)
	}
}

// remind tells every day what ends soon or has ended, until ctx ends.
func (e *expiries) remind(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.tell(ctx, log)
		}
	}
}

func (e *expiries) tell(ctx context.Context, log *slog.Logger) {
	for which, at := range e.known() {
		if left := secret.DaysLeft(at, e.now()); left <= secret.NoticeDays {
			log.WarnContext(ctx, "client_secret_expires", "app", which.app, "position", which.position,
				"expires", at.UTC().Format(time.DateOnly), "days_left", left, "remedy", "see docs/runbooks/client-secret-expires.md")
		}
	}
}
