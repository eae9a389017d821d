// Package bus carries Kindling's events, facts and dead letters on NATS JetStream. It is the only package that
// speaks NATS or Watermill.
//
// What it promises: a published event is on disk before Publish returns; it is handled at least once, and its input is
// acknowledged only after everything that follows from it is stored; an event that cannot succeed becomes a dead letter,
// never silence; an outage of a dependency stops its leg for every worker and costs no event an attempt; a fact is
// changed by compare-and-set only.
package bus

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// ErrUnavailable means that NATS did not take or answer a request: what was asked for may or may not have happened.
var ErrUnavailable = errors.New("the message store is not available")

// Config says how to reach NATS.
type Config struct {
	URL       string
	CredsFile string // an NKey seed, or a JWT and its seed
	TLSCAFile string
	InProcess nats.InProcessConnProvider // the embedded server; URL is ignored then
	Name      string                     // of this process, as NATS monitoring shows it
	Replicas  int                        // of streams to create; 0 means 1
	Monitor   string                     // monitoring addresses of the servers, comma-separated; empty: none is known
	Unsynced  bool                       // work although the server acknowledges before the disk has it
	Denied    func()                     // is called whenever NATS denies a right; may be nil
	Clock     func() time.Time           // of this machine; nil: time.Now
	Log       *slog.Logger
}

// Bus is one process's connection. It is safe for concurrent use.
type Bus struct {
	id       string // of this connection, among all processes
	nc       *nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger
	cfg      Config
	replicas int
	acks     *acks
	denials  *denials
	storing  *storing
	reach    *reach
	clock    *serverClock
	handles  sync.Map      // stream name → jetstream.Stream
	inHand   sync.Map      // message or event → nothing: what this process is handling
	fills    sync.Map      // stream name → *fill
	gates    sync.Map      // leg → *gate: of the lanes that are served here
	suspects chan struct{} // holds one token: the suspect that is being handled
}

// apiTimeout bounds one request to JetStream. It is longer than a leader election usually takes.
const apiTimeout = 10 * time.Second

// connectTimeout bounds the first question to JetStream: a server that has just started may still be reading its store.
const connectTimeout = 20 * time.Second

// publishWindow bounds the publishes under way at once in this process.
const publishWindow = 1024

// hosts names the servers of the address, without what may be secret in it.
func (cfg Config) hosts() string {
	var hosts []string
	for one := range strings.SplitSeq(cfg.URL, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil || u.Host == "" {
			return "an address that cannot be read"
		}
		hosts = append(hosts, u.Host)
	}
	return strings.Join(hosts, ", ")
}

// Connect connects to NATS. It does not create or check streams: that is Ensure's.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	denials := newDenials(cfg)
	opts, err := cfg.options(denials)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(cfg.URL, opts...)
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, &DeniedError{Process: cfg.Name, Verb: verbConnect}
	}
	if bad := (*url.Error)(nil); errors.As(err, &bad) {
		err = bad.Err // without the address
	}
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s (nats.url): %w", cfg.hosts(), err)
	}
	bare, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(publishWindow), jetstream.WithPublishAsyncTimeout(apiTimeout), jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	heard := new(reach)
	js := guarded{JetStream: bare, denials: denials, reach: heard}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := checkServer(ctx, nc, js); err != nil {
		nc.Close()
		return nil, err
	}
	confirmed, err := newAcks(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	denials.tell(confirmed.denied)
	b := &Bus{
		id: nuid.Next(), nc: nc, js: js, log: cfg.Log, cfg: cfg, replicas: max(1, cfg.Replicas), acks: confirmed, denials: denials,
		clock:    newServerClock(cfg.Clock),
		suspects: make(chan struct{}, 1), storing: newStoring(cfg.Log, len(nc.Servers())), reach: heard,
	}
	b.watch(patience) //nolint:contextcheck // it lives as long as the bus
	return b, nil
}

// inboxOf is the prefix of the subjects on which a process alone hears answers: no other process's user may listen there.
func inboxOf(process string) string {
	return "_INBOX_" + strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, cmp.Or(process, "kindling"))
}

func (cfg Config) options(denials *denials) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cfg.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(false), nats.Timeout(dialTimeout), nats.CustomInboxPrefix(inboxOf(cfg.Name)),
		nats.IgnoreAuthErrorAbort(), // a user that is missing by mistake may come back
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denials.report(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			denials.disconnected()
			if err != nil {
				cfg.Log.Warn("nats_disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { cfg.Log.Info("nats_reconnected") }),
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	} else {
		opts = append(opts, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsOut),
			nats.FlusherTimeout(dialTimeout), nats.ReconnectOnFlusherError())
	}
	if cfg.CredsFile != "" {
		credentials, err := credentials(cfg.CredsFile)
		if err != nil {
			return nil, err
		}
		opts = append(opts, credentials)
	}
	secure, err := cfg.tls()
	if err != nil || secure == nil {
		return opts, err
	}
	return append(opts, nats.Secure(secure)), nil
}

// tls trusts the configured CA alone; without one it is nil.
func (cfg Config) tls() (*tls.Config, error) {
	if cfg.TLSCAFile == "" {
		return nil, nil // none is configured
	}
	pem, err := os.ReadFile(cfg.TLSCAFile)
	if err != nil {
		return nil, fmt.Errorf("read nats.tls_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("nats.tls_ca_file %s holds no PEM certificate", cfg.TLSCAFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// credentials reads who this process is: a seed alone where the server's file lists users, a JWT beside it where accounts
// are signed.
func credentials(file string) (nats.Option, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, fmt.Errorf("read nats.creds_file: %w", err)
	}
	defer clear(text)
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(file), nil
	}
	option, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		return nil, fmt.Errorf("nats.creds_file %s holds neither an NKey seed nor a JWT", file)
	}
	return option, nil
}

// Ready reports whether NATS is connected and lets this process do its work: what /readyz asks.
func (b *Bus) Ready(context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("nats is %s: %w", b.nc.Status(), ErrUnavailable)
	}
	return errors.Join(b.denials.current(), b.storing.current())
}

// Close flushes what is on its way and closes the connection. Nothing may use the bus afterwards.
func (b *Bus) Close() {
	b.reach.close()
	if err := b.nc.FlushTimeout(apiTimeout); err != nil && b.nc.IsConnected() {
		b.log.Warn("nats_flush_failed", "error", err)
	}
	b.acks.close()
	b.nc.Close()
}
