package warmy

import (
	"cmp"
	"context"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// Upstream is Warmy's API as the breaker guards it.
type Upstream interface {
	handlers.Registrar
	// Get reads one mailbox by Warmy's id.
	Get(ctx context.Context, account, warmyID string) (Detail, error)
	// Activate starts the warm-up of a mailbox.
	Activate(ctx context.Context, account, warmyID string) error
	// Plans lists the tariff plans of an account.
	Plans(ctx context.Context, account string) ([]Plan, error)
	Lists
	// Ping makes the cheapest call that has no effect, which takes ProbeEvery at most.
	Ping(ctx context.Context, account string) error
}

// ProbeEvery is how long an account is left alone after Warmy was found to be down, and how long a probe may take once its
// turn to call has come: so the end of an outage is seen within twice that, and one turn.
const ProbeEvery = 4 * time.Second

// Breaker finds out with a GET whether Warmy is back, never with a customer's POST. It keeps no state: whether an account
// is left alone is the leg's to know, for all workers (docs/adr/0011). What a worker lets through to probe a held leg
// pings first; what else it lets through is called at once.
type Breaker struct {
	upstream Upstream
	every    time.Duration
}

// NewBreaker guards upstream. After a probe that failed the next one comes after every; 0: ProbeEvery.
func NewBreaker(upstream Upstream, every time.Duration) *Breaker {
	return &Breaker{upstream, cmp.Or(every, ProbeEvery)}
}

// Create is Registrar's, guarded.
func (b *Breaker) Create(ctx context.Context, account string, m handlers.NewMailbox) (string, error) {
	if err := b.probe(ctx, account); err != nil {
		return "", err
	}
	return b.upstream.Create(ctx, account, m)
}

// Find is Registrar's, guarded.
func (b *Breaker) Find(ctx context.Context, account, address string) (id string, found bool, err error) {
	if err := b.probe(ctx, account); err != nil {
		return "", false, err
	}
	return b.upstream.Find(ctx, account, address)
}

// Get is the Client's. A GET is a probe by itself.
func (b *Breaker) Get(ctx context.Context, account, warmyID string) (Detail, error) {
	return b.upstream.Get(ctx, account, warmyID)
}

// Plans is the Client's, as Get.
func (b *Breaker) Plans(ctx context.Context, account string) ([]Plan, error) {
	return b.upstream.Plans(ctx, account)
}

// List is Lists', guarded: a page may take longer than a probe may, and is asked for again when it fails.
func (b *Breaker) List(ctx context.Context, account, filter string, page int) (Page, error) {
	if err := b.probe(ctx, account); err != nil {
		return Page{}, err
	}
	return b.upstream.List(ctx, account, filter, page)
}

// Activate is the Client's, guarded.
func (b *Breaker) Activate(ctx context.Context, account, warmyID string) error {
	if err := b.probe(ctx, account); err != nil {
		return err
	}
	return b.upstream.Activate(ctx, account, warmyID)
}

// probe decides with a call that has no effect whether Warmy is back. Only an answer of Warmy's own says more than that
// it is not: a refused key holds the leg under its own name.
func (b *Breaker) probe(ctx context.Context, account string) error {
	if !leg.IsProbe(ctx) {
		return nil
	}
	err := b.upstream.Ping(ctx, account)
	if outage(err) && ctx.Err() == nil {
		return b.open(err)
	}
	return err
}

func (b *Breaker) open(cause error) error {
	return &fault.Fault{
		Class: fault.LegDown, Code: "breaker_open", Forecast: fault.ByTime, After: b.every, Err: cause,
		Cause:  "Warmy answers with failures of its own; no call is made for a while",
		Remedy: "none: Warmy is asked again by itself, and all that waits goes on when it answers",
	}
}

// outage tells whether err says that Warmy itself failed.
func outage(err error) bool { return err != nil && fault.Of(err).Outage }

// Throttler is a Pacer that obeys a 429 for every worker of the account.
type Throttler interface {
	// Throttled says that Warmy answered 429 to a call that left at sent, and for how long it wants no call.
	Throttled(ctx context.Context, account string, sent time.Time, wait time.Duration) error
}

// throttled tells the Pacer of a 429. That it cannot be told is no failure of the call: its own event waits in any case.
func (c *Client) throttled(ctx context.Context, account string, sent time.Time, wait time.Duration) {
	if pace, ok := c.pace.(Throttler); ok {
		_ = pace.Throttled(ctx, account, sent, wait)
	}
}
