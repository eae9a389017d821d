package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A server on a full volume stays connected and answers questions, but not publishers: nats-server 2.15 leaves a publish
// whose write failed without an answer, for ever, with space again too, until it is restarted. In a cluster it stops
// JetStream. So a connection proves nothing, and this process remembers whether what it published was stored.

// ErrNotStoring means that the server is there and does not store. Its text names the likely cause and the remedy.
var ErrNotStoring = errors.New("NATS is connected but does not store: is the volume of its store full? " +
	"Free space on it, then restart nats-server (docs/runbooks/stream-nearly-full.md)")

// storingMemory is how long an unstored publish keeps the process unready when nothing is stored after it. It must end by
// itself: a process that is not ready may get no work that could prove the store.
const storingMemory = 15 * time.Second

// electionTime is how long a cluster may take to find the next leader of a stream, which takes no publish meanwhile. Were
// its clients unready at once, a balancer would turn owners away for longer than the cluster does.
const electionTime = 10 * time.Second

// storing is whether the server stores what this process publishes.
type storing struct {
	log   *slog.Logger
	now   func() time.Time
	grace time.Duration // how long publishes may fail in a row before it is an alarm

	mu     sync.Mutex
	since  time.Time // of the first publish in a row that was not stored
	failed time.Time // of the last one; zero: it was stored
	told   bool
	cause  error
}

// newStoring returns the memory of a process that knows so many servers.
func newStoring(log *slog.Logger, servers int) *storing {
	s := &storing{log: log, now: time.Now}
	if servers > 1 {
		s.grace = electionTime
	}
	return s
}

// saw takes in how a publish ended. connected tells a server that is silent from one that is gone.
func (s *storing) saw(ctx context.Context, err error, connected bool) {
	if err != nil && (!connected || !unstored(err)) {
		return // refused for a reason of its own, or nobody was there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		if s.told {
			s.log.InfoContext(ctx, "store_takes_again")
		}
		s.failed, s.cause, s.told = time.Time{}, nil, false
		return
	}
	now := s.now()
	if s.failed.IsZero() || now.Sub(s.failed) > storingMemory {
		s.since, s.told = now, false
	}
	s.failed, s.cause = now, err
	if !s.told && now.Sub(s.since) >= s.grace {
		s.told = true
		s.log.ErrorContext(ctx, "store_does_not_take", "error", err, "remedy", "free space on the server's volume, then restart nats-server")
	}
}

// current is why the process is not ready; nil when the last publish was stored, or long ago, or the alarm is not due.
func (s *storing) current() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told || s.now().Sub(s.failed) > storingMemory {
		return nil
	}
	return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrNotStoring, s.cause)
}

// unstored tells silence, and the refusal for want of storage, from every other error.
func unstored(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == codeNoResources
	}
	if errors.Is(err, ErrDenied) {
		return false
	}
	for _, silence := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout,
	} {
		if errors.Is(err, silence) {
			return true
		}
	}
	return false
}
