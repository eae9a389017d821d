package embed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// lookEvery is the first wait between two looks for room; every failed healing doubles it, up to lookAtMost.
	lookEvery  = time.Second
	lookAtMost = time.Minute
	// relapse is how soon after a healing a new failure counts as the same one.
	relapse = time.Minute
)

// health is what the server has said of its store.
type health struct {
	broken chan string // holds the first failed write that nobody has dealt with

	mu    sync.Mutex
	cause error // why JetStream is stopped; nil: it runs
}

func newHealth() *health { return &health{broken: make(chan string, 1)} }

// heard takes in one of the server's error messages. After a failed write nats-server 2.15 refuses every further one to
// that stream for ever, even with space again, does not answer its publishers, and confirms acknowledgements that are not
// on disk. It says so in its log and nowhere else at once.
func (h *health) heard(message string) {
	if !strings.Contains(strings.ToLower(message), "critical write error") {
		return
	}
	select {
	case h.broken <- message:
	default: // the store is already known to be broken
	}
}

// forget drops what a server said that has ended.
func (h *health) forget() {
	select {
	case <-h.broken:
	default:
	}
}

func (h *health) set(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause = cause
}

// Ready tells why the server does not store at present; nil when it does. It is what /readyz asks.
func (s *Server) Ready(context.Context) error {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	return s.health.cause
}

// watch heals the store after every failed write, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	wait, healed := lookEvery, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-s.health.broken:
			if time.Since(healed) > relapse {
				wait = lookEvery
			}
			wait = s.heal(ctx, message, wait)
			healed = time.Now()
		}
	}
}

// heal stops JetStream, so that publishers are refused instead of waiting for answers that never come, and starts another
// server on the same store when the disk takes writes. What was acknowledged is read back. It returns how long the next
// healing shall wait if it comes soon.
func (s *Server) heal(ctx context.Context, message string, wait time.Duration) time.Duration {
	began := time.Now()
	s.health.set(fmt.Errorf("%w: %s", ErrDisk, message))
	free, _ := freeBytes(s.opts.Dir)
	s.log.ErrorContext(ctx, "disk_full", "dir", s.opts.Dir, "free_bytes", free, "error", message,
		"remedy", "free space on the store's volume; work goes on by itself then")
	if err := s.NATS().ShutdownJetStream(); err != nil {
		s.log.WarnContext(ctx, "disk_heal_failed", "step", "stop JetStream", "error", err)
	}
	for pause(ctx, wait) {
		// nats-server can start JetStream within a running server, too. But that leaves the old one's subscriptions and
		// goroutines behind, and races with requests.
		err := s.Restart()
		if err == nil {
			s.health.set(nil)
			s.log.InfoContext(ctx, "disk_healed", "dir", s.opts.Dir, "stopped_for", time.Since(began).Round(time.Millisecond))
			return min(2*wait, lookAtMost)
		}
		s.health.set(err)
		if !errors.Is(err, ErrDisk) {
			wait = min(2*wait, lookAtMost)
			s.log.WarnContext(ctx, "disk_heal_failed", "step", "start the server", "error", err, "again_in", wait)
		}
	}
	return wait
}

// pause waits; false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
