package bus

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// turn lets one process of all take from a lane at a time. What one of them learns then serves the whole lane: of Warmy's
// listing there is one copy, not one in each process. It is a matter of cost alone. A process that was paused over the
// end of its turn may work on beside the next one, and a build that knows no turns pulls all the time.
type turn struct {
	lease lease
	mine  bool
}

// turnKey is where the turns at a lane's leg are kept in the control bucket.
func turnKey(lane events.Lane, leg string) string { return "turn." + string(lane) + "." + leg }

// turn is the worker's at its lane; nil when all processes take from it.
func (w *worker) turn() *turn {
	if !w.lane.Single {
		return nil
	}
	return &turn{lease: lease{kv: kv{w.bus, bucketControl}, key: turnKey(w.lane.Lane, w.lane.Leg), owner: w.cfg.Owner, life: w.cfg.Turn}}
}

// begins reports whether it is this process's turn from now on. A nil turn never ends.
func (t *turn) begins(ctx context.Context) bool {
	if t == nil || t.mine {
		return t.lasts(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	wait, err := t.lease.take(ctx, 0)
	t.mine = err == nil && wait == 0
	return t.mine
}

// lasts reports whether it still is this process's turn, and prolongs it. What NATS does not answer ends no turn before
// its time: the others cannot take it either.
func (t *turn) lasts(ctx context.Context) bool {
	if t == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	t.mine = !errors.Is(t.lease.keep(ctx), errLeaseLost)
	return t.mine
}

// ends gives the turn to whoever asks next. If that fails it ends by itself.
func (t *turn) ends(ctx context.Context) {
	if t != nil && t.mine {
		t.mine = false
		_ = t.lease.release(ctx, false)
	}
}

// turns begins or ends the pulling, as the turn has it. What was taken in a turn is handled to its end; what lies ready
// is taken, for which nobody waits: there may be no place for it yet.
func (s *subscription) turns(cons jetstream.Consumer, consuming jetstream.ConsumeContext) jetstream.ConsumeContext {
	switch {
	case consuming == nil && s.sub.turn.begins(s.ctx):
		return s.anew(cons)
	case consuming != nil && !s.sub.turn.lasts(s.ctx):
		consuming.Drain()
		return nil
	}
	return consuming
}

// halt stops pulling at the end of a subscription; what lies ready passes take, which gives it back.
func halt(consuming jetstream.ConsumeContext) {
	if consuming != nil {
		consuming.Drain()
		<-consuming.Closed()
	}
}

// closed is closed when nats.go has given up; never while nothing is pulled.
func closed(consuming jetstream.ConsumeContext) <-chan struct{} {
	if consuming == nil {
		return nil
	}
	return consuming.Closed()
}
