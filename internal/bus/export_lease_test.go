package bus

import (
	"context"
	"time"
)

// Lease is a lease as tests hold it.
type Lease struct{ lease lease }

// NewLease is a lease of some work for owner, that lives for so long.
func NewLease(b *Bus, owner string, life time.Duration) *Lease {
	return &Lease{lease{kv: kv{b, bucketControl}, key: "restore.tested", owner: owner, life: life}}
}

// Take takes it, or tells how long to wait.
func (l *Lease) Take(ctx context.Context) (time.Duration, error) { return l.lease.take(ctx, 0) }

// Keep renews it when it is time.
func (l *Lease) Keep(ctx context.Context) error { return l.lease.keep(ctx) }
