package app

import (
	"context"
	"slices"
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/seal"
	"kindling/internal/warmy"
)

// looker speaks the handlers' words to the client.
type looker struct{ warmy *warmy.Client }

func (l looker) Look(ctx context.Context, account, warmyID string) (handlers.Looked, error) {
	d, err := l.warmy.Get(ctx, account, warmyID)
	return handlers.Looked{Address: d.Address, State: d.State, Status: d.Status}, err
}

// hinted is what a hint is given to; nil if no account takes webhooks.
func (h Host) hinted(b *bus.Bus, keys workerKeys, client *warmy.Client) (bus.HintHandler, error) {
	cfg := h.Config
	if !slices.ContainsFunc(cfg.Accounts, func(a config.Account) bool { return a.WebhookSecret.Given() }) {
		return nil, nil
	}
	ids, err := seal.OpenIDs(cfg.Keys.Dir)
	if err != nil {
		return nil, err
	}
	return h.Metrics.heeding(accountNames(cfg), handlers.HeedHint{
		Invitations: b.Invitations(keys.people), Registrations: b.Registrations(), Warmy: looker{client}, IDs: ids,
		Apps: appNames(cfg), Now: time.Now,
	}.Handle), nil
}

// heeding counts what becomes of hints. Who sends them may be anybody, so their words are no labels.
func (m *Metrics) heeding(accounts []string, look bus.HintHandler) bus.HintHandler {
	for _, account := range accounts {
		for _, outcome := range hintOutcomes() {
			m.hints.WithLabelValues(account, outcome) // so that a rate has a beginning
		}
	}
	return func(ctx context.Context, hint events.Hint) ([]events.Event, error) {
		evs, err := look(ctx, hint)
		if slices.Contains(accounts, hint.Account) {
			m.hints.WithLabelValues(hint.Account, hintOutcome(evs, err)).Inc()
		}
		return evs, err
	}
}

// What becomes of a hint.
const (
	hintFine    = "fine"    // Warmy can use the mailbox
	hintRepair  = "repair"  // it cannot: fresh tokens were asked for
	hintGone    = "gone"    // Warmy does not know the mailbox (any more)
	hintUnknown = "unknown" // no mailbox of ours
	hintFailed  = "failed"  // the look is taken again
)

func hintOutcomes() []string {
	return []string{hintFine, hintRepair, hintGone, hintUnknown, hintFailed}
}

func hintOutcome(follows []events.Event, err error) string {
	switch {
	case err != nil && fault.Of(err).Code == handlers.CodeGone:
		return hintGone
	case err != nil && fault.Of(err).Class == fault.Permanent:
		return hintUnknown
	case err != nil:
		return hintFailed
	case len(follows) > 0:
		return hintRepair
	}
	return hintFine
}
