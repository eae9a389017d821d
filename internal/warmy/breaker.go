package warmy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"kindling/internal/fault"
	"kindling/internal/handlers"
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
	// Ping makes the cheapest call that has no effect.
	Ping(ctx context.Context, account string) error
}

// BreakerConfig says when Warmy counts as down.
type BreakerConfig struct {
	Failures uint32        // least failures within Window before it may open; 0: 5
	Window   time.Duration // in which they count; 0: 1 min
	OpenFor  time.Duration // how long no call is made; 0: 30 s
}

// Breaker stops calls to an account of Warmy that answers with failures of its own: 5xx, time-outs, broken connections.
// Answers that prove Warmy to be up (400, 422, even 401) never open it. While it is open every call fails with a
// LegDown fault, which holds the account's leg for all workers. What closes it again is a GET, never a customer's POST.
type Breaker struct {
	upstream Upstream
	cfg      BreakerConfig

	mu       sync.Mutex
	accounts map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]
}

// NewBreaker guards upstream.
func NewBreaker(upstream Upstream, cfg BreakerConfig) *Breaker {
	if cfg.Failures == 0 {
		cfg.Failures = 5
	}
	if cfg.Window == 0 {
		cfg.Window = time.Minute
	}
	if cfg.OpenFor == 0 {
		cfg.OpenFor = 30 * time.Second
	}
	return &Breaker{upstream: upstream, cfg: cfg, accounts: make(map[string]*gobreaker.TwoStepCircuitBreaker[struct{}])}
}

// Create is Registrar's, guarded.
func (b *Breaker) Create(ctx context.Context, account string, m handlers.NewMailbox) (string, error) {
	var id string
	err := b.guard(ctx, account, func() (err error) {
		id, err = b.upstream.Create(ctx, account, m)
		return err
	})
	return id, err
}

// Find is Registrar's, guarded.
func (b *Breaker) Find(ctx context.Context, account, address string) (id string, found bool, err error) {
	err = b.guard(ctx, account, func() (err error) {
		id, found, err = b.upstream.Find(ctx, account, address)
		return err
	})
	return id, found, err
}

// Get is the Client's, guarded.
func (b *Breaker) Get(ctx context.Context, account, warmyID string) (Detail, error) {
	var d Detail
	err := b.guard(ctx, account, func() (err error) {
		d, err = b.upstream.Get(ctx, account, warmyID)
		return err
	})
	return d, err
}

// Plans is the Client's, guarded.
func (b *Breaker) Plans(ctx context.Context, account string) ([]Plan, error) {
	var plans []Plan
	err := b.guard(ctx, account, func() (err error) {
		plans, err = b.upstream.Plans(ctx, account)
		return err
	})
	return plans, err
}

// Activate is the Client's, guarded.
func (b *Breaker) Activate(ctx context.Context, account, warmyID string) error {
	return b.guard(ctx, account, func() error { return b.upstream.Activate(ctx, account, warmyID) })
}

func (b *Breaker) guard(ctx context.Context, account string, call func() error) error {
	breaker := b.of(account)
	if breaker.State() == gobreaker.StateHalfOpen {
		if err := b.probe(ctx, breaker, account); err != nil {
			return err
		}
	}
	done, err := breaker.Allow()
	if err != nil {
		return b.open(err)
	}
	err = call()
	done(err)
	return err
}

// probe decides with a call that has no effect whether Warmy is back.
func (b *Breaker) probe(ctx context.Context, breaker *gobreaker.TwoStepCircuitBreaker[struct{}], account string) error {
	done, err := breaker.Allow()
	if err != nil {
		return b.open(err)
	}
	err = b.upstream.Ping(ctx, account)
	done(err)
	if outage(err) {
		return b.open(err)
	}
	return nil
}

func (b *Breaker) open(cause error) error {
	return &fault.Fault{
		Class: fault.LegDown, Code: "breaker_open", Forecast: fault.ByTime, After: b.cfg.OpenFor, Err: cause,
		Cause:  "Warmy answers with failures of its own; no call is made for a while",
		Remedy: "none: Warmy is asked again by itself, and all that waits goes on when it answers",
	}
}

func (b *Breaker) of(account string) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	b.mu.Lock()
	defer b.mu.Unlock()
	breaker := b.accounts[account]
	if breaker == nil {
		breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name: account, MaxRequests: 1, Interval: b.cfg.Window, BucketPeriod: b.cfg.Window / 6, Timeout: b.cfg.OpenFor,
			ReadyToTrip: func(c gobreaker.Counts) bool {
				return c.TotalFailures >= b.cfg.Failures && c.TotalFailures >= c.TotalSuccesses
			},
			IsSuccessful: func(err error) bool { return !outage(err) },
			IsExcluded:   excluded,
		})
		b.accounts[account] = breaker
	}
	return breaker
}

// outage tells whether err says that Warmy itself failed.
func outage(err error) bool { return err != nil && fault.Of(err).Outage }

// excluded are outcomes that say nothing about Warmy: our own stop, and being told to slow down.
func excluded(err error) bool {
	return errors.Is(err, context.Canceled) || fault.Is(err, fault.RetryAfter)
}
