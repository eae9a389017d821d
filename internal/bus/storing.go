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

// storing is whether the server stores what this process publishes.
type storing struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	failed time.Time // of the last publish that was not stored; zero: it was
	cause  error
}

func newStoring(log *slog.Logger) *storing { return &storing{log: log, now: time.Now} }

// saw takes in how a publish ended. connected tells a server that is silent from one that is gone.
func (s *storing) saw(ctx context.Context, err error, connected bool) {
	if err != nil && (!connected || !unstored(err)) {
		return // refused for a reason of its own, or nobody was there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := !s.failed.IsZero()
	if err == nil {
		s.failed, s.cause = time.Time{}, nil
		if before {
			s.log.InfoContext(ctx, "store_takes_again")
		}
		return
	}
	s.failed, s.cause = s.now(), err
	if !before {
		s.log.ErrorContext(ctx, "store_does_not_take", "error", err, "remedy", "free space on the server's volume, then restart nats-server")
	}
}

// current is why the process is not ready; nil when the last publish was stored, or long ago.
func (s *storing) current() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed.IsZero() || s.now().Sub(s.failed) > storingMemory {
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
