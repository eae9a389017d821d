// Package bustest gives tests a real NATS server and a bus on it. Nothing in Kindling is tested against a mock of
// JetStream.
package bustest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
)

// Server starts a server on a temporary directory; it stops with the test. Its writes are not synced, because a test's
// data need not survive a power failure.
func Server(tb testing.TB) *embed.Server {
	tb.Helper()
	s, err := embed.Start(embed.Options{Dir: tb.TempDir(), LazySync: true})
	if err != nil {
		tb.Fatalf("start NATS: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stop NATS: %v", err)
		}
	})
	return s
}

// Connect opens a bus on s, with every stream in place; it closes with the test.
func Connect(tb testing.TB, s *embed.Server) *bus.Bus {
	tb.Helper()
	return ConnectAt(tb, s, nil)
}

// ConnectAt is Connect for a process whose clock may be wrong.
func ConnectAt(tb testing.TB, s *embed.Server, clock func() time.Time) *bus.Bus {
	tb.Helper()
	b, err := bus.Connect(context.Background(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.DiscardHandler), Clock: clock})
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	tb.Cleanup(b.Close)
	drifts, err := b.Ensure(context.Background())
	if err != nil {
		tb.Fatalf("ensure streams: %v", err)
	}
	if len(drifts) > 0 {
		tb.Fatalf("streams differ right after their creation: %v", drifts)
	}
	return b
}

// New is Server and Connect in one.
func New(tb testing.TB) *bus.Bus {
	tb.Helper()
	return Connect(tb, Server(tb))
}
