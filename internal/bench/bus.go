package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// busBench measures internal/bus beside raw nats.go. Both reach the same embedded server, which has a process of its
// own, over loopback TCP: so processor time and allocations are the client's alone.
type busBench struct {
	options

	plan busPlan
}

// busPlan is how much is done.
type busPlan struct {
	publish, publishSync int // messages a round, default sync and sync always
	consume, consumeSync int
	waiting              int           // messages a round for a handler that waits
	backlog              int           // messages that wait while a worker's memory is watched
	watch                time.Duration // of memory, and of workers that share a lane
	sharedWait           time.Duration // of the handlers that share a lane
	poison               poisonPlan
}

func (o options) busPlan() busPlan {
	if o.quick {
		return busPlan{publish: 20_000, publishSync: 2000, consume: 30_000, consumeSync: 3000, waiting: 256 * 20, backlog: 100_000, watch: 4 * time.Second, sharedWait: handlerWait, poison: poisoned(quickPoison)}
	}
	full := busPlan{publish: 60_000, publishSync: 6000, consume: 60_000, consumeSync: 5000, waiting: 256 * 100, backlog: manyWaiting, watch: 10 * time.Second, sharedWait: handlerWait, poison: poisoned(3 * time.Minute)}
	if o.brief {
		full.poison = poisoned(quickPoison)
	}
	return full
}

// busParts are the names for --only.
func busParts() []string {
	return []string{"publish", "consume", "wait", "memory", "scaling", "poison"}
}

func (o options) bus(ctx context.Context) ([]figure, error) {
	return busBench{options: o, plan: o.busPlan()}.run(ctx)
}

// checkParts refuses a part of a bench that it does not have, and a setting that does not exist.
func (o options) checkParts(benches []string) error {
	if !slices.Contains([]string{bothSyncs, syncName(true), syncName(false)}, o.sync) {
		return fmt.Errorf("--sync: there is no %q; known are %s, %s and %s", o.sync, bothSyncs, syncName(true), syncName(false))
	}
	var known []string
	for _, name := range benches {
		known = append(known, map[string][]string{"bus": busParts(), "warmy": warmyParts()}[name]...)
	}
	for _, part := range o.only {
		if !slices.Contains(known, part) {
			return fmt.Errorf("--only: there is no %q; known are %s", part, strings.Join(known, ", "))
		}
	}
	return nil
}

// wants reports whether one of these parts is to be measured.
func (o options) wants(parts ...string) bool {
	return len(o.only) == 0 || slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(o.only, part) })
}

