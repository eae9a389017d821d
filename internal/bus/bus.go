// Package bus carries Kindling's events, facts and dead letters on NATS JetStream. It is the only package that
// speaks NATS or Watermill.
//
// What it promises: a published event is on disk before Publish returns; it is handled at least once, and its input is
// acknowledged only after everything that follows from it is stored; an event that cannot succeed becomes a dead letter,
// never silence; an outage of a dependency stops its leg for every worker and costs no event an attempt; a fact is
// changed by compare-and-set only.
package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnavailable means that NATS did not take or answer a request: what was asked for may or may not have happened.
var ErrUnavailable = errors.New("the message store is not available")

// Config says how to reach NATS.
type Config struct {
	URL       string
	CredsFile string
	TLSCAFile string
	InProcess nats.InProcessConnProvider // the embedded server; URL is ignored then
	Name      string                     // of this process, as NATS monitoring shows it
	Replicas  int                        // of streams to create; 0 means 1
	Log       *slog.Logger
}

// Bus is one process's connection. It is safe for concurrent use.
type Bus struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger
	replicas int
	acks     *acks
	handles  sync.Map // stream name → jetstream.Stream
	fills    sync.Map // stream name → *fill
}

// apiTimeout bounds one request to JetStream. It is longer than a leader election usually takes.
const apiTimeout = 10 * time.Second

// connectTimeout bounds the first question to JetStream: a server that has just started may still be reading its store.
const connectTimeout = 20 * time.Second

// publishWindow bounds the publishes under way at once in this process.
const publishWindow = 1024

// Connect connects to NATS. It does not create or check streams: that is Ensure's.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(publishWindow), jetstream.WithPublishAsyncTimeout(apiTimeout), jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := js.AccountInfo(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("ask JetStream for its account: %w", err)
	}
	confirmed, err := newAcks(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Bus{nc: nc, js: js, log: cfg.Log, replicas: max(1, cfg.Replicas), acks: confirmed}, nil
}

func (cfg Config) options() ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cfg.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(false), nats.Timeout(apiTimeout),
		// A denied publish is reported here and nowhere else; its caller only sees a time-out.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { cfg.Log.Error("nats_error", "error", err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				cfg.Log.Warn("nats_disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { cfg.Log.Info("nats_reconnected") }),
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	if cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.TLSCAFile == "" {
		return opts, nil
	}
	pem, err := os.ReadFile(cfg.TLSCAFile)
	if err != nil {
		return nil, fmt.Errorf("read nats.tls_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("nats.tls_ca_file %s holds no PEM certificate", cfg.TLSCAFile)
	}
	return append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})), nil
}

// Ready tells whether NATS is connected: what /readyz asks.
func (b *Bus) Ready(context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("nats is %s: %w", b.nc.Status(), ErrUnavailable)
	}
	return nil
}

// Close flushes what is on its way and closes the connection. Nothing may use the bus afterwards.
func (b *Bus) Close() {
	if err := b.nc.FlushTimeout(apiTimeout); err != nil && b.nc.IsConnected() {
		b.log.Warn("nats_flush_failed", "error", err)
	}
	b.acks.close()
	b.nc.Close()
}
