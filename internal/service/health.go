package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTime bounds one round of readiness checks. Probes of Kubernetes wait one second by
// default, so a check that hangs must be reported before that.
const checkTime = 900 * time.Millisecond

// Check says whether something this process itself needs is there. It must not ask third
// parties: a process is ready although Microsoft or Warmy is down.
type Check func(context.Context) error

// Health answers whether the process lives and whether it may be given work, and hands out
// its metrics. Make one with NewHealth; it may be used from any goroutine.
type Health struct {
	metrics http.Handler
	log     *slog.Logger

	mu       sync.Mutex
	names    []string
	checks   map[string]Check
	failing  map[string]bool // as last told to the log
	draining bool
}

// NewHealth makes a Health over the metrics of gatherer. Changes of readiness go to log.
func NewHealth(gatherer prometheus.Gatherer, log *slog.Logger) *Health {
	return &Health{
		metrics: promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{Timeout: 10 * time.Second}),
		log:     log,
		checks:  map[string]Check{},
		failing: map[string]bool{},
	}
}

// NewRegistry makes a registry that already holds the Go runtime's and the process's own metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Ready adds a check; a second one under the same name replaces the first.
func (h *Health) Ready(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.names, name) {
		h.names = append(h.names, name)
	}
	h.checks[name] = check
}

// Drain makes the process unready for good, so that balancers turn away before it stops.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Handler serves /livez, /readyz and /metrics, for the listener that is not public.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", h.Livez)
	mux.HandleFunc("GET /readyz", h.Readyz)
	mux.Handle("GET /metrics", h.metrics)
	return mux
}

// Livez answers 200 as long as the process can answer at all.
func (h *Health) Livez(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "ok\n")
}

// Readyz answers 200 when every check passes, 503 otherwise. It names the checks that fail
// but not why: the reason is in the log, where no stranger reads it.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	draining, names := h.draining, slices.Clone(h.names)
	h.mu.Unlock()
	if draining {
		answer(w, http.StatusServiceUnavailable, "stopping\n")
		return
	}
	failed := h.failed(r.Context(), names)
	if len(failed) > 0 {
		answer(w, http.StatusServiceUnavailable, "not ready: "+strings.Join(failed, ", ")+"\n")
		return
	}
	answer(w, http.StatusOK, "ok\n")
}

// failed runs all checks at once and returns the names of those that fail, in order.
func (h *Health) failed(ctx context.Context, names []string) []string {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() { results[i] = h.check(ctx, name) })
	}
	group.Wait()

	var failed []string
	for i, name := range names {
		h.tell(ctx, name, results[i])
		if results[i] != nil {
			failed = append(failed, name)
		}
	}
	return failed
}

// check runs one check and gives up on it when ctx ends, whatever the check does.
func (h *Health) check(ctx context.Context, name string) error {
	h.mu.Lock()
	run := h.checks[name]
	h.mu.Unlock()
	result := make(chan error, 1)
	go func() { result <- run(ctx) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("check: %w", ctx.Err())
	}
}

// tell logs a check's change between passing and failing, once.
func (h *Health) tell(ctx context.Context, name string, err error) {
	h.mu.Lock()
	changed := h.failing[name] != (err != nil)
	h.failing[name] = err != nil
	h.mu.Unlock()
	switch {
	case changed && err != nil:
		h.log.WarnContext(ctx, "not ready", "check", name, "error", err)
	case changed:
		h.log.InfoContext(ctx, "ready again", "check", name)
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the prober has gone: nobody is left to tell
}
