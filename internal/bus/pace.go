package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
)

// Pacer shares one budget per account, or per app, among all processes: every call takes a slot from a common time line, which
// is kept in the control bucket and moved by compare-and-set. Slots are reserved a quarter of a second's worth at a time, and
// only when their time is near: what a process has reserved and not used when it dies is lost to everybody. Who of those that
// wait in this process has the next slot is decided when its time has come: see queue.
type Pacer struct {
	kv      kv
	prefix  string // of the keys of its time lines
	budgets map[string]*budget
	clock   *serverClock
}

// budget is one account's, or app's, share of the pacer.
type budget struct {
	perMinute int
	lead      chan struct{} // holds one token: whoever has it takes the next slot, for whose turn it is
	waiting   atomic.Int64  // who waits, or has a Turn

	mu    sync.Mutex
	queue queue
	slots []slot   // reserved and not handed out
	line  timeline // as it was read last

	revision uint64    // of the line, and
	looked   time.Time // when it was read, by the server's clock as it was known
}

// slot is the time of one call.
type slot struct {
	due time.Time // by the server's clock
	at  time.Time // by this machine's
}

// spare of each minute is left free. A call may leave late, and be on its way for longer than others: within less than
// this it is still in the minute that it was counted for. So no sliding minute has more calls than the budget, and 98.5 %
// of it are used.
const spare = 900 * time.Millisecond

// usableFor is how late a slot may be used, of what spare allows.
const usableFor = spare / 3

// interval is the distance between two calls.
func (b *budget) interval(part float64) time.Duration {
	return time.Duration(float64(time.Minute+spare) / (float64(b.perMinute) * part))
}

// Pacer returns the pacer of the given accounts' budgets, in calls per minute; 0 means not paced.
func (b *Bus) Pacer(perMinute map[string]int) *Pacer { return b.pacer(accountPace, perMinute) }

// RefreshPacer returns the pacer of the given apps' refreshes by policy, per minute; 0 means not paced.
func (b *Bus) RefreshPacer(perMinute map[string]int) *Pacer { return b.pacer(refreshPace, perMinute) }

// accountPace begins the keys of the accounts' time lines.
const accountPace = "pace."

// refreshPace keeps the apps apart from accounts of the same names, and out of what warmy-worker may write.
const refreshPace = "refresh_pace."

func (b *Bus) pacer(prefix string, perMinute map[string]int) *Pacer {
	p := &Pacer{kv: kv{b, bucketControl}, prefix: prefix, budgets: make(map[string]*budget), clock: b.clock}
	for name, rate := range perMinute {
		if rate > 0 {
			p.budgets[name] = &budget{perMinute: rate, lead: make(chan struct{}, 1), line: timeline{Part: 1}}
		}
	}
	return p
}

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
	if n := b.waiting.Add(1); n > 1 && time.Duration(n)*b.interval(1) > longestTurn {
		return false, nil
	}
	return true, p.Wait(ctx, name)
}

// Wait returns when the next call of account may be made. While the call's leg is held nobody waits: the error is a
// LegDown fault then. When the control bucket does not answer it is a RetryAfter fault: nothing is said against the event.
func (p *Pacer) Wait(ctx context.Context, account string) error {
	b := p.budgets[account]
	if b == nil {
		return nil
	}
	s := p.calling(ctx, account)
	b.mu.Lock()
	w := b.queue.join(s.class)
	b.mu.Unlock()
	err := p.await(ctx, account, b, w, s)
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.queue.leave(w) {
		return nil // its turn came at the same moment
	}
	if ctx.Err() == nil && (errors.Is(err, ErrUnavailable) || errors.Is(err, handlers.ErrConflict)) {
		return budgetAway(err)
	}
	return err
}

// readAgain is how long a call waits whose budget could not be read: an election is over by then.
const readAgain = 5 * time.Second

