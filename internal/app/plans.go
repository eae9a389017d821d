package app

import (
	"context"
	"time"

	"kindling/internal/bus"
	"kindling/internal/campaign"
	"kindling/internal/fault"
)

const (
	// plansEvery is how old the known tariff plans of an account may be: one call of its budget each time.
	plansEvery = 10 * time.Minute
	// plansAsk is how often a process looks whether they are.
	plansAsk = time.Minute
	// plansLimit bounds one look-up, with its wait for the pace.
	plansLimit = 50 * time.Second
)

// planner asks Warmy.
type planner interface {
	Plans(ctx context.Context, account string) ([]campaign.Plan, error)
}

// lookUpPlans keeps what Warmy offers each account known to the console, until ctx ends. Registrations do not depend on
// it; a failure is only logged.
func (h Host) lookUpPlans(ctx context.Context, book *bus.PlanBook, ask planner) error {
	tick := time.NewTicker(plansAsk)
	defer tick.Stop()
	for told := map[string]string{}; ; {
		for _, account := range accountNames(h.Config) {
			h.refreshPlans(ctx, book, ask, account, told)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refreshPlans refreshes one account's plans. told holds the failure that was written last, by account.
func (h Host) refreshPlans(ctx context.Context, book *bus.PlanBook, ask planner, account string, told map[string]string) {
	limited, cancel := context.WithTimeout(ctx, plansLimit)
	defer cancel()
	err := book.Refresh(limited, account, plansEvery, ask.Plans)
	if err == nil || ctx.Err() != nil {
		delete(told, account)
		return
	}
	if f := fault.Of(err); told[account] != f.Code {
		told[account] = f.Code
		h.Log.WarnContext(ctx, "plans_not_looked_up", "account", account, "code", f.Code, "cause", f.Cause, "remedy", f.Remedy)
	}
}
