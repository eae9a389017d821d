package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/service"
)

// hostOn is a host whose store is a server in this process, and its log.
func hostOn(t *testing.T, lazy bool) (Host, jetstream.JetStream, *bytes.Buffer) {
	t.Helper()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), LazySync: lazy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	var log bytes.Buffer
	h := NewHost(config.Config{}, slog.New(slog.NewTextHandler(&log, nil)))
	h.NATS.InProcess = s
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return h, js, &log
}

func (h Host) tryConnect(ctx context.Context, name string) error {
	b, err := h.connect(ctx, name)
	if err == nil {
		b.Close()
	}
	return err
}

func alter(t *testing.T, js jetstream.JetStream, stream string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	change(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func TestAProcessRefusesAStoreWithUnsafeSettingsWithExit78(t *testing.T) {
	t.Parallel()
	h, js, log := hostOn(t, false)
	if err := h.tryConnect(t.Context(), "console"); err != nil {
		t.Fatal(err)
	}
	alter(t, js, "KV_grants", func(s *jetstream.StreamConfig) { s.AllowDirect = true })
	alter(t, js, "REGISTER", func(s *jetstream.StreamConfig) { s.MaxBytes, s.Discard = 1<<20, jetstream.DiscardOld })
	err := h.tryConnect(t.Context(), "console")
	if service.ExitCode(err) != service.ExitConfig || !errors.Is(err, bus.ErrUnfit) {
		t.Fatalf("exit code %d: %v", service.ExitCode(err), err)
	}
	for _, want := range []string{"KV_grants: allow_direct is true, expected false", "REGISTER: discard is old, expected new", "kindling store migrate"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if !strings.Contains(log.String(), "msg=stream_differs stream=REGISTER setting=max_bytes") {
		t.Errorf("what an operator may choose is not warned of:\n%s", log)
	}
}

func TestAProcessStartsOnAStoreWithTolerableSettings(t *testing.T) {
	t.Parallel()
	h, js, log := hostOn(t, false)
	if err := h.tryConnect(t.Context(), "console"); err != nil {
		t.Fatal(err)
	}
	alter(t, js, "CODE", func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 })
	if err := h.tryConnect(t.Context(), "console"); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "setting=max_bytes") {
		t.Errorf("log:\n%s", log)
	}
}

func TestAProcessRefusesAStoreThatDoesNotSyncUnlessAllowed(t *testing.T) {
	t.Parallel()
	h, js, log := hostOn(t, true)
	if err := h.tryConnect(t.Context(), "console"); service.ExitCode(err) != service.ExitConfig || !strings.Contains(err.Error(), "sync_interval: always") {
		t.Fatalf("exit code %d: %v", service.ExitCode(err), err)
	}
	if _, err := js.Stream(t.Context(), "KV_grants"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("streams were made on a store that is refused: %v", err)
	}
	h.NATS.Unsynced = true
	for _, name := range []string{"console", "token-worker"} {
		if err := h.tryConnect(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "store_examined"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	h := NewHost(config.Config{NATS: config.NATS{URL: "nats://127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	if err := h.tryConnect(t.Context(), "console"); service.ExitCode(err) != service.ExitUnavailable {
		t.Errorf("exit code %d: %v", service.ExitCode(err), err)
	}
}
