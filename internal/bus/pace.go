package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/handlers"
)

// Pacer shares one call budget per account among all processes: every call takes a slot from a common time line, which
// is kept in the control bucket and moved by compare-and-set. Slots are reserved a second's worth at a time, and only
// when their time is near: what a process has reserved and not used when it dies is lost to everybody.
type Pacer struct {
	kv       kv
	accounts map[string]*budget
	now      func() time.Time
}

// budget is one account's share of the pacer.
type budget struct {
	interval time.Duration
	turn     chan struct{} // holds one token: whoever has it takes the next slot
	slots    []time.Time   // reserved and not handed out
}

// Pacer returns the pacer of the given accounts' budgets, in calls per minute; 0 means not paced.
func (b *Bus) Pacer(perMinute map[string]int) *Pacer {
	p := &Pacer{kv: kv{b, bucketControl}, accounts: make(map[string]*budget), now: time.Now}
	for account, rate := range perMinute {
		if rate > 0 {
			p.accounts[account] = &budget{interval: time.Minute / time.Duration(rate), turn: make(chan struct{}, 1)}
		}
	}
	return p
}

// timeline is the stored end of what is reserved.
type timeline struct {
	Next time.Time `json:"next"`
}

const (
	// reserveTries bounds the compare-and-set loop against the other processes.
	reserveTries = 50
	// reserveAhead is how near a slot must be before it is reserved.
	reserveAhead = time.Second
)

// Wait returns when the next call of account may be made.
func (p *Pacer) Wait(ctx context.Context, account string) error {
	b := p.accounts[account]
	if b == nil {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
	slot, err := p.take(ctx, account, b)
	<-b.turn
	if err != nil {
		return err
	}
	return p.sleep(ctx, slot.Sub(p.now()))
}

func (p *Pacer) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
}

// take hands out a reserved slot; the caller has the turn. Slots that passed unused are forgotten: used late, they
// would make a burst.
func (p *Pacer) take(ctx context.Context, account string, b *budget) (time.Time, error) {
	for len(b.slots) > 0 && b.slots[0].Before(p.now().Add(-b.interval)) {
		b.slots = b.slots[1:]
	}
	for tries := 0; len(b.slots) == 0; tries++ {
		if tries == reserveTries {
			return time.Time{}, fmt.Errorf("reserve slots of %s: %w", account, handlers.ErrConflict)
		}
		wait, err := p.reserve(ctx, account, b)
		if errors.Is(err, handlers.ErrConflict) {
			continue
		}
		if err == nil && wait > 0 {
			tries = 0
			err = p.sleep(ctx, wait)
		}
		if err != nil {
			return time.Time{}, err
		}
	}
	slot := b.slots[0]
	b.slots = b.slots[1:]
	return slot, nil
}

// reserve reserves the next slots, or tells how long to wait until they are near enough.
func (p *Pacer) reserve(ctx context.Context, account string, b *budget) (wait time.Duration, err error) {
	key := "pace." + account
	data, revision, err := p.kv.get(ctx, key)
	if err != nil {
		return 0, err
	}
	now := p.now().UTC()
	start := decodeTimeline(data, now)
	if start.Before(now) {
		start = now
	}
	if ahead := start.Sub(now); ahead > reserveAhead {
		return ahead - reserveAhead/2, nil
	}
	n := max(1, int(time.Second/b.interval))
	next, err := json.Marshal(timeline{Next: start.Add(time.Duration(n) * b.interval)})
	if err != nil {
		return 0, fmt.Errorf("encode pace: %w", err)
	}
	if _, err := p.kv.put(ctx, key, next, revision); err != nil {
		return 0, err
	}
	for i := range n {
		b.slots = append(b.slots, start.Add(time.Duration(i)*b.interval))
	}
	return 0, nil
}
