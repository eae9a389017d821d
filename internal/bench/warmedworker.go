package bench

import (
	"context"
	"io"
	"log/slog"
	"time"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/service"
)

// workWarmed is a warmy-worker until ctx or the input ends. Its clock may be wrong, or be set while it works.
func workWarmed(ctx context.Context, env service.Env, cfg config.Config, clock wrongTime) error {
	ctx, stop := untilOrphaned(ctx, env.Stdin)
	defer stop()
	host := app.NewHost(cfg, slog.New(slog.DiscardHandler))
	began := time.Now()
	host.NATS.Clock = func() time.Time {
		if time.Since(began) < clock.after {
			return time.Now()
		}
		return time.Now().Add(clock.by)
	}
	if _, err := io.WriteString(env.Stdout, "{}\n"); err != nil {
		return err
	}
	return app.WarmyWorker(ctx, host)
}
