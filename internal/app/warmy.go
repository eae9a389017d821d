package app

import (
	"context"
	"fmt"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/microsoft"
	"kindling/internal/warmy"
)

// WarmyWorker registers mailboxes and settles unclear registrations, until ctx ends.
func WarmyWorker(ctx context.Context, h Host) error {
	keys, err := openWorkerKeys(h.Config, config.WarmyWorker)
	if err != nil {
		return fmt.Errorf("warmy-worker: %w", err)
	}
	accounts, err := warmyAccounts(h.Config)
	if err != nil {
		return fmt.Errorf("warmy-worker: %w", err)
	}
	b, err := h.connect(ctx, "warmy-worker")
	if err != nil {
		return err
	}
	defer b.Close()
	now, err := b.Clock(ctx) // workers wait for one another's POSTs and listings: they must mean the same time
	if err != nil {
		return fmt.Errorf("warmy-worker: %w", err)
	}

	budgets := make(map[string]int, len(accounts))
	for _, a := range accounts {
		budgets[a.Name] = a.CallsPerMinute
	}
	policy := policyOf(h.Config)
	apps := microsoft.New(microsoft.Config{Apps: keys.apps})
	client := warmy.New(warmy.Config{Accounts: accounts, Pace: b.Pacer(budgets), Sessions: b.Sessions(keys.grants)})
	probeEvery := min(policy.HoldFor, warmy.ProbeEvery)
	registrar := warmy.NewBreaker(client, probeEvery)
	census := warmy.NewCensus(warmy.CensusConfig{Warmy: registrar, Listed: b.Listed(), Seen: h.listed})
	activate := activated(h.Config)
	register := handlers.RegisterMailbox{
		Invitations: b.Invitations(keys.people), Grants: b.Grants(keys.grants), Registrations: b.Registrations(), Identities: b.Identities(),
		Apps: apps, Warmy: census.Registrar(registrar), Margin: policy.RefreshMargin,
		ReconcileAfter: policy.ReconcileAfter, Activate: activate, Owner: owner(), Now: now,
	}
	reconcile := handlers.Lane{Usual: handlers.ReconcileMailbox{
		Invitations: b.Invitations(keys.people), Registrations: b.Registrations(), Listing: census, Activate: activate,
		Apart: policy.ReconcileAfter, Now: now,
	}, Kind: events.RegistrationDecided, Other: handlers.DecideMailbox{
		Invitations: b.Invitations(keys.people), Registrations: b.Registrations(), Warmy: census.Registrar(registrar), Listing: census,
		Activate: activate, Apart: policy.ReconcileAfter, Now: now,
	}}
	lane := handlers.Lane{Usual: register, Kind: events.ActivationRequested, Other: handlers.ActivateMailbox{
		Invitations: b.Invitations(keys.people), Registrations: b.Registrations(), Warmy: registrar, Now: now,
	}}
	var lanes []bus.Lane
	for _, a := range accounts {
		h.Metrics.listingsOf(a.Name)
		slotWindow, slotFleet := slotWindows(a.CallsPerMinute)
		lanes = append(lanes,
			bus.Lane{Lane: events.Register, Leg: a.Name, Window: slotWindow, Fleet: slotFleet, Policy: workPolicy(policy), Handler: lane, Outage: probeEvery},
			bus.Lane{
				Lane: events.Reconcile, Leg: a.Name, Window: settledAtOnce, Fleet: settledAtOnce, Single: true,
				Policy: workPolicy(policy), Handler: reconcile, Outage: probeEvery,
			},
		)
	}
	look, err := h.hinted(b, keys, registrar)
	if err != nil {
		return fmt.Errorf("warmy-worker: %w", err)
	}
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Accounts: accountNames(h.Config)}), false)
	legs := b.Legs()
	files := append(h.appRotations(apps, config.WarmyWorker, keys.proofs, nil), h.keyRotations(client, accounts, &legs)...)
	restore := handlers.RestoreRegistrations{
		Invitations: b.Invitations(keys.people), Grants: b.Grants(keys.grants), Registrations: b.Registrations(),
		Stored: b.Presence(), Still: factsStill, Now: now,
	}
	return together(ctx,
		func(ctx context.Context) error {
			return b.Serve(ctx, bus.ServeConfig{Observer: h.Metrics, Rescuer: h.Metrics, HoldFor: policy.HoldFor, Owner: owner()}, lanes...)
		},
		func(ctx context.Context) error {
			return b.RestoreRegistrations(ctx, bus.RestoreConfig{Half: restore, Owner: owner(), Rescuer: h.Metrics})
		},
		func(ctx context.Context) error { return h.lookUpPlans(ctx, b.Plans(), registrar) },
		func(ctx context.Context) error {
			if look == nil {
				return nil
			}
			return b.Heed(ctx, look)
		},
		func(ctx context.Context) error { return h.follow(ctx, "warmy-worker", files) })
}

// settledAtOnce is how many unclear mailboxes of an account wait for its listing at once. They cost no call each, and
// must be more than the pages of any account that is to be listed whole: 100,000 mailboxes are 1,000 pages.
const settledAtOnce = 1024

// listed tells of a listing of Warmy.
func (h Host) listed(account string, l warmy.ListingSeen) {
	h.Metrics.listings.WithLabelValues(account, string(l.Outcome)).Inc()
	told := []any{"account", account, "outcome", l.Outcome, "mailboxes", l.Mailboxes, "before", l.Before, "asks", l.Asks, "took", l.Took}
	switch {
	case l.Outcome.Suspicious():
		h.Log.Error("listing_suspicious", told...)
	case l.Outcome == warmy.Complete:
		h.Log.Info("warmy_listed", told...)
	}
}

// activated are the accounts whose new mailboxes are to be started.
func activated(cfg config.Config) []string {
	var names []string
	for _, a := range cfg.Accounts {
		if a.Activate {
			names = append(names, a.Name)
		}
	}
	return names
}

// slotWindows bounds the registrations under way of one slot of campaigns. One slot alone must be able to use the whole
// budget, and all together must not wait in the workers for minutes.
func slotWindows(callsPerMinute int) (window, fleet int) {
	if callsPerMinute <= 0 {
		return 128, 512
	}
	fleet = min(max(callsPerMinute/12, 8), 512)
	return min(fleet, 128), fleet
}
