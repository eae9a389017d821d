package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/handlers"
)

// reserveWorth is how much is reserved at once. All of it is lost when the process dies: of a minute in which one does so
// less than half a percent. It costs four writes a second at most, of all processes together.
const reserveWorth = time.Second / 4

// batch is how many slots are reserved at once.
func (b *budget) batch(part float64) int { return max(1, int(reserveWorth/b.interval(part))) }

const (
	// reserveTries bounds the compare-and-set loop against the other processes.
	reserveTries = 50
	// reserveAhead is how near a slot must be before it is reserved.
	reserveAhead = time.Second
)

// take returns a reserved slot; the caller leads. Slots that passed unused are forgotten: used late, they would make a
// burst.
func (p *Pacer) take(ctx context.Context, account string, b *budget, changed <-chan struct{}) (slot, error) {
	for tries := 0; ; tries++ {
		if s, found := b.reserved(p.clock.local()); found {
			return s, nil
		}
		if tries == reserveTries {
			return slot{}, fmt.Errorf("reserve slots of %s: %w", account, handlers.ErrConflict)
		}
		wait, err := p.reserve(ctx, account, b)
		if errors.Is(err, handlers.ErrConflict) {
			continue
		}
		if err == nil && wait > 0 {
			tries = 0
			err = p.sleep(ctx, wait, changed)
		}
		if err != nil {
			return slot{}, err
		}
	}
}

// reserved takes the first slot that can still be used.
func (b *budget) reserved(now time.Time) (s slot, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.slots) > 0 {
		s, b.slots = b.slots[0], b.slots[1:]
		if !s.late(now) {
			return s, true
		}
	}
	return slot{}, false
}

// reserve reserves the next slots, or tells how long to wait until they are near enough.
func (p *Pacer) reserve(ctx context.Context, account string, b *budget) (wait time.Duration, err error) {
	line, revision, err := p.read(ctx, account, b)
	if err != nil {
		return 0, err
	}
	now, here := p.clock.now().UTC(), p.clock.local()
	start := line.free(now)
	if ahead := start.Sub(now); ahead > reserveAhead {
		return min(ahead-reserveAhead/2, lookAgain), nil
	}
	line = line.recovered(now)
	n, interval := b.batch(line.Part), b.interval(line.Part)
	line.Next, line.Rate = start.Add(time.Duration(n)*interval), float64(b.perMinute)*line.Part
	if _, err := p.write(ctx, account, line, revision); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		due := start.Add(time.Duration(i) * interval)
		b.slots = append(b.slots, slot{due: due, at: here.Add(due.Sub(now))})
	}
	b.line = line
	return 0, nil
}

// lookAgain bounds how long a process goes by a time line that others may have moved.
const lookAgain = 5 * time.Second

// read returns the account's time line as it is meant now, and stores it so when the server's clock was set since it was
// written. handlers.ErrConflict says that somebody else has written meanwhile.
func (p *Pacer) read(ctx context.Context, account string, b *budget) (timeline, uint64, error) {
	if err := p.kv.bus.lookAtClock(ctx); err != nil {
		return timeline{}, 0, err
	}
	stored, err := p.kv.last(ctx, p.prefix+account)
	if err != nil {
		return timeline{}, 0, err
	}
	if stored == nil {
		stored = &jetstream.RawStreamMsg{}
	}
	if b.contradicts(stored, p.clock.now()) {
		if err := p.kv.bus.askClock(ctx); err != nil {
			return timeline{}, 0, err
		}
	}
	now := p.clock.now()
	line, moved := decodeTimeline(stored.Data, p.clock, now, b.interval(leastPart)+2*reserveAhead)
	revision := stored.Sequence
	if moved {
		if revision, err = p.write(ctx, account, line, revision); err != nil {
			return timeline{}, 0, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line, b.revision, b.looked = line, revision, now
	return line, revision, nil
}

// contradicts reports whether the server's clock cannot be what we take it for, by the time at which it stored this line: it
// was set, or this machine slept. Whoever went on by an old idea of it would reserve what others have.
func (b *budget) contradicts(stored *jetstream.RawStreamMsg, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ahead := stored.Time.After(now.Add(clockSlack))
	behind := stored.Sequence > b.revision && stored.Time.Before(b.looked.Add(-clockSlack))
	return ahead || behind
}

func (p *Pacer) write(ctx context.Context, account string, line timeline, revision uint64) (uint64, error) {
	line.Written = p.clock.now().UTC()
	data, err := json.Marshal(line)
	if err != nil {
		return 0, fmt.Errorf("encode pace: %w", err)
	}
	return p.kv.put(ctx, p.prefix+account, data, revision)
}
