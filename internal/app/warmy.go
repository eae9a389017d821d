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

	budgets := make(map[string]int, len(accounts))
	for _, a := range accounts {
		budgets[a.Name] = a.CallsPerMinute
	}
	policy := policyOf(h.Config)
	apps := microsoft.New(microsoft.Config{Apps: keys.apps})
	client := warmy.New(warmy.Config{Accounts: accounts, Pace: b.Pacer(budgets)})
	probeEvery := min(policy.HoldFor, warmy.ProbeEvery)
	registrar := warmy.NewBreaker(client, probeEvery)
	register := handlers.RegisterMailbox{
		Invitations: b.Invitations(keys.people), Grants: b.Grants(keys.grants), Registrations: b.Registrations(),
		Apps: apps, Warmy: registrar, Margin: policy.RefreshMargin,
		ReconcileAfter: policy.ReconcileAfter, Owner: owner(), Now: time.Now,
	}
	reconcile := handlers.ReconcileMailbox{
		Invitations: b.Invitations(keys.people), Registrations: b.Registrations(), Warmy: registrar, Apart: policy.ReconcileAfter, Now: time.Now,
	}
	var lanes []bus.Lane
	for _, a := range accounts {
		window, fleet := windows(a.CallsPerMinute)
		slotWindow, slotFleet := slotWindows(a.CallsPerMinute)
		lanes = append(lanes,
			bus.Lane{Lane: events.Register, Leg: a.Name, Window: slotWindow, Fleet: slotFleet, Policy: workPolicy(policy), Handler: register, Outage: probeEvery},
			bus.Lane{Lane: events.Reconcile, Leg: a.Name, Window: window, Fleet: fleet, Policy: workPolicy(policy), Handler: reconcile, Outage: probeEvery},
		)
	}
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Accounts: accountNames(h.Config)}), false)
	legs := b.Legs()
	files := append(h.appRotations(apps, config.WarmyWorker, keys.proofs, nil), h.keyRotations(client, accounts, &legs)...)
	restore := handlers.RestoreRegistrations{
		Invitations: b.Invitations(keys.people), Grants: b.Grants(keys.grants), Registrations: b.Registrations(),
		Stored: b.Presence(), Still: factsStill, Now: time.Now,
	}
	return together(ctx,
		func(ctx context.Context) error {
			return b.Serve(ctx, bus.ServeConfig{Observer: h.Metrics, Rescuer: h.Metrics, HoldFor: policy.HoldFor}, lanes...)
		},
		func(ctx context.Context) error {
			return b.RestoreRegistrations(ctx, bus.RestoreConfig{Half: restore, Owner: owner(), Rescuer: h.Metrics})
		},
		func(ctx context.Context) error { return h.follow(ctx, "warmy-worker", files) })
}

// windows bounds the registrations under way: all processes together hold at most half a minute's budget. More would
// only wait in a worker instead of in the stream, with tokens that grow old there.
func windows(callsPerMinute int) (window, fleet int) {
	if callsPerMinute <= 0 {
		return 128, 512
	}
	fleet = min(max(callsPerMinute/2, 4), 512)
	return min(fleet, 128), fleet
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
