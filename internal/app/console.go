package app

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"kindling/internal/bus"
	"kindling/internal/campaign"
	"kindling/internal/config"
	"kindling/internal/console"
	"kindling/internal/events"
	"kindling/internal/seal"
)

// Console serves the operators' API and pages, until ctx ends.
func Console(ctx context.Context, h Host) error {
	people, err := seal.OpenPeople(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	ids, err := seal.OpenIDs(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	b, err := h.connect(ctx, "console")
	if err != nil {
		return err
	}
	defer b.Close()
	for _, a := range h.Config.Apps {
		h.expect(a, proof{})
	}
	c, err := console.New(consoleConfig(h, b, people, ids))
	if err != nil {
		return err
	}
	h.Health.Ready("console", c.Ready)
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Apps: appNames(h.Config), Accounts: accountNames(h.Config), Store: true}), true)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Run(ctx) })
	group.Go(func() error { return h.serve(ctx, "console", h.Config.Console.Listen, c.Handler()) })
	return group.Wait()
}

func consoleConfig(h Host, b *bus.Bus, people *seal.Box, ids *seal.IDs) console.Config {
	cfg := h.Config
	return console.Config{
		Invitations: b.InvitationStore(people), Campaigns: b.Campaigns(), Facts: facts{b.Facts(people)},
		DeadLetters: deadLetters{b.DeadLetters()}, Events: b, Legs: b.Legs(), Audit: b.Audit(), Links: ids, AdminLinks: seal.NewAdminLinks(people),
		Claims: b.Claims(), Grants: b.GrantsOf(nil, people), Registrations: b.Registrations(), Plans: b.TariffPlans(),
		Apps: appNames(cfg), AppTenants: appTenants(cfg), Accounts: accountNames(cfg), Budgets: consoleBudgets(cfg), Expiries: expiriesOf(cfg), Defaults: defaultsOf(cfg),
		PublicURL: cfg.Edge.PublicURL, LinkLife: cfg.Edge.LinkLife, ReconcileAfter: cfg.Policy.ReconcileAfter, OperatorsFile: cfg.Console.OperatorsFile, Log: h.Log,
	}
}

func consoleBudgets(cfg config.Config) map[string]console.Budget {
	budgets := make(map[string]console.Budget, len(cfg.Accounts))
	for _, a := range cfg.Accounts {
		budgets[a.Name] = console.Budget{PerMinute: a.CallsPerMinute, Activates: a.Activate}
	}
	return budgets
}

func expiriesOf(cfg config.Config) []console.Expiry {
	var all []console.Expiry
	for _, a := range cfg.Apps {
		for i, day := range a.ClientSecretExpires {
			all = append(all, console.Expiry{App: a.Name, Position: i + 1, At: day})
		}
	}
	return all
}

func defaultsOf(cfg config.Config) campaign.Defaults {
	d := cfg.Defaults
	return campaign.Defaults{App: d.App, Account: d.Account, TariffPlanTypeID: d.TariffPlanTypeID, SpeedMode: d.SpeedMode}
}

// facts and deadLetters speak the console's words to the bus.
type facts struct{ bus.Facts }

func (f facts) Follow(ctx context.Context, sink console.Sink) error { return f.Facts.Follow(ctx, sink) }

type deadLetters struct{ bus.DeadLetters }

func (d deadLetters) Get(ctx context.Context, seq uint64) (events.DeadLetter, error) {
	letter, err := d.DeadLetters.Get(ctx, seq)
	return letter, notFound(err)
}

func (d deadLetters) Replay(ctx context.Context, seq uint64) error {
	return notFound(d.DeadLetters.Replay(ctx, seq))
}

func notFound(err error) error {
	switch {
	case errors.Is(err, bus.ErrNoDeadLetter):
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	case errors.Is(err, bus.ErrNotReplayable):
		return fmt.Errorf("%w: %w", console.ErrNotReplayable, err)
	}
	return err
}
