package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Storing is the memory of a process that knows so many servers.
func Storing(servers int) (failed, stored func(), ready func() error) {
	s := newStoring(slog.New(slog.DiscardHandler), servers)
	saw := func(err error) func() { return func() { s.saw(context.Background(), err, true) } }
	return saw(nats.ErrNoResponders), saw(nil), s.current
}

// Silence is the time without an answer.
type Silence struct{ s silence }

// Asked begins a question now.
func (s *Silence) Asked() { s.s.asked(time.Now()) }

// Ended ends a question now.
func (s *Silence) Ended(err error) { s.s.ended(time.Now(), err) }

// Lasts returns for how long there has been no answer.
func (s *Silence) Lasts() time.Duration { return s.s.lasts(time.Now()) }

// Watch makes b less patient with a silent server.
func Watch(b *Bus, patience time.Duration) {
	b.reach.close()
	b.watch(patience)
}

// ServerAddress is where b is connected.
func ServerAddress(b *Bus) string { return b.nc.ConnectedAddr() }
