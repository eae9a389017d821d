package warmy

import (
	"cmp"
	"context"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// ProbeEvery is how long an account is left alone after Warmy was found to be down, and how long a probe may take once its
// turn to call has come: so the end of an outage is seen within twice that, and one turn.
const ProbeEvery = 4 * time.Second

// Prober finds out with a GET whether Warmy is back, never with a customer's POST. It keeps no state: whether an account
// is left alone is the leg's to know, for all workers (docs/adr/0011). What a worker lets through to probe a held leg
// pings first; what else it lets through is called at once.
type Prober struct {
	client *Client
	every  time.Duration
}

// NewProber puts a probe before client's calls. After one that failed the next one comes after every; 0: ProbeEvery.
func NewProber(client *Client, every time.Duration) *Prober {
	return &Prober{client, cmp.Or(every, ProbeEvery)}
}

// Create is the Client's, behind a probe.
func (p *Prober) Create(ctx context.Context, account string, m handlers.NewMailbox) (string, error) {
	if err := p.probe(ctx, account); err != nil {
		return "", err
	}
	return p.client.Create(ctx, account, m)
}

// Find is the Client's, behind a probe.
func (p *Prober) Find(ctx context.Context, account, address string) (id string, found bool, err error) {
	if err := p.probe(ctx, account); err != nil {
		return "", false, err
	}
	return p.client.Find(ctx, account, address)
}

// List is the Client's, behind a probe: a page may take longer than a probe may, and is asked for again when it fails.
func (p *Prober) List(ctx context.Context, account, filter string, page int) (Page, error) {
	if err := p.probe(ctx, account); err != nil {
		return Page{}, err
	}
	return p.client.List(ctx, account, filter, page)
}

// Activate is the Client's, behind a probe.
func (p *Prober) Activate(ctx context.Context, account, warmyID string) error {
	if err := p.probe(ctx, account); err != nil {
		return err
	}
	return p.client.Activate(ctx, account, warmyID)
}

// probe decides with a call that has no effect whether Warmy is back. Only an answer of Warmy's own says more than that
// it is not: a refused key holds the leg under its own name.
func (p *Prober) probe(ctx context.Context, account string) error {
	if !leg.IsProbe(ctx) {
		return nil
	}
	err := p.client.Ping(ctx, account)
	if outage(err) && ctx.Err() == nil {
		return p.down(err)
	}
	return err
}

func (p *Prober) down(cause error) error {
	return &fault.Fault{
		Class: fault.LegDown, Code: "breaker_open", Forecast: fault.ByTime, After: p.every, Err: cause,
		Cause:  "Warmy answers with failures of its own; no call is made for a while",
		Remedy: "none: Warmy is asked again by itself, and all that waits goes on when it answers",
	}
}

// outage reports whether err says that Warmy itself failed.
func outage(err error) bool { return err != nil && fault.Of(err).Outage }
