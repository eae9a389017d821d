package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Writes counts what this store was asked to put on disk since its streams exist.
type Writes struct {
	Stored uint64 // messages: events, facts, dead letters, timers
	Acked  uint64 // work-queue messages removed by their acknowledgement
}

// Writes returns the counts as of now. On a server that syncs always, each of them waited for the disk.
func (b *Bus) Writes(ctx context.Context) (Writes, error) {
	var w Writes
	for _, cfg := range b.streams() {
		stream, err := b.js.Stream(ctx, cfg.Name)
		if err != nil {
			return Writes{}, fmt.Errorf("count writes of %s: %w", cfg.Name, err)
		}
		state := stream.CachedInfo().State
		w.Stored += state.LastSeq
		if cfg.Retention == jetstream.WorkQueuePolicy {
			w.Acked += state.LastSeq - state.Msgs
		}
	}
	return w, nil
}
