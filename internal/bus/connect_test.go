package bus_test

import (
	"log/slog"
	"strings"
	"testing"

	"kindling/internal/bus"
)

func TestAnAddressThatDoesNotAnswerIsNamedWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"nats://worker:canary@127.0.0.1:1":               "at 127.0.0.1:1 (nats.url)",
		"nats://canary@127.0.0.1:1, nats://127.0.0.1:2/": "at 127.0.0.1:1, 127.0.0.1:2 (nats.url)",
		"127.0.0.1:1":                         "at 127.0.0.1:1 (nats.url)",
		"nats://worker:canary%zz@127.0.0.1:1": "at an address that cannot be read (nats.url)",
	} {
		_, err := bus.Connect(t.Context(), bus.Config{URL: address, Name: "test", Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
