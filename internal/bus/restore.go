package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// Half is what one kind of process may put right, because it alone writes the facts: handlers.RestoreGrants or
// handlers.RestoreRegistrations.
type Half interface {
	// Lost returns what the mailbox must have and has nowhere. It changes nothing.
	Lost(ctx context.Context, id mailbox.ID) (handlers.Loss, error)
	// Mend looks again, and saves what follows for the facts. What it returns is still to be published.
	Mend(ctx context.Context, id mailbox.ID) (handlers.Loss, error)
}

// Rescuer hears of everything that the second net has caught. how is from a closed set.
type Rescuer interface {
	Rescued(how string)
}

// RestoreConfig says how lost events are looked for.
type RestoreConfig struct {
	Half      Half
	Owner     string        // this process, for its lease
	Every     time.Duration // from the end of one walk to the next; 0: 10 min
	Confirm   time.Duration // from the first look to the second one, which decides; 0: 10 s
	PerSecond int           // requests to the store while walking; 0: 500
	Rescuer   Rescuer       // may be nil
	Timers    Timers        // of idle grants; nil: nobody is given any
}

const (
	defaultRestoreEvery     = 10 * time.Minute
	defaultRestoreConfirm   = 10 * time.Second
	defaultRestorePerSecond = 500
	// restoreRetry is how long a walk that was cut off by the store waits.
	restoreRetry = 30 * time.Second
	// requestsPerLook is what a look at a mailbox and at the streams costs, about; requestsForFacts what it costs to see
	// that a mailbox is registered, as most are.
	requestsPerLook  = 8
	requestsForFacts = 2
	// suspectsAtOnce bounds the mailboxes that wait for their second look.
	suspectsAtOnce = 1000
	// codesOfInterest is how far back lost codes are looked for. Their mailboxes are seen as lost without it.
	codesOfInterest = 48 * time.Hour
)

// RestoreGrants looks for lost codes, proofs and refreshes until ctx ends: one process of all at a time.
func (b *Bus) RestoreGrants(ctx context.Context, cfg RestoreConfig) error {
	return b.grantsRestorer(cfg).run(ctx)
}

// RestoreRegistrations looks for lost registrations and reconciles until ctx ends: one process of all at a time.
func (b *Bus) RestoreRegistrations(ctx context.Context, cfg RestoreConfig) error {
	return b.registrationsRestorer(cfg).run(ctx)
}

func (b *Bus) grantsRestorer(cfg RestoreConfig) *restorer {
	return b.restorer("grants", cfg, walk{bucketClaims, codesOfInterest, codeAnswered, false}, walk{bucketGrants, 0, grantOpen, true})
}

func (b *Bus) registrationsRestorer(cfg RestoreConfig) *restorer {
	return b.restorer("registrations", cfg, walk{bucketRegistrations, 0, registrationOpen, false})
}

// restorer walks the facts and restores what is lost.
type restorer struct {
	bus      *Bus
	cfg      RestoreConfig
	walks    []walk
	lease    lease
	suspects []mailbox.ID // lost at the first look
	full     bool         // the stream of timers has no room: no more are given in this pass
	debt     int          // requests that the pace has not paid for yet
}

func (b *Bus) restorer(name string, cfg RestoreConfig, walks ...walk) *restorer {
	if cfg.Every == 0 {
		cfg.Every = defaultRestoreEvery
	}
	if cfg.Confirm == 0 {
		cfg.Confirm = defaultRestoreConfirm
	}
	if cfg.PerSecond == 0 {
		cfg.PerSecond = defaultRestorePerSecond
	}
	return &restorer{bus: b, cfg: cfg, walks: walks, lease: lease{kv: kv{b, bucketControl}, key: "restore." + name, owner: cfg.Owner}}
}

func (r *restorer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		rest(ctx, r.turn(ctx))
	}
	return nil
}

// turn does a walk if it is time for one and nobody else is at it. It returns how long to wait for the next turn.
func (r *restorer) turn(ctx context.Context) time.Duration {
	wait, err := r.lease.take(ctx, r.cfg.Every)
	if err != nil || wait > 0 {
		r.failed(ctx, err)
		return max(wait, time.Second)
	}
	err = r.pass(ctx)
	r.failed(ctx, err)
	r.failed(ctx, r.lease.release(ctx, err == nil))
	if err != nil {
		return restoreRetry
	}
	return r.cfg.Every
}

func (r *restorer) failed(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, handlers.ErrConflict) { // a conflict: somebody else was at work on it meanwhile, so nothing was lost
		r.bus.log.WarnContext(ctx, "restore_interrupted", "lease", r.lease.key, "error", err)
	}
}