func budgetAway(err error) *fault.Fault {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "budget_unreadable", Forecast: fault.ByTime, After: readAgain, Err: err,
		Cause:  "the call budget could not be read or moved in the message store, and nothing was sent",
		Remedy: "none: it is tried again; if that lasts, look after NATS",
	}
}

// calling says for whom a call is made. What is no lane's own waits at the gate of its account's leg, too: nobody calls
// while the leg is held.
func (p *Pacer) calling(ctx context.Context, account string) calling {
	s := callingOf(ctx)
	if s.gate == nil && p.prefix == accountPace {
		s.gate = p.kv.bus.gateOf(leg.Name("warmy", account))
	}
	return s
}

// await returns when w's turn has come. One of those that wait takes the slots, for all.
func (p *Pacer) await(ctx context.Context, account string, b *budget, w *waiter, s calling) error {
	for {
		shut, changed := s.shut()
		if shut {
			return legShut()
		}
		select {
		case <-w.turn:
			return nil
		case <-changed:
		case b.lead <- struct{}{}:
			err := p.leadUntil(ctx, account, b, w, changed)
			<-b.lead
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		}
	}
}

// shut reports whether the leg of the call is held, and what tells of a change.
func (s calling) shut() (shut bool, changed <-chan struct{}) {
	if s.gate == nil || s.class == probes {
		return false, nil
	}
	_, changed, open := s.gate.look(0)
	return !open, changed
}

// leadUntil hands out slots until w has one, or the leg changes.
func (p *Pacer) leadUntil(ctx context.Context, account string, b *budget, w *waiter, changed <-chan struct{}) error {
	for {
		select {
		case <-w.turn:
			return nil
		default:
		}
		next, err := p.take(ctx, account, b, changed)
		if errors.Is(err, errChanged) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.sleep(ctx, next.at.Sub(p.clock.local()), changed); err != nil {
			b.giveBack(next)
			if errors.Is(err, errChanged) {
				return nil
			}
			return err
		}
		p.handOut(b, next)
	}
}

// handOut gives a slot, whose time has come, to the call whose turn it is. It is lost if we were told meanwhile to call no
// more, or if this process stood still until it was too late: all that stood still would make a burst.
func (p *Pacer) handOut(b *budget, s slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := p.clock.local()
	if b.line.Until.After(p.clock.now()) || s.late(now) {
		return
	}
	if first := b.queue.next(now); first != nil {
		close(first.turn)
	}
}

// late reports whether a slot can be used no more.
func (s slot) late(now time.Time) bool { return now.Sub(s.at) > usableFor }

// giveBack keeps a slot for whoever leads next.
func (b *budget) giveBack(s slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slots = append([]slot{s}, b.slots...)
}

// errChanged says that the leg has changed while its call waited.
var errChanged = errors.New("the leg has changed")

func (*Pacer) sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-changed:
		return errChanged
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
}

// Throttled says that the service told this account to call no more for a while, in the answer to a call that was sent at
// sent, by this machine's clock, and makes every process obey: nobody calls before, and if that happens again to a call
// sent soon after the wait, all call at half the pace, which then rises step by step.
func (p *Pacer) Throttled(ctx context.Context, account string, sent time.Time, wait time.Duration) error {
	b := p.budgets[account]
	if b == nil {
		return nil
	}
	b.mu.Lock()
	b.slots = nil
	b.mu.Unlock()
	for range reserveTries {
		line, revision, err := p.read(ctx, account, b)
		if errors.Is(err, handlers.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		now := p.clock.now().UTC()
		next := line.told(now.Add(-time.Since(sent)), now, wait)
		next.Rate = float64(b.perMinute) * next.Part
		if next == line {
			return nil
		}
		if _, err = p.write(ctx, account, next, revision); err == nil {
			b.mu.Lock()
			b.line = next
			b.mu.Unlock()
		}
		if !errors.Is(err, handlers.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("slow down %s: %w", account, handlers.ErrConflict)
}
