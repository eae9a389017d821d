package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"

	"kindling/internal/bus/embed"
	"kindling/internal/service"
)

// store is the embedded NATS server in a process of its own, on a directory of its own. Everybody reaches it over
// loopback TCP, we as the raw client.
type store struct {
	*child

	url string
	dir string
}

type storeReady struct {
	URL string `json:"url"`
}

// traffic is what the server counted of one connection.
type traffic struct {
	Name     string `json:"name"`
	ToServer int64  `json:"to_server"` // messages
	ToClient int64  `json:"to_client"`
}

func startStore(ctx context.Context, lazy bool) (*store, error) {
	dir, err := os.MkdirTemp("", "kindling-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	s, err := startStoreIn(ctx, dir, lazy)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// startStoreIn starts it on a directory that may hold a store already.
func startStoreIn(ctx context.Context, dir string, lazy bool) (*store, error) {
	var ready storeReady
	c, err := startChild(ctx, &ready, "nats", "--dir", dir, fmt.Sprintf("--lazy-sync=%t", lazy))
	if err != nil {
		return nil, err
	}
	return &store{child: c, url: ready.URL, dir: dir}, nil
}

// traffic returns what the server counted of the open connection called name.
func (s *store) traffic(name string) (traffic, error) {
	var all []traffic
	if err := s.ask(&all); err != nil {
		return traffic{}, err
	}
	for _, t := range all {
		if t.Name == name {
			return t, nil
		}
	}
	return traffic{}, fmt.Errorf("the server has no connection called %s", name)
}

func (s *store) close() error { return errors.Join(s.stop(), os.RemoveAll(s.dir)) }

// serveStore is the store's process: it answers each line of its input with the traffic of every connection.
func serveStore(ctx context.Context, env service.Env, dir string, lazy bool) error {
	s, err := embed.Start(embed.Options{Dir: dir, Listen: "127.0.0.1:0", LazySync: lazy}) //nolint:contextcheck // it lives until Stop
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	out := json.NewEncoder(env.Stdout)
	err = out.Encode(storeReady{URL: s.ClientURL()})
	go func() {
		defer stop() // our parent is gone
		for lines := bufio.NewScanner(env.Stdin); lines.Scan(); {
			if err := out.Encode(connections(s)); err != nil {
				return
			}
		}
	}()
	<-ctx.Done()
	return errors.Join(err, s.Stop())
}

func connections(s *embed.Server) []traffic {
	conns, err := s.NATS().Connz(&server.ConnzOptions{})
	if err != nil {
		return nil // our parent misses the connection it asked for
	}
	all := make([]traffic, len(conns.Conns))
	for i, c := range conns.Conns {
		all[i] = traffic{Name: c.Name, ToServer: c.InMsgs, ToClient: c.OutMsgs}
	}
	return all
}
