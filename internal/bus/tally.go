package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// DeadFigures counts the dead letters that have one stage, class and forecast.
type DeadFigures struct {
	Stage, Class, Forecast string
	Count                  int
}

// tallyRest is how many times longer than a count took its result is kept: counting reads every dead letter.
const tallyRest = 20

// tallyTime bounds one count: a hundred thousand letters take about ten seconds.
const tallyTime = 10 * time.Minute

// deadTally counts the dead letters, again only when the stream has changed, and beside the reading that wants to know:
// a reading that cannot wait takes the last counts.
type deadTally struct {
	mu       sync.Mutex
	state    tallied
	next     time.Time // not before: the last count took its time
	figures  []DeadFigures
	counting chan struct{} // closed when the count under way ends; nil: none is
}

// tallied tells one state of the stream from another.
type tallied struct {
	messages, first, last uint64
	deleted               int
}

// read returns the counts, which may be as old as tallyRest times what a count takes.
func (t *deadTally) read(ctx context.Context, b *Bus) ([]DeadFigures, error) {
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w: %w", ErrUnavailable, err)
	}
	if counting := t.begin(ctx, b, stream.CachedInfo().State); counting != nil {
		select {
		case <-counting:
		case <-ctx.Done():
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.figures, nil
}

// begin starts a count if there is something new to count; it returns the one under way, nil when there is none.
func (t *deadTally) begin(ctx context.Context, b *Bus, s jetstream.StreamState) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := tallied{messages: s.Msgs, first: s.FirstSeq, last: s.LastSeq, deleted: s.NumDeleted}
	if t.counting != nil || now == t.state || time.Now().Before(t.next) {
		return t.counting
	}
	counting := make(chan struct{})
	t.counting = counting
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tallyTime)
	go func() {
		defer close(counting)
		defer cancel()
		t.count(ctx, DeadLetters{b}, now)
	}()
	return counting
}

// count takes over a count that came to its end. One that did not is made again.
func (t *deadTally) count(ctx context.Context, letters DeadLetters, state tallied) {
	began := time.Now()
	figures, err := countDead(ctx, letters)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counting, t.next = nil, time.Now().Add(tallyRest*time.Since(began))
	if err == nil {
		t.state, t.figures = state, figures
	}
}

// countDead reads every dead letter. It needs no right that the console does not have for its pages.
func countDead(ctx context.Context, letters DeadLetters) ([]DeadFigures, error) {
	counts := map[DeadFigures]int{}
	err := letters.Each(ctx, func(letter events.DeadLetter) bool {
		counts[kindOfDeath(letter)]++
		return true
	})
	return sorted(counts), err
}

// kindOfDeath is what a dead letter counts as. Only known words become labels.
func kindOfDeath(letter events.DeadLetter) DeadFigures {
	d := DeadFigures{Stage: string(letter.Stage), Class: letter.Class, Forecast: letter.Forecast}
	if !slices.Contains(events.Lanes(), letter.Stage) {
		d.Stage = "other"
	}
	if !slices.Contains(fault.Classes(), fault.Class(d.Class)) {
		d.Class = "other"
	}
	if !slices.Contains(fault.Forecasts(), fault.Forecast(d.Forecast)) {
		d.Forecast = "other"
	}
	return d
}

func sorted(counts map[DeadFigures]int) []DeadFigures {
	figures := make([]DeadFigures, 0, len(counts))
	for kind, n := range counts {
		kind.Count = n
		figures = append(figures, kind)
	}
	return figures
}