func (b busBench) run(ctx context.Context) ([]figure, error) {
	all := []figure{
		remark("bus: server and connections", "embedded server in a process of its own; ours and raw over loopback TCP"),
		remark("bus: under way at once", fmt.Sprintf("publish %d, consume (prefetch) %d", window, b.window)),
	}
	for _, lazy := range []bool{true, false} {
		if b.sync != bothSyncs && b.sync != syncName(lazy) {
			continue
		}
		figures, err := b.against(ctx, lazy)
		all = append(all, figures...)
		if err != nil {
			return all, err
		}
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) ([]figure, error)
	}{{"memory", b.memoryFigures}, {"scaling", b.scalingFigures}, {"poison", b.poisonFigures}} {
		if !b.wants(part.name) {
			continue
		}
		figures, err := part.run(ctx)
		all = append(all, figures...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// bothSyncs stands for default sync and sync always, one after the other.
const bothSyncs = "both"

// syncName is how a server syncs: as NATS does by default, or before each acknowledgement.
func syncName(lazy bool) string {
	if lazy {
		return "default"
	}
	return "always"
}

// against measures beside raw nats.go. Each part has a server of its own, since a server remembers message ids.
func (b busBench) against(ctx context.Context, lazy bool) ([]figure, error) {
	var all []figure
	for _, part := range []struct {
		name string
		run  func(context.Context, *busRig, bool) ([]figure, error)
	}{{"publish", b.publishFigures}, {"consume", b.consumeFigures}, {"wait", b.waitFigures}} {
		if !b.wants(part.name) || part.name == "wait" && !lazy {
			continue
		}
		figures, err := onRig(ctx, lazy, part.run)
		all = append(all, figures...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func onRig(ctx context.Context, lazy bool, run func(context.Context, *busRig, bool) ([]figure, error)) (figures []figure, err error) {
	r, err := newBusRig(ctx, lazy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return run(ctx, r, lazy)
}

// sizes are the payloads in bytes.
func sizes() []int { return []int{256, 2048} }

func pick(lazy bool, lazily, always int) int {
	if lazy {
		return lazily
	}
	return always
}

func (b busBench) publishFigures(ctx context.Context, r *busRig, lazy bool) ([]figure, error) {
	var figures []figure
	if lazy {
		figures = append(figures, remark("headers of an event, ours and raw", r.like.String()),
			remark("headers of a Watermill message, ours and raw", r.plain.String()))
	}
	for _, size := range sizes() {
		title := fmt.Sprintf("publish %d B, sync %s", size, syncName(lazy))
		all, err := b.publish(ctx, r, title, size, pick(lazy, b.plan.publish, b.plan.publishSync))
		if err != nil {
			return figures, err
		}
		for _, pair := range [][2]string{{oneCall, rawPublish}, {fourCallers, rawPublish}, {watermillCall, rawOneSubject}} {
			figures = append(figures, beside(title, pair[0], pair[1], all, 0.9))
		}
	}
	return figures, nil
}

// remark is a line that measures nothing.
func remark(name, value string) figure {
	return figure{name: name, value: value, against: "–", aim: "–", met: "–"}
}

// beside is the figure of one way against the raw one.
func beside(title, ours, raw string, all map[string]costs, aim float64) figure {
	ratio := all[ours].ratio(all[raw])
	return atLeast(figure{
		name: title + ": " + ours, value: fmt.Sprintf("%.2f: %s", ratio, all[ours]), against: fmt.Sprintf("%s: %s", raw, all[raw]),
	}, ratio, aim)
}

func (b busBench) consumeFigures(ctx context.Context, r *busRig, lazy bool) ([]figure, error) {
	ways := []way{rawConsume(), rawDoubleAck(), subscriberAlone(), subscriberRouted(), serveLane()}
	// The aim is for what carries messages. A lane decodes, searches for secrets and asks its gates besides: its figures show
	// what that costs.
	judged := []string{subscriberRouted().name}
	var figures []figure
	for _, size := range sizes() {
		l := load{size: size, n: pick(lazy, b.plan.consume, b.plan.consumeSync), window: b.window}
		title := fmt.Sprintf("consume %d B, sync %s", size, syncName(lazy))
		all, err := b.consume(ctx, r, title, l, ways...)
		if err != nil {
			return figures, err
		}
		for _, v := range ways[1:] {
			f := beside(title, v.name, ways[0].name, all, 0.6)
			if !slices.Contains(judged, v.name) {
				f.aim, f.met = "–", "–" // shows where the time goes
			}
			figures = append(figures, f)
		}
		if lazy {
			figures = append(figures, details(title, judged, []string{subscriberRouted().name, serveLane().name}, all)...)
		}
	}
	return figures, nil
}

// spikeAllocations is what the spike under the Router needed for a message.
const spikeAllocations = 35

// details are the allocations and acknowledgements of some ways.
func details(title string, judged, names []string, all map[string]costs) []figure {
	var figures []figure
	for _, name := range names {
		c := all[name]
		allocations := atMost(figure{
			name: title + ", allocations: " + name, value: fmt.Sprintf("%.1f", c.allocs()),
			against: fmt.Sprintf("%.0f bytes", c.median(func(x cost) float64 { return x.bytes })),
		}, c.allocs(), spikeAllocations, "%.0f")
		if !slices.Contains(judged, name) {
			allocations.aim, allocations.met = "–", "–"
		}
		figures = append(figures, allocations, remark(title+", acknowledgement: "+name, c.acks()))
	}
	return figures
}

// acks says, from what the server counted, how deliveries were acknowledged.
func (s costs) acks() string {
	in, out := s.median(func(x cost) float64 { return x.toServer }), s.median(func(x cost) float64 { return x.toClient })
	kind := "not answered by the server"
	switch {
	case out > 1.5:
		kind = "each answered by the server"
	case out > 1.001:
		kind = "answered by the server in groups"
	}
	return fmt.Sprintf("%s: per message %.2f to it, %.2f from it", kind, in, out)
}

const (
	handlerWait   = 50 * time.Millisecond
	handlerWindow = 256
)

// waitFigures measure a handler that waits, as one that calls Microsoft or Warmy does.
func (b busBench) waitFigures(ctx context.Context, r *busRig, lazy bool) ([]figure, error) {
	l := load{size: 256, n: b.plan.waiting, window: handlerWindow, wait: handlerWait}
	title := fmt.Sprintf("handler of %v, %d at once, sync %s", handlerWait, handlerWindow, syncName(lazy))
	all, err := b.consume(ctx, r, title, l, rawConsume(), serveLane())
	if err != nil {
		return nil, err
	}
	ideal := handlerWindow / handlerWait.Seconds()
	raw, ours := all[rawConsume().name], all[serveLane().name]
	return []figure{atLeast(figure{
		name: title + ": " + serveLane().name, value: fmt.Sprintf("%.3f: %s", ours.rate()/ideal, ours),
		against: fmt.Sprintf("ideal %.0f/s; raw with goroutines %.3f: %s", ideal, raw.rate()/ideal, raw),
	}, ours.rate()/ideal, 0.95)}, nil
}
