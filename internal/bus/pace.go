package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"kindling/internal/handlers"
)

// Pacer shares one call budget per account among all processes: every call takes a slot from a common time line, which
// is kept in the control bucket and moved by compare-and-set. Slots are reserved a second's worth at a time.
type Pacer struct {
	kv        kv
	perMinute map[string]int // by account; 0: not paced
	now       func() time.Time

	mu    sync.Mutex
	slots map[string][]time.Time
}

// Pacer returns the pacer of the given accounts' budgets, in calls per minute.
func (b *Bus) Pacer(perMinute map[string]int) *Pacer {
	return &Pacer{kv: kv{b, bucketControl}, perMinute: perMinute, now: time.Now, slots: make(map[string][]time.Time)}
}

// timeline is the stored end of what is reserved.
type timeline struct {
	Next time.Time `json:"next"`
}

// reserveTries bounds the compare-and-set loop against the other processes.
const reserveTries = 50

// Wait returns when the next call of account may be made.
func (p *Pacer) Wait(ctx context.Context, account string) error {
	rate := p.perMinute[account]
	if rate <= 0 {
		return nil
	}
	slot, err := p.take(ctx, account, time.Minute/time.Duration(rate))
	if err != nil {
		return err
	}
	timer := time.NewTimer(slot.Sub(p.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
}

// take hands out a reserved slot. Slots that passed unused are forgotten: used late, they would make a burst.
func (p *Pacer) take(ctx context.Context, account string, interval time.Duration) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slots := p.slots[account]
	for len(slots) > 0 && slots[0].Before(p.now().Add(-interval)) {
		slots = slots[1:]
	}
	if len(slots) == 0 {
		reserved, err := p.reserve(ctx, account, interval)
		if err != nil {
			return time.Time{}, err
		}
		slots = reserved
	}
	p.slots[account] = slots[1:]
	return slots[0], nil
}

func (p *Pacer) reserve(ctx context.Context, account string, interval time.Duration) ([]time.Time, error) {
	key := "pace." + account
	n := max(1, int(time.Second/interval))
	for range reserveTries {
		data, revision, err := p.kv.get(ctx, key)
		if err != nil {
			return nil, err
		}
		var line timeline
		if len(data) > 0 {
			if err := json.Unmarshal(data, &line); err != nil {
				return nil, fmt.Errorf("decode pace of %s: %w", account, err)
			}
		}
		start := line.Next
		if now := p.now().UTC(); start.Before(now) {
			start = now
		}
		next, err := json.Marshal(timeline{Next: start.Add(time.Duration(n) * interval)})
		if err != nil {
			return nil, fmt.Errorf("encode pace: %w", err)
		}
		if _, err := p.kv.put(ctx, key, next, revision); errors.Is(err, handlers.ErrConflict) {
			continue
		} else if err != nil {
			return nil, err
		}
		slots := make([]time.Time, n)
		for i := range slots {
			slots[i] = start.Add(time.Duration(i) * interval)
		}
		return slots, nil
	}
	return nil, fmt.Errorf("reserve slots of %s: %w", account, handlers.ErrConflict)
}
