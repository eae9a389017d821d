package leg

import (
	"context"
	"sync/atomic"
)

// Witness hears how the leg's dependency answered while one event was handled. What a handler returns does not tell: it
// may have concluded a failed call by itself, or may never have asked.
type Witness struct{ answered, failed atomic.Int32 }

type witnessKey struct{}

// Watch returns a context under which Asked reports to the returned Witness.
func Watch(ctx context.Context) (context.Context, *Witness) {
	w := new(Witness)
	return context.WithValue(ctx, witnessKey{}, w), w
}

// Asked says that the dependency was asked. outage tells that it did not answer, or with a failure of its own (5xx,
// time-out, broken connection): anything else proves that it is up. Adaptors call it once for every request.
func Asked(ctx context.Context, outage bool) {
	w, ok := ctx.Value(witnessKey{}).(*Witness)
	switch {
	case !ok:
	case outage:
		w.failed.Add(1)
	default:
		w.answered.Add(1)
	}
}

// Answered reports whether the dependency was asked, and answered every time.
func (w *Witness) Answered() bool { return w.answered.Load() > 0 && w.failed.Load() == 0 }

// Failed reports whether the dependency was asked and failed.
func (w *Witness) Failed() bool { return w.failed.Load() > 0 }

type probeKey struct{}

// Probe returns a context that says that what is done in it finds out whether the leg's dependency is back.
func Probe(ctx context.Context) context.Context { return context.WithValue(ctx, probeKey{}, true) }

// IsProbe reports whether ctx says so. An adaptor asks first in a way that has no effect then.
func IsProbe(ctx context.Context) bool {
	probe, _ := ctx.Value(probeKey{}).(bool)
	return probe
}

type begunKey struct{}

// Begun returns a context for a call whose turn had come, and which must wait for another one: what it has begun already
// must not wait long.
func Begun(ctx context.Context) context.Context { return context.WithValue(ctx, begunKey{}, true) }

// IsBegun reports whether ctx says so.
func IsBegun(ctx context.Context) bool {
	begun, _ := ctx.Value(begunKey{}).(bool)
	return begun
}
