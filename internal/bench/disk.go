package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	probeEvery = 100 * time.Millisecond
	probeBytes = 4 << 10
)

// watchDisk appends and syncs a little all the time, where a store would, until ctx ends, and returns how long that took at
// most. A bench with sync always can wait no shorter than the disk does, and on a shared machine that is others' doing: a
// file that grows waits for all that the file system has to write.
func watchDisk(ctx context.Context) (longest time.Duration, err error) {
	file, err := os.CreateTemp("", "kindling-bench-sync-")
	if err != nil {
		return 0, fmt.Errorf("watch the disk: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	for data := make([]byte, probeBytes); ctx.Err() == nil; pause(ctx, probeEvery) {
		began := time.Now()
		if _, err := file.Write(data); err != nil {
			return longest, fmt.Errorf("watch the disk: %w", err)
		}
		if err := file.Sync(); err != nil {
			return longest, fmt.Errorf("watch the disk: %w", err)
		}
		longest = max(longest, time.Since(began))
	}
	return longest, nil
}
