package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/console"
	"kindling/internal/seal"
	"kindling/internal/service"
)

// Data is the directory in which `kindling up` keeps everything: the store, the keys and the first operator's token.
type Data string

// Keys is the directory of the keysets.
func (d Data) Keys() string { return filepath.Join(string(d), "keys") }

// OperatorsFile lists who may use the console.
func (d Data) OperatorsFile() string { return filepath.Join(string(d), "operators.json") }

// TokenFile holds the first operator's token.
func (d Data) TokenFile() string { return filepath.Join(string(d), "operator.token") }

func (d Data) store() string { return filepath.Join(string(d), "nats") }

// Prepare makes what is missing: the directory, the keysets, and an operator with his token. It changes nothing that is there.
func (d Data) Prepare() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := seal.Generate(d.Keys()); err != nil {
		return err
	}
	if _, err := os.Stat(d.TokenFile()); err == nil {
		return nil
	}
	token, entry := console.NewOperator("admin", console.Admin)
	if err := os.WriteFile(d.TokenFile(), []byte(token.Reveal()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the operator's token: %w", err)
	}
	return console.SaveOperators(d.OperatorsFile(), []console.Operator{entry})
}

// Adopt gives cfg what it does not place elsewhere, and makes it: keysets and the list of operators.
func (d Data) Adopt(cfg *config.Config) error {
	if cfg.Keys.Dir != "" && cfg.Console.OperatorsFile != "" {
		return os.MkdirAll(string(d), 0o700)
	}
	if err := d.Prepare(); err != nil {
		return err
	}
	cfg.Keys.Dir = cmp.Or(cfg.Keys.Dir, d.Keys())
	cfg.Console.OperatorsFile = cmp.Or(cfg.Console.OperatorsFile, d.OperatorsFile())
	return nil
}

// UpOptions say how `kindling up` runs.
type UpOptions struct {
	Data     Data
	Embedded bool   // run a NATS server in this process
	LazySync bool   // see embed.Options; for benches and throw-away data only
	Listen   string // of the embedded server, for other processes; empty: none
}

// Up runs all processes in this one until ctx ends, then stops them before the store they stand on.
func Up(ctx context.Context, h Host, opts UpOptions) (err error) {
	if opts.Embedded {
		server, startErr := embed.Start(embed.Options{Dir: opts.Data.store(), LazySync: opts.LazySync, Listen: opts.Listen, Log: h.Log}) //nolint:contextcheck // the server outlives ctx: it stops after its clients
		if startErr != nil {
			return service.WithExit(service.ExitUnavailable, startErr)
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		h.NATS.InProcess = server
		h.Health.Ready("disk", server.Ready)
		h.Metrics.disk.follow(server.DiskUsed)
		h.NATS.Unsynced = h.NATS.Unsynced || opts.LazySync // asked for by whoever started it
	}
	return run(ctx, h, Console, Edge, TokenWorker, WarmyWorker)
}
