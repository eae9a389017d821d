package app

import (
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// keepAlive is the configured policy by which grants are refreshed unasked.
func keepAlive(p config.Policy) mailbox.KeepAlive {
	return mailbox.KeepAlive{Mode: mailbox.RefreshMode(p.Refresh), After: p.KeepAliveAfter, Margin: p.RefreshMargin}
}

// refreshLane is the handler of refreshes: those that a registration waits for, and those by policy, which alone are paced.
func refreshLane(h Host, b *bus.Bus, keys workerKeys, microsoft handlers.TokenEndpoint) handlers.Lane {
	policy := h.Config.Policy
	pace := make(map[string]int, len(keys.apps))
	for _, a := range keys.apps {
		pace[a.Name] = policy.RefreshesPerMinute
	}
	return handlers.Lane{
		Usual: handlers.RefreshGrant{
			Invitations: b.Invitations(keys.people), Grants: b.GrantsOf(keys.grants, keys.people), Microsoft: microsoft,
			Margin: policy.RefreshMargin, Count: h.Metrics.Refreshed, Now: time.Now,
		},
		Kind: events.GrantIdle,
		Other: handlers.KeepGrant{
			Invitations: b.Invitations(keys.people), Grants: b.GrantsOf(keys.grants, keys.people), Microsoft: microsoft, Policy: keepAlive(policy),
			Pace: b.RefreshPacer(pace), Count: h.Metrics.Refreshed, Now: time.Now,
		},
	}
}

// idleTimers says which grants must have a timer.
func idleTimers(h Host, b *bus.Bus, keys workerKeys) handlers.IdleTimers {
	return handlers.IdleTimers{
		Invitations: b.Invitations(keys.people), Grants: b.GrantsOf(keys.grants, keys.people), Policy: keepAlive(h.Config.Policy),
		Apps: appNames(h.Config), Now: time.Now,
	}
}
