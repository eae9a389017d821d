// Package embed runs a NATS server with JetStream inside this process: the whole message store of `kindling up`, and the
// real server that tests talk to. By default every write is on disk before it is acknowledged.
package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options say how to run the server.
type Options struct {
	Dir      string // of the store; created when missing
	Listen   string // host:port for clients of other processes; empty: this process only
	LazySync bool   // acknowledge before the disk has it: faster, and loses acknowledged data on power failure. Never for real mailboxes
	MaxStore int64  // bytes of disk; 0: 64 GiB
	Reserve  int64  // bytes that must be free to start, and to go on after the disk was full; 0: 64 MiB
	Log      *slog.Logger
}

// Server is a running server. It satisfies nats.InProcessConnProvider. When its disk is full it stops taking and giving
// messages, and goes on by itself when there is room again.
type Server struct {
	opts   Options
	log    *slog.Logger
	lock   *os.File
	health *health

	mu      sync.Mutex
	running *server.Server // the last one that started; another after a healing

	rest   context.CancelFunc // ends the watch
	rested chan struct{}      // closed when it has ended
}

// ErrInUse means that another process uses the store: two servers on one store destroy it.
var ErrInUse = errors.New("the data directory is in use by another process")

// readyTimeout bounds the start, which reads back what the store holds.
const readyTimeout = time.Minute

// Start runs a server until Stop. It refuses a disk without room: a server that reads its store back on a full disk can
// lose it.
func Start(opts Options) (*Server, error) {
	opts = opts.withDefaults()
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	s, err := start(opts)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	ctx, rest := context.WithCancel(context.Background())
	s.rest = rest
	go func() { defer close(s.rested); s.watch(ctx) }()
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.MaxStore == 0 {
		o.MaxStore = 64 << 30
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	return o
}

func start(opts Options) (*Server, error) {
	s := &Server{opts: opts, log: opts.Log, health: newHealth(), rested: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, s.run()
}

// run starts a server on the store, if there is room.
func (s *Server) run() error {
	if err := room(s.opts.Dir, s.opts.Reserve); err != nil {
		return err
	}
	cfg, err := s.opts.server()
	if err != nil {
		return err
	}
	nats, err := server.NewServer(cfg)
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	nats.SetLoggerV2(logger{s.log, s.health.heard}, false, false, false)
	nats.Start()
	if !nats.ReadyForConnections(readyTimeout) || !nats.JetStreamEnabled() {
		nats.Shutdown()
		return errors.New("the NATS server did not become ready: is its port taken or its disk full?")
	}
	if addr := nats.Addr(); addr != nil {
		s.opts.Listen = addr.String() // a port that was chosen stays the same after a healing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = nats
	return nil
}

// NATS is the server that runs. After a healing it is another one.
func (s *Server) NATS() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// InProcessConn connects a client of this process.
func (s *Server) InProcessConn() (net.Conn, error) { return s.NATS().InProcessConn() }

// ClientURL is where clients of other processes connect.
func (s *Server) ClientURL() string { return s.NATS().ClientURL() }

// Restart ends the server and starts it again on its store, if there is room. Clients connect again by themselves.
func (s *Server) Restart() error {
	if err := room(s.opts.Dir, s.opts.Reserve); err != nil {
		return err
	}
	old := s.NATS()
	old.Shutdown()
	old.WaitForShutdown()
	s.health.forget()
	return s.run()
}

// SyncAlways reports whether every write is on disk before it is acknowledged.
func (s *Server) SyncAlways() bool { return !s.opts.LazySync }

// Stop ends the server after its clients: what was acknowledged is on disk.
func (s *Server) Stop() error {
	s.rest()
	<-s.rested
	s.NATS().Shutdown()
	s.NATS().WaitForShutdown()
	return s.lock.Close()
}

func (o Options) server() (*server.Options, error) {
	cfg := &server.Options{
		ServerName: "kindling", JetStream: true, StoreDir: o.Dir, JetStreamMaxStore: o.MaxStore, SyncAlways: !o.LazySync,
		NoSigs: true, NoLog: o.Log == nil, DontListen: o.Listen == "", MaxPayload: 1 << 20,
		MaxControlLine: 4096, WriteDeadline: 10 * time.Second,
	}
	if o.Listen == "" {
		return cfg, nil
	}
	if err := setListen(cfg, o.Listen); err != nil {
		return nil, err
	}
	return cfg, nil
}

// lockDir takes the lock that keeps a second server away. The kernel releases it when the process dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrInUse), f.Close())
	}
	return f, nil
}
