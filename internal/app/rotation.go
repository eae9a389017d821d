package app

import (
	"context"
	"log/slog"
	"time"
)

// lookEvery is how often files of secrets are read again. What two looks in a row saw alike is taken over: ten seconds after it
// was written at the latest, and not while it is being written.
const lookEvery = 5 * time.Second

// rotation follows the files of one owner of credentials, and takes over what they hold. What the configuration refuses is not
// taken over: the old credentials may still do, and the new ones cannot.
type rotation[T any] struct {
	leg   string // on which the credentials are used
	read  func() (T, error)
	equal func(a, b T) bool
	use   func(ctx context.Context, fresh T) error
	held  T // in use

	last    T // of the last look, with its refusal
	refusal string
	looked  bool
	told    string // the refusal that was told last
}

// follower is a rotation of whatever credentials.
type follower interface {
	name() string
	look(ctx context.Context, log *slog.Logger) (refused bool)
}

func (r *rotation[T]) name() string { return r.leg }

// look reads the files once. refused tells that what they hold now cannot be used.
func (r *rotation[T]) look(ctx context.Context, log *slog.Logger) (refused bool) {
	switch fresh, settled := r.settle(); {
	case !settled:
	case r.refusal != "":
		if r.told != r.refusal {
			log.WarnContext(ctx, "secret_reload_failed", "leg", r.leg, "problem", r.refusal, "remedy", "correct the files; the old credentials are used until then")
		}
		r.told = r.refusal
	case r.equal(fresh, r.held):
		r.told = ""
	default:
		r.told = ""
		if err := r.use(ctx, fresh); err != nil {
			log.WarnContext(ctx, "secret_reload_failed", "leg", r.leg, "error", err)
			return true
		}
		r.held = fresh
		log.InfoContext(ctx, "secret_reloaded", "leg", r.leg)
	}
	return r.told != ""
}

// settle reads the files, and reports whether they say the same as a look before.
func (r *rotation[T]) settle() (fresh T, settled bool) {
	fresh, err := r.read()
	refusal := ""
	if err != nil {
		refusal = err.Error()
	}
	settled = r.looked && refusal == r.refusal && (err != nil || r.equal(fresh, r.last))
	r.last, r.refusal, r.looked = fresh, refusal, true
	return fresh, settled
}

// follow looks at the files of all followers until ctx ends.
func (h Host) follow(ctx context.Context, process string, all []follower) error {
	log := h.Log.With("process", process)
	for _, f := range all {
		h.Metrics.refused.WithLabelValues(f.name(), process).Set(0)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, f := range all {
			h.Metrics.refused.WithLabelValues(f.name(), process).Set(truth(f.look(ctx, log)))
		}
	}
}
