package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"kindling/internal/config"
	"kindling/internal/service"
)

// EdgeMain is the program callback-ingest.
func EdgeMain(ctx context.Context, env service.Env) error {
	return alone(ctx, env, config.Edge, Edge, func(c config.Config) string { return c.Edge.MetricsListen })
}

// TokenWorkerMain is the program token-worker.
func TokenWorkerMain(ctx context.Context, env service.Env) error {
	return alone(ctx, env, config.TokenWorker, TokenWorker, func(c config.Config) string { return c.Metrics.Listen })
}

// WarmyWorkerMain is the program warmy-worker.
func WarmyWorkerMain(ctx context.Context, env service.Env) error {
	return alone(ctx, env, config.WarmyWorker, WarmyWorker, func(c config.Config) string { return c.Metrics.Listen })
}

// ConsoleMain is the program console.
func ConsoleMain(ctx context.Context, env service.Env) error {
	return alone(ctx, env, config.Console, Console, func(c config.Config) string { return c.Console.MetricsListen })
}

// alone runs one process in a program of its own, with its health on a listener that is not public.
func alone(
	ctx context.Context, env service.Env, role config.Role, process process, metricsListen func(config.Config) string,
) error {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	file := flags.String("config", "", "configuration `file` (default kindling.yaml)")
	probe := flags.String("healthcheck", "", "ask the health `address` of a running process, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(env.Args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return service.WithExit(service.ExitUsage, err)
	}
	switch {
	case *version:
		_, err := io.WriteString(env.Stdout, Version()+"\n")
		return err
	case *probe != "":
		return service.Probe(ctx, *probe)
	}
	cfg, err := LoadConfig(env, *file, nil)
	if err != nil {
		return err
	}
	if err := cfg.Require(role); err != nil {
		return err
	}
	Warn(ctx, env.Log, cfg, role)
	h := NewHost(cfg, env.Log)
	h.Config.Metrics.Listen = metricsListen(cfg)
	h.Notice = stopNotice
	return run(ctx, h, process)
}

// The variables of the kindling command, which may be set beside those of the configuration.
const (
	envServer    = "KINDLING_SERVER"
	envTokenFile = "KINDLING_TOKEN_FILE"
)

// LoadConfig reads the configuration of this process.
func LoadConfig(env service.Env, file string, flags map[string]string) (config.Config, error) {
	cfg, err := config.Load(config.Source{File: file, Environ: env.Environ(), Flags: flags, Known: []string{service.EnvLog, service.EnvLogFormat, envServer, envTokenFile}})
	if err != nil {
		return config.Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, nil
}

// Warn says once what is unwise in the configuration of a process in these roles.
func Warn(ctx context.Context, log *slog.Logger, cfg config.Config, roles config.Role) {
	for _, w := range cfg.Warnings(roles) {
		log.WarnContext(ctx, "configuration_unwise", "key", w.Key, "reason", w.Reason, "remedy", w.Remedy)
	}
}
