package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Action is what a step of a plan does.
type Action string

// The actions.
const (
	Create   Action = "create"   // the stream is missing
	Update   Action = "update"   // its settings can be changed in place
	Recreate Action = "recreate" // they cannot: it has to be made anew, by hand
	Keep     Action = "keep"     // what differs is an operator's choice, or harmless
)

// Step is one stream or consumer that is not what this build expects, and what becomes of it.
type Step struct {
	Action   Action  `json:"action"`
	Stream   string  `json:"stream"`
	Consumer string  `json:"consumer,omitempty"`
	Drifts   []Drift `json:"differences,omitempty"`
}

// Name names the stream, or the consumer as stream/consumer.
func (s Step) Name() string { return Drift{Stream: s.Stream, Consumer: s.Consumer}.Name() }

// MigrationPlan is what Migrate does, in its order.
type MigrationPlan struct {
	Steps []Step `json:"steps"`
}

// Changes are the steps that Migrate takes.
func (p MigrationPlan) Changes() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Action != Create && s.Action != Update })
}

// ByHand are the steps that nobody but an operator can take.
func (p MigrationPlan) ByHand() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Action != Recreate })
}

// Drifts are all differences of the plan.
func (p MigrationPlan) Drifts() []Drift {
	var all []Drift
	for _, s := range p.Steps {
		all = append(all, s.Drifts...)
	}
	return all
}

// ErrNoSetting means that no setting has this name.
var ErrNoSetting = errors.New("no such setting")

// MigrationPlan compares every stream and every consumer with what this build expects. It changes nothing. Settings that are
// an operator's choice are kept unless also names them.
func (b *Bus) MigrationPlan(ctx context.Context, also ...string) (MigrationPlan, error) {
	for _, name := range also {
		if !slices.Contains(settingNames(), name) {
			return MigrationPlan{}, fmt.Errorf("%w: %s (known are %s)", ErrNoSetting, name, strings.Join(settingNames(), ", "))
		}
	}
	var steps []Step
	for _, want := range b.streams() {
		stream, err := b.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			steps = append(steps, Step{Action: Create, Stream: want.Name})
			continue
		}
		if err != nil {
			return MigrationPlan{}, fmt.Errorf("look at stream %s: %w: %w", want.Name, ErrUnavailable, err)
		}
		info := stream.CachedInfo()
		steps = append(steps, stepsOf(keepFull(compareStream(want, info.Config), want, info), also)...)
		drifts, err := driftsOfConsumers(ctx, stream)
		if err != nil {
			return MigrationPlan{}, err
		}
		for _, of := range drifts {
			steps = append(steps, stepsOf(of, also)...)
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.rank(), b.rank()) })
	return MigrationPlan{steps}, nil
}

// Differences compares every stream with what this build expects, and names those that are missing. It changes nothing
// and asks for no more than any process may; consumers are MigrationPlan's.
func (b *Bus) Differences(ctx context.Context) (missing []string, drifts []Drift, err error) {
	for _, want := range b.streams() {
		stream, err := b.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			missing = append(missing, want.Name)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look at stream %s: %w: %w", want.Name, ErrUnavailable, err)
		}
		info := stream.CachedInfo()
		drifts = append(drifts, keepFull(compareStream(want, info.Config), want, info)...)
	}
	return missing, drifts, nil
}

// rank is the order of a migration. The audit trail comes first, because what cannot be recorded is not done; what is
// missing before what differs, because adding is harmless; facts before the work that rests on them; consumers after
// their streams.
func (s Step) rank() int {
	switch {
	case s.Action == Keep:
		return 5
	case s.Stream == streamAudit:
		return 0
	case s.Action == Create:
		return 1
	case s.Consumer != "":
		return 4
	case strings.HasPrefix(s.Stream, "KV_"):
		return 2
	}
	return 3
}

// stepsOf makes the steps of one stream or consumer.
func stepsOf(drifts []Drift, also []string) []Step {
	var change, keep []Drift
	for _, d := range drifts {
		if d.Severity == Unsafe || !d.Fixed && slices.Contains(also, d.Setting) {
			change = append(change, d)
			continue
		}
		keep = append(keep, d)
	}
	var steps []Step
	if len(change) > 0 {
		action := Update
		if slices.ContainsFunc(change, func(d Drift) bool { return d.Fixed }) {
			action = Recreate
		}
		steps = append(steps, Step{Action: action, Stream: change[0].Stream, Consumer: change[0].Consumer, Drifts: change})
	}
	if len(keep) > 0 {
		steps = append(steps, Step{Action: Keep, Stream: keep[0].Stream, Consumer: keep[0].Consumer, Drifts: keep})
	}
	return steps
}

// keepFull marks a limit as one that cannot be changed if the change would drop what the stream holds.
func keepFull(drifts []Drift, want streamConfig, info *jetstream.StreamInfo) []Drift {
	for i, d := range drifts {
		if d.Setting == "max_bytes" && want.Discard != jetstream.DiscardNew && info.State.Bytes > uint64(max(want.MaxBytes, 0)) {
			drifts[i].Fixed = true
		}
	}
	return drifts
}

// driftsOfConsumers compares the consumers of a work or timer stream, those of each with its own.
func driftsOfConsumers(ctx context.Context, stream jetstream.Stream) ([][]Drift, error) {
	name := stream.CachedInfo().Config.Name
	if !slices.Contains([]string{streamCode, streamRefresh, streamRegister, streamTokenTimers, streamWarmyTimers}, name) {
		return nil, nil // what reads elsewhere takes nothing away
	}
	var all [][]Drift
	lister := stream.ListConsumers(ctx)
	for info := range lister.Info() {
		want, known := knownConsumer(name, info.Config)
		if !known { // perhaps a newer version's
			all = append(all, []Drift{{
				Stream: name, Consumer: info.Name, Setting: "name", Want: "one of this version's", Have: info.Name, Severity: Tolerated, Fixed: true,
			}})
			continue
		}
		all = append(all, compareConsumer(name, want, info.Config))
	}
	if err := lister.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w: %w", name, ErrUnavailable, err)
	}
	return all, nil
}

// settingNames lists every setting once.
func settingNames() []string {
	var names []string
	for _, s := range streamSettings() {
		names = append(names, s.name)
	}
	for _, s := range consumerSettings() {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
