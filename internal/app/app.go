// Package app wires Kindling's processes, one file each. `kindling up`, the separate programs under cmd and the
// end-to-end tests all run the same wiring.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/service"
)

// Host is what a process stands on.
type Host struct {
	Config   config.Config
	NATS     bus.Config // how to reach the message store; its Name and Log are set by the process
	Log      *slog.Logger
	Registry *prometheus.Registry
	Health   *service.Health // readiness of this process; shared when several run in one
	Metrics  *Metrics
	Notice   time.Duration // how long HTTP is still served after the process has become unready to stop

	told *told
}

// told remembers what has been said of the store: several processes in one need not say it each.
type told struct {
	mu   sync.Mutex
	said map[bus.Finding]bool
}

// say logs a finding that does not stop the process, once.
func (t *told) say(ctx context.Context, log *slog.Logger, f bus.Finding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said[f] || f.Severity == bus.Unsafe {
		return
	}
	t.said[f] = true
	level := slog.LevelWarn
	if f.Severity == bus.Note {
		level = slog.LevelInfo
	}
	log.Log(ctx, level, "store_examined", "finding", f.What, "remedy", f.Remedy)
}

// NewHost returns the host of a process that reads its store's address from the configuration.
func NewHost(cfg config.Config, log *slog.Logger) Host {
	registry := service.NewRegistry()
	return Host{
		Config: cfg, Log: log, Registry: registry, told: &told{said: map[bus.Finding]bool{}}, Health: service.NewHealth(registry, log), Metrics: NewMetrics(registry),
		NATS: bus.Config{
			URL: cfg.NATS.URL, CredsFile: cfg.NATS.CredsFile, TLSCAFile: cfg.NATS.TLSCAFile, Replicas: cfg.NATS.Replicas,
			Monitor: cfg.NATS.MonitoringURL, Unsynced: cfg.NATS.AllowUnsynced,
		},
	}
}

// connect opens the process's bus, with every stream in place.
func (h Host) connect(ctx context.Context, name string) (*bus.Bus, error) {
	cfg := h.NATS
	cfg.Name, cfg.Log, cfg.Denied = name, h.Log.With("process", name), h.Metrics.denied.Inc
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		return nil, withExit(fmt.Errorf("%s: %w", name, err))
	}
	if err := b.CheckRights(ctx); err != nil {
		b.Close()
		return nil, withExit(fmt.Errorf("%s: %w", name, err))
	}
	if err := h.examine(ctx, b); err != nil {
		b.Close()
		return nil, withExit(fmt.Errorf("%s: %w", name, err))
	}
	h.Health.Ready("nats_"+name, b.Ready)
	return b, nil
}

// examine makes the streams that are missing, and refuses a store on which a promise would not hold.
func (h Host) examine(ctx context.Context, b *bus.Bus) error {
	found, err := b.Inspect(ctx)
	if err != nil {
		return err
	}
	for _, f := range found {
		h.told.say(ctx, h.Log, f)
	}
	if err := bus.Unfit(found); err != nil {
		return err
	}
	drifts, err := b.Ensure(ctx)
	if err != nil {
		return err
	}
	h.Metrics.drifts.Set(float64(len(drifts)))
	for _, d := range drifts {
		if d.Severity == bus.Tolerated {
			h.Log.WarnContext(ctx, "stream_differs", "stream", d.Stream, "setting", d.Setting, "want", d.Want, "have", d.Have)
		}
	}
	return bus.Unfit(bus.Findings(drifts))
}

// withExit gives an error of the store the exit code that tells whether waiting can help, and who else can.
func withExit(err error) error {
	switch {
	case errors.Is(err, bus.ErrDenied):
		return service.WithExit(service.ExitPermission, err)
	case errors.Is(err, bus.ErrUnfit):
		return service.WithExit(service.ExitConfig, err)
	}
	return service.WithExit(service.ExitUnavailable, err)
}

// serve answers HTTP on address until ctx ends.
func (h Host) serve(ctx context.Context, what, address string, handler http.Handler) error {
	listener, err := service.Listen(ctx, address)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	h.Log.InfoContext(ctx, "listening", "what", what, "address", listener.Addr().String())
	ctx, stop := delayed(ctx, h.Notice)
	defer stop()
	if err := service.Serve(ctx, service.NewHTTPServer(handler), listener); err != nil && !errors.Is(err, service.ErrCutOff) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// delayed returns a context that ends d after ctx.
func delayed(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return ctx, func() {}
	}
	after, end := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return after, func() { forget(); end() }
}

// owner names a process in leases: no two share it, or both could send one code. Host and number tell an operator which
// one it is, but in containers that share a host's name every process may have number 1.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + strconv.Itoa(os.Getpid()) + "/" + rand.Text()[:8]
}
