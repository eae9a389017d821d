package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/handlers"
)

// PlanBook is what Warmy offers each account, as warmy-worker found out: the console, which imports campaigns, holds no
// credentials of Warmy's and asks nobody. It lies in the control bucket: a cache, and no fact of a mailbox.
type PlanBook struct {
	kv  kv
	now func() time.Time // the server's
}

// TariffPlans returns the book of tariff plans.
func (b *Bus) TariffPlans() *PlanBook { return &PlanBook{kv: kv{b, bucketControl}, now: b.clock.now} }

const plansPrefix = "plans."

const (
	// lookUpFor is how long one process keeps the others from asking Warmy, and itself after a failure.
	lookUpFor = time.Minute
	// mostPlans and longestPlanName bound what is kept of an answer.
	mostPlans, longestPlanName = 200, 80
)

// storedPlans is an account's page of the book.
type storedPlans struct {
	campaign.Plans
	Until time.Time `json:"until,omitzero"` // of the process that is asking Warmy
}

// Of returns an account's plans; the zero value when nobody has found them out yet.
func (p *PlanBook) Of(ctx context.Context, account string) (campaign.Plans, error) {
	stored, _, err := p.read(ctx, account)
	return stored.Plans, err
}

// Refresh asks Warmy through lookUp if an account's plans are older than every, and no process asked within the last minute.
// While the account's leg is held nobody asks. After a failure the old plans stay.
func (p *PlanBook) Refresh(ctx context.Context, account string, every time.Duration, lookUp func(ctx context.Context, account string) ([]campaign.Plan, error)) error {
	if err := p.kv.bus.lookAtClock(ctx); err != nil {
		return err
	}
	stored, revision, err := p.read(ctx, account)
	if err != nil {
		return err
	}
	now := p.now()
	if claimed(stored.LookedUp.Add(every), now, every) > 0 || claimed(stored.Until, now, lookUpFor) > 0 {
		return nil
	}
	if err := p.kv.bus.Legs().mayCall(ctx, account); err != nil {
		return err
	}
	stored.Until = now.Add(lookUpFor).UTC()
	if revision, err = p.put(ctx, account, revision, stored); errors.Is(err, handlers.ErrConflict) {
		return nil
	} else if err != nil {
		return err
	}
	list, err := lookUp(lookingUp(ctx), account)
	if err != nil {
		return err
	}
	_, err = p.put(ctx, account, revision, storedPlans{Plans: campaign.Plans{LookedUp: p.now().UTC(), List: bounded(list)}})
	if errors.Is(err, handlers.ErrConflict) {
		return nil
	}
	return err
}

// bounded keeps of an answer what a record can hold. A name that is too long is left out: its plan has its id.
func bounded(list []campaign.Plan) []campaign.Plan {
	var kept []campaign.Plan
	for _, plan := range list[:min(len(list), mostPlans)] {
		if len(plan.Name) > longestPlanName {
			plan.Name = ""
		}
		kept = append(kept, plan)
	}
	return kept
}

func (p *PlanBook) read(ctx context.Context, account string) (stored storedPlans, revision uint64, err error) {
	data, revision, err := p.kv.get(ctx, plansPrefix+account)
	if err != nil {
		return storedPlans{}, 0, err
	}
	if len(data) > 0 && json.Unmarshal(data, &stored) != nil {
		stored = storedPlans{} // unreadable: not known
	}
	return stored, revision, nil
}

func (p *PlanBook) put(ctx context.Context, account string, revision uint64, stored storedPlans) (uint64, error) {
	data, err := json.Marshal(stored)
	if err != nil {
		return 0, fmt.Errorf("encode tariff plans: %w", err)
	}
	return p.kv.put(ctx, plansPrefix+account, data, revision)
}
