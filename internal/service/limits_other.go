//go:build !unix

package service

import (
	"context"
	"log/slog"
)

// limitProcess does nothing where there are no resource limits.
func limitProcess(context.Context, *slog.Logger) {}
