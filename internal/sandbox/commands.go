package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/campaign/sample"
	"kindling/internal/config"
	"kindling/internal/service"
)

// DemoCommand is `kindling demo`.
func DemoCommand(env service.Env) *cobra.Command {
	o := DemoOptions{Env: env}
	var mailboxes int
	var csv string
	cmd := &cobra.Command{
		Use: "demo", Short: "Show the whole pipeline at work against simulators, on this machine", Args: noArgs,
		Example: "  kindling demo\n  kindling demo --mailboxes 1000 --fast\n  kindling demo --csv my.csv --seed 7 --keep",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.CSV, err = demoCSV(csv, mailboxes, o.Latency); err != nil {
				return err
			}
			return Demo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&mailboxes, "mailboxes", 200, "how many mailboxes of the sample campaign, from 1 to 100000")
	f.StringVar(&csv, "csv", "", "a campaign `file` of your own instead of the sample")
	f.DurationVar(&o.Latency, "latency", 100*time.Millisecond, "time that the simulators take for an answer, more or less half of it")
	f.Uint64Var(&o.Seed, "seed", 1, "decides who meets which trouble")
	f.BoolVar(&o.Fast, "fast", false, "do not wait: no call budget at Warmy, short waits")
	f.BoolVar(&o.Keep, "keep", false, "leave the data directory behind")
	f.StringVar(&o.Dir, "data", "", "use and keep this `directory` instead of a temporary one")
	return cmd
}

// noArgs makes a stray argument wrong use.
func noArgs(_ *cobra.Command, given []string) error {
	if len(given) > 0 {
		return service.WithExit(service.ExitUsage, fmt.Errorf("there is nothing to do with %.40q here", given[0]))
	}
	return nil
}

const mostDemoMailboxes = 100_000

func demoCSV(file string, mailboxes int, latency time.Duration) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file) //nolint:gosec // the operator's own file
		if err != nil {
			return nil, service.WithExit(service.ExitData, fmt.Errorf("read campaign: %w", err))
		}
		return data, nil
	}
	if latency < 0 {
		return nil, service.WithExit(service.ExitUsage, fmt.Errorf("--latency is %v: choose 0 or more", latency))
	}
	if mailboxes < 1 || mailboxes > mostDemoMailboxes {
		return nil, service.WithExit(service.ExitUsage, fmt.Errorf("--mailboxes is %d: choose from 1 to %d", mailboxes, mostDemoMailboxes))
	}
	var csv bytes.Buffer
	err := sample.Write(&csv, mailboxes)
	return csv.Bytes(), err
}

// UpCommand is `kindling up`.
func UpCommand(env service.Env) *cobra.Command {
	var u up
	cmd := &cobra.Command{
		Use: "up", Short: "Run everything in this process: edge, workers and console, with an embedded message store", Args: noArgs,
		Long: "Run callback-ingest, token-worker, warmy-worker and console in this process.\n\n" +
			"Without nats.url in the configuration a NATS server runs in it too, and keeps its data in --data.\n" +
			"With --sandbox Microsoft and Warmy are simulators on this machine, and no configuration is needed.",
		Example: "  kindling up --sandbox --data ./kindling-data\n  kindling up --config kindling.yaml --data /var/lib/kindling",
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context(), env) },
	}
	f := cmd.Flags()
	f.BoolVar(&u.sandbox, "sandbox", false, "simulate Microsoft and Warmy")
	f.StringVar(&u.data, "data", "kindling-data", "`directory` of the message store, the keys and the first operator's token")
	f.StringVar(&u.config, "config", "", "configuration `file` (default kindling.yaml)")
	f.StringVar(&u.edgeListen, "edge-listen", "", "`address` of the public edge (default of the sandbox 127.0.0.1:8080)")
	f.StringVar(&u.consoleListen, "console-listen", "", "`address` of the console (default 127.0.0.1:8090)")
	f.StringVar(&u.metricsListen, "metrics-listen", "", "`address` of health and metrics (default 127.0.0.1:9102)")
	f.StringVar(&u.microsoftListen, "microsoft-listen", "127.0.0.1:8091", "`address` of the sandbox's Microsoft")
	f.StringVar(&u.warmyListen, "warmy-listen", "127.0.0.1:8092", "`address` of the sandbox's Warmy")
	f.StringVar(&u.natsListen, "nats-listen", "", "let other processes use the embedded NATS server at this `address`")
	return cmd
}

// up are the flags of `kindling up`.
type up struct {
	sandbox    bool
	data       string
	config     string
	natsListen string

	edgeListen, consoleListen    string
	metricsListen                string
	microsoftListen, warmyListen string
}

func (u up) run(ctx context.Context, env service.Env) error {
	if u.data == "" {
		return service.WithExit(service.ExitUsage, errors.New("--data is empty: name a directory"))
	}
	data := app.Data(u.data)
	if u.sandbox {
		return u.inSandbox(ctx, env, data)
	}
	cfg, err := app.LoadConfig(env, u.config, u.flags())
	if err != nil {
		return err
	}
	if err := data.Adopt(&cfg); err != nil {
		return err
	}
	if err := cfg.Require(config.Up); err != nil {
		return err
	}
	app.Warn(ctx, env.Log, cfg, config.Up)
	return u.up(ctx, env, cfg, data)
}

// flags are the settings that the command line overrides.
func (u up) flags() map[string]string {
	flags := make(map[string]string)
	for key, value := range map[string]string{"edge.listen": u.edgeListen, "console.listen": u.consoleListen, "metrics.listen": u.metricsListen} {
		if value != "" {
			flags[key] = value
		}
	}
	return flags
}

func (u up) up(ctx context.Context, env service.Env, cfg config.Config, data app.Data) error {
	fmt.Fprintf(env.Stderr, "console  http://%s   token in %s\nedge     %s\n", cfg.Console.Listen, data.TokenFile(), cfg.Edge.PublicURL)
	return app.Up(ctx, app.NewHost(cfg, env.Log), app.UpOptions{Data: data, Embedded: cfg.NATS.URL == "", Listen: u.natsListen})
}

func (u up) inSandbox(ctx context.Context, env service.Env, data app.Data) error {
	edge := cmp.Or(u.edgeListen, "127.0.0.1:8080")
	settings := Settings{
		Data: data, EdgeListen: edge, PublicURL: "http://" + edge, ConsoleListen: "127.0.0.1:8090", MetricsListen: "127.0.0.1:9102",
		CallsPerMinute: 55, ReconcileAfter: time.Minute, RetryBase: 2 * time.Second, HoldFor: 30 * time.Second,
	}
	if err := data.Prepare(); err != nil {
		return service.WithExit(service.ExitUnavailable, err)
	}
	world, err := NewWorld(ctx, WorldOptions{
		MicrosoftListen: u.microsoftListen, WarmyListen: u.warmyListen, RedirectURI: settings.RedirectURI(),
		State: filepath.Join(u.data, "sim"),
	})
	if err != nil {
		return service.WithExit(service.ExitUnavailable, fmt.Errorf("%w (is another kindling using %s, or one of its ports?)", err, u.data))
	}
	settings.MicrosoftURL, settings.WarmyURL = world.MicrosoftURL(), world.WarmyURL()
	if err := settings.Write(); err != nil {
		return err
	}
	cfg, err := app.LoadConfig(env, settings.File(), u.flags())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return world.Serve(ctx) })
	group.Go(func() error { return u.up(ctx, env, cfg, data) })
	return group.Wait()
}
