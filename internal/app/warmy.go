package app

import (
	"context"
	"fmt"
	"time"

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

	policy := h.Config.Policy
	apps := microsoft.New(microsoft.Config{Apps: keys.apps})
	client := warmy.New(warmy.Config{Accounts: accounts, Pace: b.Pacer(budgetsOf(accounts)), Sessions: b.Sessions(keys.grants)})
	probeEvery := min(policy.HoldFor, warmy.ProbeEvery)
	prober := warmy.NewProber(client, probeEvery)
	census := warmy.NewCensus(warmy.CensusConfig{Warmy: prober, Listed: b.Listed(), Seen: h.listed, Now: now})
	parts := warmyParts{
		host: h, bus: b, keys: keys, apps: apps, warmy: prober, census: census, activate: activated(h.Config), owner: owner(), now: now,
	}
	lanes := parts.lanes(accounts, probeEvery)
	look, err := h.hinted(b, keys, client)
	if err != nil {
		return fmt.Errorf("warmy-worker: %w", err)
	}
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Accounts: accountNames(h.Config)}), false)
	legs := b.Legs()
	files := append(h.appRotations(apps, config.WarmyWorker, keys.proofs, nil), h.keyRotations(client, accounts, &legs)...)
	return together(ctx,
		func(ctx context.Context) error {
			return b.Serve(ctx, bus.ServeConfig{Observer: h.Metrics, Rescuer: h.Metrics, HoldFor: policy.HoldFor, Owner: parts.owner}, lanes...)
		},
		func(ctx context.Context) error {
			return b.RestoreRegistrations(ctx, bus.RestoreConfig{Half: parts.restore(), Owner: parts.owner, Rescuer: h.Metrics})
		},
		func(ctx context.Context) error { return h.lookUpPlans(ctx, b.TariffPlans(), client) },
		func(ctx context.Context) error {
			if look == nil {
				return nil
			}
			return b.Heed(ctx, look)
		},
		func(ctx context.Context) error { return h.follow(ctx, "warmy-worker", files) })
}

// warmyParts are what warmy-worker's handlers are made of.
type warmyParts struct {
	host  Host
	bus   *bus.Bus
	keys  workerKeys
	apps  handlers.Credentials
	warmy interface {
		handlers.Registrar
		handlers.Starter
	}
	census   *warmy.Census
	activate []string         // the accounts whose new mailboxes are to be started
	owner    string           // this process
	now      func() time.Time // by the server's clock
}

// lanes are all lanes of all accounts.
func (p warmyParts) lanes(accounts []warmy.Account, outage time.Duration) (lanes []bus.Lane) {
	register, reconcile, policy := p.registerLane(), p.reconcileLane(), workPolicy(p.host.Config.Policy)
	for _, a := range accounts {
		p.host.Metrics.listingsOf(a.Name)
		slotWindow, slotFleet := slotWindows(a.CallsPerMinute)
		lanes = append(lanes,
			bus.Lane{Lane: events.Register, Leg: a.Name, Window: slotWindow, Fleet: slotFleet, Policy: policy, Handler: register, Outage: outage},
			bus.Lane{
				Lane: events.Reconcile, Leg: a.Name, Window: settledAtOnce, Fleet: settledAtOnce, Single: true,
				Policy: policy, Handler: reconcile, Outage: outage,
			},
		)
	}
	return lanes
}

// registerLane is the handler of registrations, and of warm-ups.
func (p warmyParts) registerLane() handlers.Lane {
	policy := p.host.Config.Policy
	return handlers.Lane{
		Usual: handlers.RegisterMailbox{
			Invitations: p.bus.Invitations(p.keys.people), Grants: p.bus.Grants(p.keys.grants), Registrations: p.bus.Registrations(),
			Identities: p.bus.Identities(), Apps: p.apps, Warmy: p.warmy, Listing: p.census, Margin: policy.RefreshMargin,
			ReconcileAfter: policy.ReconcileAfter, Activate: p.activate, Owner: p.owner, Now: p.now,
		},
		Kind: events.ActivationRequested,
		Other: handlers.ActivateMailbox{
			Invitations: p.bus.Invitations(p.keys.people), Registrations: p.bus.Registrations(), Warmy: p.warmy, Now: p.now,
		},
	}
}

// reconcileLane is the handler of unclear registrations, and of what operators decide of them.
func (p warmyParts) reconcileLane() handlers.Lane {
	apart := p.host.Config.Policy.ReconcileAfter
	return handlers.Lane{
		Usual: handlers.ReconcileMailbox{
			Invitations: p.bus.Invitations(p.keys.people), Registrations: p.bus.Registrations(), Listing: p.census, Activate: p.activate,
			Apart: apart, Now: p.now,
		},
		Kind: events.RegistrationDecided,
		Other: handlers.DecideMailbox{
			Invitations: p.bus.Invitations(p.keys.people), Registrations: p.bus.Registrations(), Listing: p.census,
			Activate: p.activate, Apart: apart, Now: p.now,
		},
	}
}

// restore finds the registrations whose events were lost.
func (p warmyParts) restore() handlers.RestoreRegistrations {
	return handlers.RestoreRegistrations{
		Invitations: p.bus.Invitations(p.keys.people), Grants: p.bus.Grants(p.keys.grants), Registrations: p.bus.Registrations(),
		Stored: p.bus.Presence(), Still: factsStill, Now: p.now,
	}
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

// budgetsOf are the accounts' calls per minute.
func budgetsOf(accounts []warmy.Account) map[string]int {
	budgets := make(map[string]int, len(accounts))
	for _, a := range accounts {
		budgets[a.Name] = a.CallsPerMinute
	}
	return budgets
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
