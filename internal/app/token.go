package app

import (
	"context"
	"fmt"
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
)

// The lanes of token-worker. Codes have short patience, because they die; refreshes have long patience, because they
// can wait.
const (
	codeWindow    = 128
	refreshWindow = 32
)

// untilDeadline: no count ends the work on a code. Its deadline does, and then the handler says so in its own words. One that
// still fails long after cannot even say that: it is buried, or its place in the lane would be taken for good.
const (
	untilDeadline = 1 << 20
	codeGrace     = time.Hour
)

func codePolicy(p config.Policy) bus.Policy {
	return bus.Policy{Attempts: untilDeadline, MaxAge: mailbox.CodeLife + codeGrace, Base: p.RetryBase / 2, Cap: p.RetryCap / 10, Crashes: 5, Nak: true}
}

func workPolicy(p config.Policy) bus.Policy {
	return bus.Policy{Attempts: p.MaxAttempts, MaxAge: 7 * 24 * time.Hour, Base: p.RetryBase, Cap: p.RetryCap, Crashes: 5}
}

// TokenWorker redeems codes, proves whose mailboxes they open, and refreshes tokens, until ctx ends.
func TokenWorker(ctx context.Context, h Host) error {
	codes, err := seal.OpenCodes(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("token-worker: %w", err)
	}
	keys, err := openWorkerKeys(h.Config, config.TokenWorker)
	if err != nil {
		return fmt.Errorf("token-worker: %w", err)
	}
	if err := standIns(ctx, h.Config, keys.apps); err != nil {
		return fmt.Errorf("token-worker: %w", err)
	}
	b, err := h.connect(ctx, "token-worker")
	if err != nil {
		return err
	}
	defer b.Close()

	client := microsoft.New(microsoft.Config{Apps: keys.apps, Observer: newMicrosoftWatch(h.Metrics, h.Log)})
	policy, owner := h.Config.Policy, owner()
	grants := b.GrantsOf(keys.grants, keys.people)
	redeem := handlers.RedeemCode{
		Invitations: b.Invitations(keys.people), Grants: grants, Codes: codes, Microsoft: client,
		Times: handlers.NewRedeemTimes(), Owner: owner, Now: time.Now,
	}
	refresh := refreshLane(h, b, keys, client)
	var lanes []bus.Lane
	for _, a := range keys.apps {
		lanes = append(lanes,
			bus.Lane{Lane: events.Code, Leg: a.Name, Window: codeWindow, Policy: codePolicy(policy), Handler: codeLife{redeem, h.Metrics.codeLife, time.Now}},
			bus.Lane{Lane: events.Refresh, Leg: a.Name, Window: refreshWindow, Policy: workPolicy(policy), Handler: refresh},
		)
	}
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Apps: appNames(h.Config)}), false)
	legs := b.Legs()
	files := h.appRotations(client, config.TokenWorker, keys.proofs, &legs)
	restore := handlers.RestoreGrants{
		Invitations: b.Invitations(keys.people), Claims: b.Claims(), Grants: grants, Registrations: b.Registrations(),
		Stored: b.Presence(), Still: factsStill, Now: time.Now,
	}
	return together(ctx,
		func(ctx context.Context) error {
			return b.Serve(ctx, bus.ServeConfig{Observer: h.Metrics, Rescuer: h.Metrics, HoldFor: policy.HoldFor, Owner: owner}, lanes...)
		},
		func(ctx context.Context) error {
			return b.RestoreGrants(ctx, bus.RestoreConfig{Half: restore, Owner: owner, Rescuer: h.Metrics, Timers: idleTimers(h, b, keys)})
		},
		func(ctx context.Context) error { return h.follow(ctx, "token-worker", files) })
}
