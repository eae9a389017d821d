package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/leg"
)

// GaugeScope says which figures a process reads: a worker those of its own lanes, the console all.
type GaugeScope struct {
	Apps     []string // code and refresh lanes
	Accounts []string // register and reconcile lanes
	Store    bool     // the streams and the dead letters, too
}

// Figures are the store's figures at one moment.
type Figures struct {
	Lanes   []LaneFigures
	Legs    []leg.Leg
	Budgets []BudgetFigures
	Streams []StreamFigures
	Dead    []DeadFigures
}

// LaneFigures are those of one leg's share of a lane. Timers that are not due yet are in none of them.
type LaneFigures struct {
	Lane     events.Lane
	Leg      string
	Pending  uint64        // waiting to be delivered
	InFlight int           // delivered, not settled
	Ready    uint64        // of Pending, what could proceed now: nothing while the leg is not open
	Oldest   time.Duration // age of the oldest item, in flight or not; 0: there is none
	Window   float64       // how much of the fleet's window is in flight, 0 to 1
}

// BudgetFigures are those of one account's calls.
type BudgetFigures struct {
	Account   string
	PerMinute float64 // that the whole fleet may make now: less than configured after 429s
}

// StreamFigures are those of one stream.
type StreamFigures struct {
	Name     string
	Messages uint64
	Bytes    uint64
	Fill     float64 // of its limit, 0 to 1
}

// Gauges reads the figures of one process. It is safe for concurrent use.
type Gauges struct {
	bus   *Bus
	scope GaugeScope
	dead  deadTally
}

// Gauges returns a reader of the figures in scope.
func (b *Bus) Gauges(scope GaugeScope) *Gauges { return &Gauges{bus: b, scope: scope} }

// questions bounds how many of a reading's questions are under way at once.
const questions = 8

// Read asks for all figures. It fails as a whole, so that nobody takes old figures for new ones. ctx bounds it.
func (g *Gauges) Read(ctx context.Context) (Figures, error) {
	if !g.bus.nc.IsConnected() {
		return Figures{}, fmt.Errorf("nats is %s: %w", g.bus.nc.Status(), ErrUnavailable)
	}
	var f Figures
	var err error
	if f.Legs, err = each(ctx, g.legNames(), g.leg); err != nil {
		return Figures{}, err
	}
	open := make(map[string]bool, len(f.Legs))
	for _, l := range f.Legs {
		open[l.Name] = l.State == leg.Open
	}
	lanes, err := g.waiting(ctx)
	if err != nil {
		return Figures{}, err
	}
	if f.Budgets, err = g.budgets(ctx); err != nil {
		return Figures{}, err
	}
	for _, l := range lanes {
		if !slices.ContainsFunc(legsOf(l.Lane, l.Leg), func(name string) bool { return !open[name] }) {
			l.Ready = l.Pending
		}
		f.Lanes = append(f.Lanes, l)
	}
	if !g.scope.Store {
		return f, nil
	}
	if f.Streams, err = each(ctx, g.streamNames(), g.stream); err != nil {
		return Figures{}, err
	}
	f.Dead, err = g.dead.read(ctx, g.bus)
	return f, err
}

// waiting reads the figures of the lanes alone.
func (g *Gauges) waiting(ctx context.Context) ([]LaneFigures, error) {
	lanes, err := each(ctx, g.shares(), g.lane)
	return slices.Concat(lanes...), err
}

// budgets reads the pace of every account that is paced and has made a call.
func (g *Gauges) budgets(ctx context.Context) ([]BudgetFigures, error) {
	all, err := each(ctx, g.scope.Accounts, func(ctx context.Context, account string) (BudgetFigures, error) {
		pace, err := g.bus.PaceOf(ctx, account)
		return BudgetFigures{Account: account, PerMinute: pace.PerMinute}, err
	})
	return slices.DeleteFunc(all, func(f BudgetFigures) bool { return f.PerMinute == 0 }), err
}

// share is one leg's share of a lane.
type share struct {
	lane events.Lane
	leg  string
}

func (g *Gauges) shares() []share {
	var all []share
	for _, app := range g.scope.Apps {
		all = append(all, share{events.Code, app}, share{events.Refresh, app})
	}
	for _, account := range g.scope.Accounts {
		all = append(all, share{events.Register, account}, share{events.Reconcile, account})
	}
	return all
}

func (g *Gauges) legNames() []string {
	var names []string
	for _, s := range g.shares() {
		for _, name := range legsOf(s.lane, s.leg) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (g *Gauges) streamNames() []string {
	var names []string
	for _, cfg := range g.bus.streams() {
		names = append(names, cfg.Name)
	}
	return names
}

func (g *Gauges) leg(ctx context.Context, name string) (leg.Leg, error) {
	l, _, err := g.bus.Legs().load(ctx, name)
	return l, err
}

// lane adds up the consumers of a share. It is empty before the first worker made them: then nobody knows what waits. Workers
// of another version may have others: what there is counts.
func (g *Gauges) lane(ctx context.Context, s share) ([]LaneFigures, error) {
	f, found := LaneFigures{Lane: s.lane, Leg: s.leg}, false
	for _, src := range sources(s.lane) {
		want := consumerOf(s.lane, src, s.leg, 0)
		consumer, err := g.bus.js.Consumer(ctx, src.stream, want.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask for consumer %s: %w: %w", want.Durable, ErrUnavailable, err)
		}
		info := consumer.CachedInfo()
		found = true
		f.Pending += info.NumPending
		f.InFlight += info.NumAckPending
		f.Window = max(f.Window, float64(info.NumAckPending)/float64(max(1, info.Config.MaxAckPending)))
		if info.NumPending == 0 && info.NumAckPending == 0 {
			continue
		}
		age, err := g.oldest(ctx, src.stream, info.Config.FilterSubject)
		if err != nil {
			return nil, err
		}
		f.Oldest = max(f.Oldest, age)
	}
	if !found {
		return nil, nil
	}
	return []LaneFigures{f}, nil
}

// oldest is the age of the first message of a work queue under filter: what is settled is not in it any more.
func (g *Gauges) oldest(ctx context.Context, name, filter string) (time.Duration, error) {
	stream, err := g.bus.stream(ctx, name)
	if err != nil {
		return 0, err
	}
	msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil // it was settled meanwhile
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the oldest message of %s: %w: %w", name, ErrUnavailable, err)
	}
	return max(0, time.Since(msg.Time)), nil
}

func (g *Gauges) stream(ctx context.Context, name string) (StreamFigures, error) {
	stream, err := g.bus.js.Stream(ctx, name)
	if err != nil {
		return StreamFigures{}, fmt.Errorf("ask for stream %s: %w: %w", name, ErrUnavailable, err)
	}
	info := stream.CachedInfo()
	f := StreamFigures{Name: name, Messages: info.State.Msgs, Bytes: info.State.Bytes}
	if info.Config.MaxBytes > 0 {
		f.Fill = float64(f.Bytes) / float64(info.Config.MaxBytes)
	}
	return f, nil
}

// each asks ask about every item, a few at a time, and returns the answers in order.
func each[T, R any](ctx context.Context, items []T, ask func(context.Context, T) (R, error)) ([]R, error) {
	answers, errs := make([]R, len(items)), make([]error, len(items))
	slots := make(chan struct{}, questions)
	var asking sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			answers[i], errs[i] = ask(ctx, item)
		})
	}
	asking.Wait()
	return answers, errors.Join(errs...)
}
