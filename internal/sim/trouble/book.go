package trouble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Book holds the rules of one server. It is safe for concurrent use, and
// costs one atomic load per call while it is empty.
type Book struct {
	seed  uint64
	kinds []Kind
	ops   []string

	rules   atomic.Pointer[[]*planned]
	latency atomic.Int64
	jitter  atomic.Int64
	calls   atomic.Uint64
}

// planned is a rule with its counters.
type planned struct {
	Rule
	place int

	mu    sync.Mutex
	total count
	each  map[string]*count
}

type count struct{ seen, hits int }

// NewBook returns an empty book for a server that knows these kinds beside the
// common ones, and these operations.
func NewBook(seed uint64, kinds []Kind, ops []string) *Book {
	return &Book{seed: seed, kinds: kinds, ops: ops}
}

// Set replaces all rules; earlier rules win. Nothing changes if one is faulty.
func (b *Book) Set(rules []Rule) error {
	next, err := b.plan(nil, rules)
	if err != nil {
		return err
	}
	b.rules.Store(&next)
	return nil
}

// Add appends rules and keeps the counters of those in force.
func (b *Book) Add(rules ...Rule) error {
	for {
		old := b.rules.Load()
		var now []*planned
		if old != nil {
			now = *old
		}
		next, err := b.plan(now, rules)
		if err != nil {
			return err
		}
		if b.rules.CompareAndSwap(old, &next) {
			return nil
		}
	}
}

func (b *Book) plan(now []*planned, rules []Rule) ([]*planned, error) {
	next := append([]*planned(nil), now...)
	for i, r := range rules {
		if err := r.check(b.kinds, b.ops); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		r.Address = strings.ToLower(r.Address)
		next = append(next, &planned{Rule: r, place: len(next), each: map[string]*count{}})
	}
	return next, nil
}

// Rules returns the rules in force.
func (b *Book) Rules() []Rule {
	var out []Rule
	if list := b.rules.Load(); list != nil {
		for _, p := range *list {
			out = append(out, p.Rule)
		}
	}
	return out
}

// Next decides about one call; the zero Rule means that nothing goes wrong.
func (b *Book) Next(op, address string) Rule {
	list := b.rules.Load()
	if list == nil || len(*list) == 0 {
		return Rule{}
	}
	address = strings.ToLower(address)
	for _, p := range *list {
		if p.fires(b.seed, op, address) {
			return p.Rule
		}
	}
	return Rule{}
}

func (p *planned) fires(seed uint64, op, address string) bool {
	if p.Op != "" && p.Op != op || p.Address != "" && p.Address != address {
		return false
	}
	if p.Share > 0 && draw(seed, p.place, address, -1) >= p.Share {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.each[address]
	if mine == nil {
		mine = &count{}
		p.each[address] = mine
	}
	p.total.seen++
	mine.seen++
	scope := &p.total
	if p.PerAddress {
		scope = mine
	}
	if scope.seen <= p.After || p.Times > 0 && scope.hits >= p.Times {
		return false
	}
	if p.Probability > 0 && draw(seed, p.place, address, mine.seen) >= p.Probability {
		return false
	}
	scope.hits++
	return true
}

// draw returns a number in [0,1) that depends on its arguments alone.
func draw(seed uint64, place int, address string, nth int) float64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d|%d|%d|%s", seed, place, nth, address))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// Share returns the number in [0,1) that the seed gives to an address: what a
// script uses to choose the same part of all addresses in every run.
func Share(seed uint64, address string) float64 {
	return draw(seed, -1, strings.ToLower(address), -1)
}

// Pace sets the time that every answer takes: latency, more or less jitter.
func (b *Book) Pace(latency, jitter time.Duration) {
	b.latency.Store(int64(latency))
	b.jitter.Store(int64(jitter))
}

// Paced returns what Pace has set.
func (b *Book) Paced() (latency, jitter time.Duration) {
	return time.Duration(b.latency.Load()), time.Duration(b.jitter.Load())
}

// Lag waits as Pace says, or until the client is gone.
func (b *Book) Lag(ctx context.Context) {
	latency, jitter := b.Paced()
	if jitter > 0 {
		nth := int(b.calls.Add(1) & 0xffffff)
		latency += time.Duration((2*draw(b.seed, -2, "", nth) - 1) * float64(jitter))
	}
	Wait(ctx, latency)
}

// Wait returns after d, or when the context ends.
func Wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
