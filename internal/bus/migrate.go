package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"kindling/internal/events"
)

// outcomeTime bounds the record of how a migration ended, even when the operator has given up.
const outcomeTime = 5 * time.Second

// Migrate takes the steps of a plan that can be taken, in its order, and stops at the first that fails. by is who asked for
// it; the audit trail has it before anything is changed. Only the trail itself, if it is missing or wrong, comes first.
// It returns the steps that were taken.
func (b *Bus) Migrate(ctx context.Context, plan MigrationPlan, by string) (done []Step, err error) {
	todo := plan.Changes()
	entry := events.AuditEntry{
		Version: events.Version, At: time.Now().UTC(), Actor: by, Role: "admin", Action: "store.migrate", Target: targets(todo), Count: len(todo),
		Outcome: "intent", Request: nuid.Next(),
	}
	recorded := false
	for _, step := range todo {
		if !recorded && step.Stream != streamAudit {
			if err := b.Audit().Append(ctx, entry); err != nil {
				return done, fmt.Errorf("the audit trail cannot be written, so nothing else was changed: %w", err)
			}
			recorded = true
		}
		if err = b.take(ctx, step); err != nil {
			err = fmt.Errorf("%s %s: %w", step.Action, step.Name(), err)
			break
		}
		done = append(done, step)
	}
	if len(todo) == 0 {
		return nil, nil
	}
	return done, errors.Join(err, b.concludeMigration(ctx, entry, err))
}

func (b *Bus) concludeMigration(ctx context.Context, entry events.AuditEntry, cause error) error {
	entry.At, entry.Outcome = time.Now().UTC(), "done"
	if cause != nil {
		entry.Outcome = "failed"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTime)
	defer cancel()
	if err := b.Audit().Append(ctx, entry); err != nil {
		return fmt.Errorf("record the outcome: %w", err)
	}
	return nil
}

// targets names the steps for the audit trail.
func targets(steps []Step) string {
	words := make([]string, len(steps))
	for i, s := range steps {
		words[i] = string(s.Action) + " " + s.Name()
	}
	return strings.Join(words, ", ")
}

// take takes one step. It reads the configuration anew and changes only the settings that the plan names: what else was
// changed meanwhile, a pause among it, stays.
func (b *Bus) take(ctx context.Context, step Step) error {
	want, err := b.wanted(step.Stream)
	switch {
	case err != nil:
		return err
	case step.Action == Create:
		_, err = b.ensureStream(ctx, want)
		return err
	case step.Consumer != "":
		return b.updateConsumer(ctx, step)
	}
	stream, err := b.js.Stream(ctx, step.Stream)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	patch(streamSettings(), &cfg, &want, step.Drifts)
	_, err = b.js.UpdateStream(ctx, cfg)
	return err
}

func (b *Bus) updateConsumer(ctx context.Context, step Step) error {
	consumer, err := b.js.Consumer(ctx, step.Stream, step.Consumer)
	if err != nil {
		return err
	}
	cfg := consumer.CachedInfo().Config
	want, known := knownConsumer(step.Stream, cfg)
	if !known {
		return jetstream.ErrConsumerNotFound
	}
	patch(consumerSettings(), &cfg, &want, step.Drifts)
	_, err = b.js.UpdateConsumer(ctx, step.Stream, cfg)
	return err
}

func (b *Bus) wanted(name string) (streamConfig, error) {
	all := b.streams()
	i := slices.IndexFunc(all, func(s streamConfig) bool { return s.Name == name })
	if i < 0 {
		return streamConfig{}, fmt.Errorf("no stream of Kindling is called %s", name)
	}
	return all[i], nil
}

// patch takes over the settings that drifted.
func patch[C any](settings []setting[C], have, want *C, drifts []Drift) {
	for _, s := range settings {
		if slices.ContainsFunc(drifts, func(d Drift) bool { return d.Setting == s.name }) {
			s.take(have, want)
		}
	}
}
