//go:build unix

package service

import (
	"context"
	"log/slog"
	"syscall"
)

// enoughFiles is the number of open files below which connections would be refused under load.
const enoughFiles = 1024

// limitProcess forbids core files, which would hold every secret in memory, and warns when
// the process may open too few files. Neither stops a start: a sandbox may forbid the call.
func limitProcess(ctx context.Context, log *slog.Logger) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		log.WarnContext(ctx, "core files not forbidden", "error", err)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < enoughFiles {
		log.WarnContext(ctx, "few open files allowed", "limit", files.Cur, "want", enoughFiles)
	}
}
