// Package app wires Kindling's processes, one file each. `kindling up`, the separate programs under cmd and the
// end-to-end tests all run the same wiring.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
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
}

// NewHost returns the host of a process that reads its store's address from the configuration.
func NewHost(cfg config.Config, log *slog.Logger) Host {
	registry := service.NewRegistry()
	return Host{
		Config: cfg, Log: log, Registry: registry, Health: service.NewHealth(registry, log), Metrics: NewMetrics(registry),
		NATS: bus.Config{URL: cfg.NATS.URL, CredsFile: cfg.NATS.CredsFile, TLSCAFile: cfg.NATS.TLSCAFile, Replicas: cfg.NATS.Replicas},
	}
}

// connect opens the process's bus, with every stream in place.
func (h Host) connect(ctx context.Context, name string) (*bus.Bus, error) {
	cfg := h.NATS
	cfg.Name, cfg.Log = name, h.Log.With("process", name)
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		return nil, service.WithExit(exitOf(err), fmt.Errorf("%s: %w", name, err))
	}
	if err := b.CheckRights(ctx); err != nil {
		b.Close()
		return nil, service.WithExit(exitOf(err), fmt.Errorf("%s: %w", name, err))
	}
	drifts, err := b.Ensure(ctx)
	if err != nil {
		b.Close()
		return nil, service.WithExit(exitOf(err), fmt.Errorf("%s: %w", name, err))
	}
	h.Metrics.drifts.Set(float64(len(drifts)))
	for _, d := range drifts {
		h.Log.WarnContext(ctx, "stream_differs", "stream", d.Stream, "setting", d.Setting, "want", d.Want, "have", d.Have)
	}
	h.Health.Ready("nats_"+name, b.Ready)
	return b, nil
}

// exitOf is the exit code of a process that cannot use the message store.
func exitOf(err error) int {
	if errors.Is(err, bus.ErrDenied) {
		return service.ExitPermission
	}
	return service.ExitUnavailable
}

// serve answers HTTP on address until ctx ends.
func (h Host) serve(ctx context.Context, what, address string, handler http.Handler) error {
	listener, err := service.Listen(ctx, address)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	h.Log.InfoContext(ctx, "listening", "what", what, "address", listener.Addr().String())
	ctx, stop := later(ctx, h.Notice)
	defer stop()
	if err := service.Serve(ctx, service.NewHTTPServer(handler), listener); err != nil && !errors.Is(err, service.ErrCutOff) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// later returns a context that ends d after ctx.
func later(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return ctx, func() {}
	}
	delayed, end := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return delayed, func() { forget(); end() }
}

// owner names this process in leases: no two running processes share it.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + strconv.Itoa(os.Getpid())
}
