package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// The forged callbacks come in rounds, each with attempts of its own: a cookie lives for a quarter of an hour, and a
// forgery of a dead one proves little.
const (
	forgedRound = 50_000
	forgedOpen  = 24 // attempts under way in a round
	forgedDone  = 24 // and attempts that were answered
	forgedLines = 4  // requests at once
	forgedQuick = 20_000
)

// forged is what became of the forged callbacks.
type forged struct {
	took     []time.Duration
	statuses map[int]int
	stored   uint64 // messages: events and facts
}

// forge measures the edge under callbacks that no owner sent: how many it stored anything for, how many it failed at,
// and how long their senders waited.
func (o options) forge(ctx context.Context, p *rig, client *http.Client, base string) ([]figure, error) {
	total := o.forged
	if o.quick {
		total = min(total, forgedQuick)
	}
	all := forged{statuses: map[int]int{}, took: make([]time.Duration, 0, total)}
	for round := 0; len(all.took) < total; round++ {
		f, err := p.forger(ctx, client, base, round)
		if err != nil {
			return nil, err
		}
		before, err := p.bus.Writes(ctx)
		if err != nil {
			return nil, err
		}
		if err := all.fire(ctx, client, base, f, min(forgedRound, total-len(all.took))); err != nil {
			return nil, fmt.Errorf("after %d forged callbacks: %w", len(all.took), err)
		}
		after, err := p.bus.Writes(ctx)
		if err != nil {
			return nil, err
		}
		all.stored += after.Stored - before.Stored
	}
	return all.figures(), nil
}

// forger presses some links, and has some of the owners come back, so that there is something to forge.
func (p *rig) forger(ctx context.Context, client *http.Client, base string, round int) (forger, error) {
	f := forger{Rand: rand.New(rand.NewPCG(uint64(round), 77))} //nolint:gosec // forgeries need not be secret, but the same in every run
	invitations, err := p.invite(ctx, addresses(fmt.Sprintf("forged-%d", round), forgedOpen+forgedDone))
	if err != nil {
		return f, err
	}
	for i, inv := range invitations {
		began, err := start(ctx, client, base, p.ids.Link(inv.ID, 1))
		if err != nil {
			return f, err
		}
		a := attempt{callback: began, code: "0.A" + strings.Repeat("x", 300) + f.random(20)}
		if i < forgedOpen {
			f.open = append(f.open, a)
			continue
		}
		resp, err := visit(ctx, client, http.MethodGet, base+"/oauth-callback/main?"+a.answer().Encode(), a.cookie)
		if err != nil || resp.status != http.StatusSeeOther {
			return f, fmt.Errorf("an honest callback: status %d: %w", resp.status, err)
		}
		f.done = append(f.done, a)
	}
	return f, nil
}

// fire sends n forgeries, each way in turn, a few at a time.
func (r *forged) fire(ctx context.Context, client *http.Client, base string, f forger, n int) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for line := range forgedLines {
		mine := forger{rand.New(rand.NewPCG(f.Uint64(), uint64(line))), f.open, f.done} //nolint:gosec // as above
		group.Go(func() error {
			part, err := mine.send(ctx, client, base, n/forgedLines+min(1, max(0, n%forgedLines-line)))
			mu.Lock()
			defer mu.Unlock()
			r.took = append(r.took, part.took...)
			for status, count := range part.statuses {
				r.statuses[status] += count
			}
			return err
		})
	}
	return group.Wait()
}

func (f forger) send(ctx context.Context, client *http.Client, base string, n int) (forged, error) {
	sent := forged{statuses: map[int]int{}, took: make([]time.Duration, 0, n)}
	kinds := ways()
	for i := range n {
		req, err := kinds[i%len(kinds)].make(f).request(base)
		if err != nil {
			return sent, err
		}
		began := time.Now()
		resp, err := client.Do(req.WithContext(ctx))
		if err != nil {
			return sent, fmt.Errorf("a forged callback (%s): %w", kinds[i%len(kinds)].name, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		sent.took = append(sent.took, time.Since(began))
		sent.statuses[resp.StatusCode]++
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return sent, fmt.Errorf("a forged callback (%s): %w", kinds[i%len(kinds)].name, err)
		}
	}
	return sent, nil
}

func newRequest(method, address string, body *strings.Reader) (*http.Request, error) {
	if body == nil {
		return http.NewRequest(method, address, http.NoBody) //nolint:noctx // it gets its context when it is sent
	}
	return http.NewRequest(method, address, body) //nolint:noctx // as above
}

func (r *forged) figures() []figure {
	slices.Sort(r.took)
	failed, p99 := 0, ms(percentile(r.took, 0.99))
	var answers []string
	for _, status := range slices.Sorted(maps.Keys(r.statuses)) {
		answers = append(answers, fmt.Sprintf("%d × %d", r.statuses[status], status))
		if status >= http.StatusInternalServerError {
			failed += r.statuses[status]
		}
	}
	n := len(r.took)
	return []figure{
		atMost(figure{
			name: "edge, forged callbacks: stored messages", value: fmt.Sprintf("%d for %d (%s)", r.stored, n, strings.Join(answers, ", ")), against: "–",
		}, float64(r.stored), 0, "%.0f"),
		atMost(figure{name: "edge, forged callbacks: answers of 5xx", value: fmt.Sprintf("%d of %d", failed, n), against: "–"}, float64(failed), 0, "%.0f"),
		atMost(figure{
			name: fmt.Sprintf("edge, forged callbacks, %d at once, p99", forgedLines), value: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", ms(percentile(r.took, 0.5)), p99), against: "–",
		}, p99, 20, "%.0f ms"),
	}
}
