package callback_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"
	"testing"

	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// records keeps facts in memory, with compare-and-set.
type records[T any] struct {
	mu        sync.Mutex
	facts     map[string]T
	revisions map[string]uint64
	down      bool
	conflicts int // that many saves lose against somebody else
}

func newRecords[T any]() *records[T] {
	return &records[T]{facts: map[string]T{}, revisions: map[string]uint64{}}
}

func (r *records[T]) Load(ctx context.Context, id mailbox.ID) (T, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down || ctx.Err() != nil {
		var zero T
		return zero, 0, errDown
	}
	return r.facts[id], r.revisions[id], nil
}

func (r *records[T]) Save(ctx context.Context, id mailbox.ID, fact T, revision uint64) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down || ctx.Err() != nil:
		return 0, errDown
	case r.conflicts > 0:
		r.conflicts--
		return 0, handlers.ErrConflict
	case r.revisions[id] != revision:
		return 0, handlers.ErrConflict
	}
	r.facts[id], r.revisions[id] = fact, revision+1
	return revision + 1, nil
}

// set stores a fact as its owner would.
func (r *records[T]) set(id mailbox.ID, change func(*T)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fact := r.facts[id]
	change(&fact)
	r.facts[id] = fact
	r.revisions[id]++
}

func (r *records[T]) get(id mailbox.ID) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts[id]
}

// publisher keeps what was published.
type publisher struct {
	mu     sync.Mutex
	events []events.Event
	down   bool
	after  func() // runs within Publish
}

func (p *publisher) Publish(ctx context.Context, e events.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after != nil {
		p.after()
	}
	if p.down || ctx.Err() != nil {
		return errDown
	}
	if _, err := events.Encode(e); err != nil {
		return err
	}
	p.events = append(p.events, e)
	return nil
}

func (p *publisher) list() []events.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]events.Event(nil), p.events...)
}

// box seals with AES-GCM under a random key of its own.
type box struct{ cipher.AEAD }

func newBox(tb testing.TB) box {
	tb.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	must(tb, err)
	block, err := aes.NewCipher(key)
	must(tb, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	must(tb, err)
	return box{gcm}
}

func (b box) Seal(plain []byte, associated string) ([]byte, error) {
	return b.AEAD.Seal(nil, nil, plain, []byte(associated)), nil
}

func (b box) Open(sealed []byte, associated string) ([]byte, error) {
	return b.AEAD.Open(nil, nil, sealed, []byte(associated))
}
