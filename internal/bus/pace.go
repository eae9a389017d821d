package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"kindling/internal/handlers"
)

// Pacer shares one budget per account, or per app, among all processes: every call takes a slot from a common time line, which
// is kept in the control bucket and moved by compare-and-set. Slots are reserved a second's worth at a time, and only
// when their time is near: what a process has reserved and not used when it dies is lost to everybody.
type Pacer struct {
	kv      kv
	prefix  string // of the keys of its time lines
	budgets map[string]*budget
	now     func() time.Time
}

// budget is one account's, or app's, share of the pacer.
type budget struct {
	interval time.Duration
	turn     chan struct{} // holds one token: whoever has it takes the next slot
	slots    []time.Time   // reserved and not handed out
	waiting  atomic.Int64  // who takes turns
}

// Pacer returns the pacer of the given accounts' budgets, in calls per minute; 0 means not paced.
func (b *Bus) Pacer(perMinute map[string]int) *Pacer { return b.pacer("pace.", perMinute) }

// RefreshPacer returns the pacer of the given apps' refreshes by policy, per minute; 0 means not paced.
func (b *Bus) RefreshPacer(perMinute map[string]int) *Pacer { return b.pacer(refreshPace, perMinute) }

// refreshPace keeps the apps apart from accounts of the same names, and out of what warmy-worker may write.
const refreshPace = "refresh_pace."

func (b *Bus) pacer(prefix string, perMinute map[string]int) *Pacer {
	p := &Pacer{kv: kv{b, bucketControl}, prefix: prefix, budgets: make(map[string]*budget), now: time.Now}
	for name, rate := range perMinute {
		if rate > 0 {
			p.budgets[name] = &budget{interval: time.Minute / time.Duration(rate), turn: make(chan struct{}, 1)}
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

// longestTurn bounds how long a Turn waits for this process's own others.
const longestTurn = 2 * time.Second

// Turn is Wait for work that can come again later, and must not keep the places of work that cannot: it returns false at
// once when more wait already than longestTurn allows. One may always wait.
func (p *Pacer) Turn(ctx context.Context, name string) (bool, error) {
	b := p.budgets[name]
	if b == nil {
		return true, nil
	}
	defer b.waiting.Add(-1)
	if n := b.waiting.Add(1); n > 1 && time.Duration(n)*b.interval > longestTurn {
		return false, nil
	}
	return true, p.Wait(ctx, name)
}

// Wait returns when the next call of account may be made.
func (p *Pacer) Wait(ctx context.Context, account string) error {
	b := p.budgets[account]
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
	key := p.prefix + account
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