func (r *restorer) pass(ctx context.Context) error {
	r.suspects, r.full = nil, false
	for _, w := range r.walks {
		if err := r.walk(ctx, w); err != nil {
			return err
		}
	}
	return r.mend(ctx)
}

// walk looks at every mailbox whose fact is in the bucket now: value by value, at the configured pace, so that neither
// memory nor the server notices how many there are.
func (r *restorer) walk(ctx context.Context, w walk) error {
	stream, err := r.bus.js.Stream(ctx, "KV_"+w.bucket)
	if err != nil {
		return fmt.Errorf("walk %s: %w: %w", w.bucket, ErrUnavailable, err)
	}
	state, filter := stream.CachedInfo().State, "$KV."+w.bucket+"."
	seq := state.FirstSeq
	if w.back > 0 {
		if seq, err = firstSince(ctx, stream, filter+">", time.Now().Add(-w.back)); err != nil {
			return err
		}
	}
	for seq <= state.LastSeq { // what is written meanwhile has moved, and has time until the next walk
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk %s: %w: %w", w.bucket, ErrUnavailable, err)
		}
		if err := r.spend(ctx, 1); err != nil {
			return err
		}
		if err := r.visit(ctx, w, strings.TrimPrefix(msg.Subject, filter), msg.Data); err != nil {
			return err
		}
		seq = msg.Sequence + 1
	}
	return nil
}

// visit does what the walk is for.
func (r *restorer) visit(ctx context.Context, w walk, id mailbox.ID, value []byte) error {
	if !w.open(value) {
		return nil
	}
	if w.timers {
		if err := r.giveTimer(ctx, id, value); err != nil {
			return err
		}
	}
	return r.look(ctx, id)
}

// look remembers a mailbox whose event is nowhere, for the second look.
func (r *restorer) look(ctx context.Context, id mailbox.ID) error {
	if err := r.spend(ctx, requestsForFacts); err != nil {
		return err
	}
	loss, err := r.cfg.Half.Lost(ctx, id)
	if err != nil {
		return r.skip(ctx, id, err)
	}
	if loss.Asked {
		err = r.spend(ctx, requestsPerLook-requestsForFacts)
	}
	if err != nil || !loss.Missing() || slices.Contains(r.suspects, id) {
		return err // a mailbox may be met in two buckets
	}
	if r.suspects = append(r.suspects, id); len(r.suspects) < suspectsAtOnce {
		return nil
	}
	return r.mend(ctx)
}

// skip leaves a mailbox to the next walk, unless it is the store that fails.
func (r *restorer) skip(ctx context.Context, id mailbox.ID, err error) error {
	if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, handlers.ErrConflict) {
		r.bus.log.WarnContext(ctx, "mailbox_not_examined", "mailbox", id, "error", err)
	}
	return nil
}

// mend looks at the suspects once more and restores what is still missing. An event that was on its way from one stream
// to another has arrived by now.
func (r *restorer) mend(ctx context.Context) error {
	if len(r.suspects) == 0 {
		return nil
	}
	rest(ctx, r.cfg.Confirm)
	for _, id := range r.suspects {
		if err := r.spend(ctx, requestsPerLook); err != nil {
			return err
		}
		loss, err := r.cfg.Half.Mend(ctx, id)
		if err == nil && loss.Missing() {
			err = r.restore(ctx, id, loss)
		}
		if err != nil {
			if err := r.skip(ctx, id, err); err != nil {
				return err
			}
		}
	}
	r.suspects = r.suspects[:0]
	return nil
}

// restore publishes what was lost. It says so only if it was not there: another process may have been quicker.
func (r *restorer) restore(ctx context.Context, id mailbox.ID, loss handlers.Loss) (err error) {
	fresh := true
	switch loss.Due.Remedy {
	case mailbox.Reissue:
		fresh, err = r.bus.reissue(ctx, loss.Event)
	case mailbox.RestoreLetter:
		fresh, err = r.bus.restoreLetter(ctx, loss)
	case mailbox.LoseConsent, mailbox.NothingDue:
	}
	if err != nil || !fresh {
		return err
	}
	r.bus.log.WarnContext(ctx, "event_restored", "mailbox", id, "kind", loss.Due.Kind, "remedy", loss.Due.Remedy, "since", loss.Due.Since)
	if r.cfg.Rescuer != nil {
		r.cfg.Rescuer.Rescued(string(loss.Due.Remedy))
	}
	return nil
}

// spend keeps the pace and the lease.
func (r *restorer) spend(ctx context.Context, requests int) error {
	r.debt += requests
	if slice := max(1, r.cfg.PerSecond/20); r.debt >= slice {
		rest(ctx, time.Duration(r.debt)*time.Second/time.Duration(r.cfg.PerSecond))
		r.debt = 0
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.lease.keep(ctx)
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
