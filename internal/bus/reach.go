package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A server of a cluster that has lost the others still keeps its clients and answers their pings, but can store nothing.
// Nothing in the protocol tells its clients, so each process notices by itself that its writes find no answer, and goes
// to another server.

const (
	// pingEvery and pingsOut bound how long a server can be silent before its clients leave it: three pings.
	pingEvery = 2 * time.Second
	pingsOut  = 2
	// dialTimeout bounds one attempt to connect to one server, during which nothing can be sent.
	dialTimeout = 3 * time.Second
	// patience is how long nothing may be answered before the server is left. An election among the others takes up to
	// nine seconds, so a process that leaves is rarely wrong to do so, and never the worse for it.
	patience = 3 * time.Second
	// longestPatience is how long it is when no server answers: going from one to the next does not help then.
	longestPatience = 30 * time.Second
	// callEvery is how often a process that may have nothing to write asks for an answer.
	callEvery = 5 * time.Second
)

// silence measures for how long questions have found no answer.
type silence struct {
	mu    sync.Mutex
	open  int       // questions under way
	since time.Time // the first one without an answer, and without an answered one after it; zero: none
}

func (s *silence) asked(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	if s.since.IsZero() {
		s.since = now
	}
}

// ended takes the end of a question. A refusal is an answer, too; that the asker did not wait for it says nothing.
func (s *silence) ended(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	switch {
	case unanswered(err):
	case errors.Is(err, context.Canceled) && s.open > 0:
	case s.open > 0:
		s.since = now
	default:
		s.since = time.Time{}
	}
}

// lasts returns for how long there has been no answer.
func (s *silence) lasts(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0
	}
	return now.Sub(s.since)
}

// forget begins anew: what was asked before is no news of the server that is asked now.
func (s *silence) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Time{}
	if s.open > 0 {
		s.since = now
	}
}

func unanswered(err error) bool {
	for _, silent := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout,
	} {
		if errors.Is(err, silent) {
			return true
		}
	}
	return false
}

// reach watches whether this process's server can still reach the others.
type reach struct {
	writes silence
	calls  silence
	end    context.CancelFunc
	done   chan struct{}
}

// watch leaves a server that does not answer for patience, until the bus is closed. With a single server there is
// nowhere to go.
func (b *Bus) watch(patience time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	b.reach.end, b.reach.done = cancel, make(chan struct{})
	if len(b.nc.Servers()) < 2 {
		close(b.reach.done)
		return
	}
	go func() {
		defer close(b.reach.done)
		var calling sync.WaitGroup
		defer calling.Wait()
		calling.Go(func() { b.callOut(ctx) })
		b.leaveSilent(ctx, patience)
	}()
}

func (b *Bus) leaveSilent(ctx context.Context, patience time.Duration) {
	tick := time.NewTicker(patience / 10)
	defer tick.Stop()
	wait := patience
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		lasts := max(b.reach.writes.lasts(now), b.reach.calls.lasts(now))
		switch {
		case !b.nc.IsConnected():
			b.reach.forget(now) // it is on its way to another one already
		case lasts == 0:
			wait = patience
		case lasts >= wait:
			b.log.WarnContext(ctx, "nats_server_left", "server", b.nc.ConnectedServerName(), "silent_for", lasts)
			if err := b.nc.ForceReconnect(); err != nil {
				b.log.WarnContext(ctx, "nats_reconnect_failed", "error", err)
			}
			b.reach.forget(now)
			wait = min(2*wait, max(patience, longestPatience))
		}
	}
}

func (r *reach) forget(now time.Time) {
	r.writes.forget(now)
	r.calls.forget(now)
}

// callOut asks for something that only the leader of all servers knows, so that a process that waits for work leaves a
// server that will never have any.
func (b *Bus) callOut(ctx context.Context) {
	tick := time.NewTicker(callEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		asking, cancel := context.WithTimeout(ctx, patience)
		b.reach.calls.asked(time.Now())
		_, err := b.js.AccountInfo(asking)
		cancel()
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrDenied) {
			err = context.DeadlineExceeded // a server that says it knows no leader has not answered
		}
		b.reach.calls.ended(time.Now(), err)
	}
}

func (r *reach) close() {
	r.end()
	<-r.done
}
