package app

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/config"
	"kindling/internal/service"
)

// guarded is a server with the users of deployments/nats/users.conf, without the lines that hold one of the texts.
func guarded(t *testing.T, without ...string) *bustest.Guarded {
	t.Helper()
	text, err := os.ReadFile("../../deployments/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := string(text)
	for _, w := range without {
		line := `          "` + w + "\"\n"
		if !strings.Contains(conf, line) {
			t.Fatalf("users.conf has no line for %s", w)
		}
		conf = strings.ReplaceAll(conf, line, "")
	}
	return bustest.NewGuarded(t, []byte(conf))
}

func TestAProcessWithTooFewRightsDoesNotStart(t *testing.T) {
	t.Parallel()
	g := guarded(t, "kindling.register.>", "$JS.API.CONSUMER.MSG.NEXT.CODE.*")
	host := func(process string) Host {
		h := NewHost(config.Config{}, slog.New(slog.DiscardHandler))
		h.NATS = g.As(process)
		return h
	}
	connect := func(process string) error {
		b, err := host(process).connect(context.Background(), process)
		if err == nil {
			b.Close()
		}
		return err
	}
	if _, err := g.Connect(bus.ProcessAdmin).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := connect(bus.ProcessTokenWorker)
	if code := service.ExitCode(err); code != service.ExitPermission {
		t.Errorf("exit code %d, want %d: %v", code, service.ExitPermission, err)
	}
	for _, missing := range []string{"token-worker", `"kindling.register.>"`, `"$JS.API.CONSUMER.MSG.NEXT.CODE.*"`} {
		if err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("error is %v, want it to say %s", err, missing)
		}
	}
	if err := connect(bus.ProcessEdge); err != nil {
		t.Errorf("callback-ingest has its rights and does not start: %v", err)
	}
}
