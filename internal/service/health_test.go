package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ask calls path on h and returns status and body.
func ask(h *Health, method, path string) (int, string) {
	rec := httptest.NewRecorder()
	h.Handler().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec.Code, rec.Body.String()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestAProcessIsReadyWhenAllItsChecksPass(t *testing.T) {
	t.Parallel()
	h := NewHealth(NewRegistry(), quiet())
	if code, body := ask(h, http.MethodGet, "/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("without checks: %d %q", code, body)
	}
	var broken atomic.Bool
	h.Ready("keys", func(context.Context) error { return nil })
	h.Ready("nats", func(context.Context) error {
		if broken.Load() {
			return errors.New("no servers: " + canary)
		}
		return nil
	})
	if code, _ := ask(h, http.MethodGet, "/readyz"); code != 200 {
		t.Errorf("with passing checks: %d", code)
	}
	broken.Store(true)
	if code, body := ask(h, http.MethodGet, "/readyz"); code != 503 || body != "not ready: nats\n" {
		t.Errorf("with a failing check: %d %q", code, body)
	}
	if code, body := ask(h, http.MethodGet, "/livez"); code != 200 || body != "ok\n" {
		t.Errorf("alive though not ready: %d %q", code, body)
	}
	h.Ready("nats", func(context.Context) error { return nil })
	if code, _ := ask(h, http.MethodGet, "/readyz"); code != 200 {
		t.Errorf("with the check replaced: %d", code)
	}
}

func TestAProcessThatStopsIsNotReady(t *testing.T) {
	t.Parallel()
	h := NewHealth(NewRegistry(), quiet())
	h.Drain()
	if code, body := ask(h, http.MethodGet, "/readyz"); code != 503 || body != "stopping\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := ask(h, http.MethodGet, "/livez"); code != 200 {
		t.Errorf("livez: %d, a process that drains must not be killed", code)
	}
}

func TestACheckThatHangsFailsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := NewHealth(NewRegistry(), quiet())
		h.Ready("deaf", func(context.Context) error { <-release; return nil })
		h.Ready("fine", func(context.Context) error { return nil })
		begin := time.Now()
		code, body := ask(h, http.MethodGet, "/readyz")
		if took := time.Since(begin); code != 503 || body != "not ready: deaf\n" || took > time.Second {
			t.Errorf("%d %q after %v", code, body, took)
		}
		close(release)
		synctest.Wait()
	})
}

func TestOnlyChangesOfReadinessAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	h := NewHealth(NewRegistry(), slog.New(Redact(slog.NewTextHandler(&out, nil))))
	var broken atomic.Bool
	h.Ready("nats", func(context.Context) error {
		if broken.Load() {
			return errors.New("dial nats://u:" + canary + "@h: refused")
		}
		return nil
	})
	for _, state := range []bool{false, true, true, true, false, false} {
		broken.Store(state)
		ask(h, http.MethodGet, "/readyz")
	}
	log := out.String()
	if strings.Count(log, "not ready") != 1 || strings.Count(log, "ready again") != 1 || strings.Contains(log, canary) {
		t.Errorf("log:\n%s", log)
	}
}

func TestMetricsOfTheGivenRegistryAreServed(t *testing.T) {
	t.Parallel()
	registry := NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "kindling_test_total", Help: "x"})
	registry.MustRegister(counter)
	counter.Add(3)
	code, body := ask(NewHealth(registry, quiet()), http.MethodGet, "/metrics")
	for _, want := range []string{"kindling_test_total 3\n", "go_goroutines", "process_open_fds"} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, %s is missing", code, want)
		}
	}
}

func TestHealthAnswersOnlyWhatItIsFor(t *testing.T) {
	t.Parallel()
	h := NewHealth(NewRegistry(), quiet())
	for path, want := range map[string]int{"POST /livez": 405, "POST /metrics": 405, "GET /": 404, "GET /debug/pprof/": 404, "HEAD /readyz": 200} {
		method, p, _ := strings.Cut(path, " ")
		if code, _ := ask(h, method, p); code != want {
			t.Errorf("%s = %d, want %d", path, code, want)
		}
	}
}
