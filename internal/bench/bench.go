// Package bench measures Kindling on the machine it runs on: `kindling bench`. Every figure is printed beside what it is
// compared with, measured in the same run, because absolute rates on shared machines mean little.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/service"
	"kindling/internal/sim"
)

// Command is `kindling bench`.
func Command(env service.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure this build on this machine", Args: cobra.NoArgs}
	o := options{env: env}
	cmd.PersistentFlags().IntVar(&o.mailboxes, "mailboxes", 3000, "mailboxes per round of the pipeline")
	cmd.PersistentFlags().IntVar(&o.rounds, "rounds", 3, "rounds; medians are printed")
	cmd.PersistentFlags().IntVar(&o.rows, "rows", 100_000, "rows of the imported campaign")
	cmd.PersistentFlags().DurationVar(&o.edgeTime, "edge-time", 20*time.Second, "how long the edge is called")
	cmd.PersistentFlags().IntVar(&o.edgeRate, "edge-rate", 300, "callbacks a second")
	cmd.PersistentFlags().IntVar(&o.forged, "forged", 1_000_000, "callbacks that no owner sent")
	cmd.PersistentFlags().BoolVar(&o.quick, "quick", false, "bus, edge, refresh, burst and warmy: less of everything, for a first look")
	cmd.PersistentFlags().IntVar(&o.window, "window", 1024, "bus: prefetch of a handler that does nothing")
	cmd.PersistentFlags().StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of this process to `file`")
	run := func(names ...string) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), names) }
	}
	all := run("bus", "pipeline", "import", "edge", "refresh", "burst", "warmy")
	runAll := func(cmd *cobra.Command, args []string) error { o.brief = true; return all(cmd, args) }
	onBus := &cobra.Command{Use: "bus", Short: "Publishing and consuming, against raw nats.go", Args: cobra.NoArgs, RunE: run("bus")}
	cmd.PersistentFlags().StringVar(&o.sync, "sync", bothSyncs, "bus, refresh: how the server syncs: default, always or both")
	onWarmy := &cobra.Command{Use: "warmy", Short: "The budget of calls at Warmy, an outage, and fair shares", Args: cobra.NoArgs, RunE: run("warmy")}
	onWarmy.Flags().StringSliceVar(&o.only, "only", nil, "only these parts: "+strings.Join(warmyParts(), ", "))
	onBus.Flags().StringSliceVar(&o.only, "only", nil, "only these parts: "+strings.Join(busParts(), ", "))
	cmd.AddCommand(
		onBus,
		&cobra.Command{Use: "all", Short: "Everything, one table; burst, poison and warmy in their short form", Args: cobra.NoArgs, RunE: runAll},
		&cobra.Command{Use: "pipeline", Short: "Mailboxes per second, against a bare loop of the same calls", Args: cobra.NoArgs, RunE: run("pipeline")},
		&cobra.Command{Use: "import", Short: "Rows per second of a campaign's import", Args: cobra.NoArgs, RunE: run("import")},
		&cobra.Command{Use: "edge", Short: "Accepted and durable callbacks, and forged ones", Args: cobra.NoArgs, RunE: run("edge")},
		&cobra.Command{Use: "refresh", Short: "Timers of idle grants, and refreshes per second", Args: cobra.NoArgs, RunE: run("refresh")},
		&cobra.Command{Use: "burst", Short: "10,000 consents in five minutes: how long codes wait, and how many die", Args: cobra.NoArgs, RunE: run("burst")},
		onWarmy,
		&cobra.Command{
			Use: "simulator", Hidden: true, DisableFlagParsing: true, Short: "The simulators, in a process of their own",
			RunE: func(cmd *cobra.Command, args []string) error {
				return sim.Run(cmd.Context(), args, env.Stdout, env.Stderr)
			},
		},
		storeCommand(env), workerCommand(env), poisonedCommand(env), warmedCommand(env),
	)
	return cmd
}

func storeCommand(env service.Env) *cobra.Command {
	var dir string
	var lazy bool
	cmd := &cobra.Command{
		Use: "nats", Hidden: true, Args: cobra.NoArgs, Short: "A NATS server, in a process of its own",
		RunE: func(cmd *cobra.Command, _ []string) error { return serveStore(cmd.Context(), env, dir, lazy) },
	}
	cmd.Flags().StringVar(&dir, "dir", "", "of the store")
	cmd.Flags().BoolVar(&lazy, "lazy-sync", false, "acknowledge before the disk has it")
	return cmd
}

type options struct {
	env       service.Env
	mailboxes int
	rounds    int
	rows      int
	edgeTime  time.Duration
	edgeRate  int
	forged    int
	profile   string
	quick     bool
	brief     bool // burst, poison and warmy, which take many minutes, in their quick form
	window    int
	only      []string
	sync      string
}

func (o options) run(ctx context.Context, names []string) error {
	benches := map[string]func(context.Context) ([]figure, error){
		"bus": o.bus, "pipeline": o.pipeline, "import": o.importCSV, "edge": o.edge, "refresh": o.refresh, "burst": o.burst, "warmy": o.warmy,
	}
	if err := o.check(names); err != nil {
		return err
	}
	stopProfile, err := o.startProfile()
	if err != nil {
		return err
	}
	others := watchNeighbours()
	var all []figure
	var failed error
	for _, name := range names {
		fmt.Fprintf(o.env.Stderr, "measuring %s …\n", name)
		figures, err := benches[name](ctx)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
		all = append(all, figures...)
	}
	return errors.Join(printFigures(o.env.Stdout, append(all, others.figure())), failed, stopProfile())
}

// check refuses flags with which there is nothing to measure in these benches.
func (o options) check(benches []string) error {
	for _, flag := range []struct {
		name  string
		value int
	}{{"mailboxes", o.mailboxes}, {"rounds", o.rounds}, {"rows", o.rows}, {"edge-rate", o.edgeRate}, {"forged", o.forged}, {"window", o.window}} {
		if flag.value < 1 || flag.value > most {
			return fmt.Errorf("--%s: %d is not between 1 and %d", flag.name, flag.value, most)
		}
	}
	if o.edgeTime <= 0 {
		return fmt.Errorf("--edge-time: %v is no time to call the edge; try 20s", o.edgeTime)
	}
	return o.checkParts(benches)
}

// most is more than any figure here can mean.
const most = 100_000_000

// startProfile shows where the time goes: go tool pprof -top FILE.
func (o options) startProfile() (stop func() error, err error) {
	if o.profile == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(o.profile)
	if err != nil {
		return nil, fmt.Errorf("make the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("start the profile: %w", err), file.Close())
	}
	return func() error { pprof.StopCPUProfile(); return file.Close() }, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
