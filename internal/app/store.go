package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/service"
)

// Store is the message store as an administrator's verb sees it. Opening it makes and changes nothing.
type Store struct {
	*bus.Bus

	server *embed.Server // nil: the store is another process's
}

// OpenStore connects to the store of cfg; without an address it opens that of `kindling up` in data, which must not be
// running.
func OpenStore(ctx context.Context, cfg config.Config, data Data, log *slog.Logger) (*Store, error) {
	return OpenStoreAs(ctx, cfg, data, bus.ProcessAdmin, log)
}

// OpenStoreAs opens the store under the name of a process, so that the rights of its NATS user can be checked.
func OpenStoreAs(ctx context.Context, cfg config.Config, data Data, process string, log *slog.Logger) (*Store, error) {
	h := NewHost(cfg, log)
	var s Store
	if cfg.NATS.URL == "" {
		var err error
		if s.server, err = data.openStore(); err != nil { //nolint:contextcheck // the server outlives ctx: it stops after its clients
			return nil, err
		}
		h.NATS.InProcess = s.server
	}
	h.NATS.Name, h.NATS.Log = process, log
	b, err := bus.Connect(ctx, h.NATS)
	if err != nil {
		return nil, errors.Join(withExit(err), s.stop())
	}
	s.Bus = b
	return &s, nil
}

// ErrNoStore means that `kindling up` has not made its store yet.
var ErrNoStore = errors.New("there is no message store")

// openStore runs a server on the data of `kindling up`, for this process alone.
func (d Data) openStore() (*embed.Server, error) {
	if _, err := os.Stat(d.store()); err != nil {
		return nil, service.WithExit(service.ExitConfig,
			fmt.Errorf("%w in %s: name the directory with --data, or the server in nats.url", ErrNoStore, string(d)))
	}
	server, err := embed.Start(embed.Options{Dir: d.store()})
	if errors.Is(err, embed.ErrInUse) {
		err = fmt.Errorf("%w: stop kindling up first, or start it with --nats-listen and name that address in nats.url", err)
	}
	return server, service.WithExit(service.ExitUnavailable, err)
}

// Close ends the connection, and the server if it is our own.
func (s *Store) Close() error {
	s.Bus.Close()
	return s.stop()
}

func (s *Store) stop() error {
	if s.server == nil {
		return nil
	}
	return s.server.Stop()
}
