// Package bustest gives tests a real NATS server and a bus on it. Nothing in Kindling is tested against a mock of
// JetStream.
package bustest

import (
	"context"
	"log/slog"
	"testing"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
)

// Server starts a server on a temporary directory; it stops with the test. Its writes are not synced, because a test's
// data need not survive a power failure.
func Server(t testing.TB) *embed.Server {
	t.Helper()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), LazySync: true})
	if err != nil {
		t.Fatalf("start NATS: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop NATS: %v", err)
		}
	})
	return s
}

// Connect opens a bus on s, with every stream in place; it closes with the test.
func Connect(t testing.TB, s *embed.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(context.Background(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(b.Close)
	drifts, err := b.Ensure(context.Background())
	if err != nil {
		t.Fatalf("ensure streams: %v", err)
	}
	if len(drifts) > 0 {
		t.Fatalf("streams differ right after their creation: %v", drifts)
	}
	return b
}

// New is Server and Connect in one.
func New(t testing.TB) *bus.Bus {
	t.Helper()
	return Connect(t, Server(t))
}
