package console

import (
	"context"
	"net/http"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// Status is everything at a glance.
type Status struct {
	At         time.Time     `json:"at"`
	Funnel     roster.Counts `json:"funnel"`
	Dead       DeadTotals    `json:"dead"`
	Legs       []leg.Leg     `json:"legs"`
	Rate       float64       `json:"registered_per_minute"` // as measured: mean of the last five minutes
	LastHour   int           `json:"registered_last_hour"`
	InPipeline int           `json:"in_pipeline"`           // consented and not yet registered
	DoneAt     time.Time     `json:"done_at,omitzero"`      // when the pipeline will be empty: the latest of the legs' estimates
	ETASeconds float64       `json:"eta_seconds,omitempty"` // until then; both are absent when nobody can tell

	ExpiringSecrets []ExpiringSecret `json:"expiring_secrets,omitempty"` // within 30 days, or already expired
}

// paceMinutes is how far back the rate looks.
const paceMinutes = 5

func (c *Console) getStatus(r *request) error {
	s, err := c.status(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, s)
}

// seen is when the legs were read, by the clock that their estimates go by.
func (c *Console) seen(legs []leg.Leg) (at time.Time) {
	for _, l := range legs {
		if l.Seen.After(at) {
			at = l.Seen
		}
	}
	if at.IsZero() {
		return c.cfg.Now().UTC()
	}
	return at
}

func (c *Console) status(ctx context.Context) (Status, error) {
	s := Status{At: c.cfg.Now().UTC(), Funnel: c.roster.Counts(""), LastHour: c.roster.Pace(60), ExpiringSecrets: c.cfg.expiring()}
	s.Rate = float64(c.roster.Pace(paceMinutes)) / paceMinutes
	for _, state := range mailbox.States() {
		if underWay(state) {
			s.InPipeline += s.Funnel.ByState[state]
		}
	}
	var err error
	if s.Legs, err = c.legs(ctx); err != nil {
		return s, err
	}
	s.At = c.seen(s.Legs) // by the clock that the legs' times go by
	if s.DoneAt = outlook(s.Legs, c.roster.Ways("")); !s.DoneAt.IsZero() {
		s.ETASeconds = s.DoneAt.Sub(s.At).Seconds()
	}
	s.Dead, err = c.dead.read(ctx)
	return s, err
}
