package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kindling/internal/bus"
	"kindling/internal/bus/users"
)

// Guarded is a server that knows its users.
type Guarded struct {
	*server.Server

	// Options are what the server read from its file.
	Options *server.Options

	tb  testing.TB
	dir string
}

// NewGuarded starts a server on a temporary directory with the users of a configuration file, which includes their
// public keys; these are made here. The file is read by the server itself. It stops with the test.
func NewGuarded(tb testing.TB, conf []byte) *Guarded {
	tb.Helper()
	dir := tb.TempDir()
	g := &Guarded{tb: tb, dir: dir}
	if err := users.Generate(dir); err != nil {
		tb.Fatal(err)
	}
	main := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q, max_file_store: 64GB }\ninclude ./users.conf\n", filepath.Join(dir, "js"))
	for name, text := range map[string]string{"users.conf": string(conf), "nats.conf": main} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		tb.Fatalf("read the configuration: %v", err)
	}
	opts.NoSigs, opts.NoLog = true, true
	g.Options = opts
	if g.Server, err = server.NewServer(opts); err != nil {
		tb.Fatalf("make NATS server: %v", err)
	}
	g.Start()
	tb.Cleanup(func() { g.Shutdown(); g.WaitForShutdown() })
	if !g.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server did not become ready")
	}
	return g
}

// As is how process reaches the server.
func (g *Guarded) As(process string) bus.Config {
	return bus.Config{URL: g.ClientURL(), Name: process, CredsFile: filepath.Join(g.dir, users.SeedFile(process)), Log: slog.New(slog.DiscardHandler)}
}

// Connect opens the bus of a process; it closes with the test.
func (g *Guarded) Connect(process string) *bus.Bus {
	g.tb.Helper()
	b, err := bus.Connect(context.Background(), g.As(process))
	if err != nil {
		g.tb.Fatalf("connect as %s: %v", process, err)
	}
	g.tb.Cleanup(b.Close)
	return b
}

// PublicKey is the public key of process's user.
func (g *Guarded) PublicKey(process string) string {
	g.tb.Helper()
	key, err := users.PublicKey(filepath.Join(g.dir, users.SeedFile(process)))
	if err != nil {
		g.tb.Fatal(err)
	}
	return key
}

// Reload has the running server read another file of users.
func (g *Guarded) Reload(conf []byte) {
	g.tb.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "users.conf"), conf, 0o600); err != nil {
		g.tb.Fatal(err)
	}
	if err := g.Server.Reload(); err != nil {
		g.tb.Fatalf("reload: %v", err)
	}
}
