package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/doctor"
	"kindling/internal/service"
)

// doctorFlags say what is examined.
type doctorFlags struct {
	config, data, process string
	pre                   bool
}

func (s *shell) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use: "doctor", Short: "Examine configuration, keys, clock, NATS, edge, apps and accounts before links go out", Args: args(cobra.NoArgs),
		Long: "Examine all that a process stands on, before links go out: the configuration, keysets, clock, message store, the public address,\n" +
			"each app registration at Microsoft and each account at Warmy. It changes nothing. Run it as the user, and on the host, of the process.\n\n" +
			"Microsoft is asked for the tokens of a made-up code: that the code alone is refused shows that app, tenant and client secret are\n" +
			"right. Each client secret is tried by itself; where none is refused, a made-up one is sent, too, to see that it would be. Warmy is\n" +
			"asked for its tariff plans, with one call.\n\n" +
			"Every finding is ok, warn, fail or skipped. All checks run, whatever the others found, and the whole ends within a minute.\n" +
			"Exit codes: 0 if nothing failed, 78 if only settings have to be changed, 69 if only something could not be reached, else 1.",
		Example: "  kindling doctor --pre\n  kindling doctor\n  kindling doctor --for token-worker --config /etc/kindling/worker.yaml -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.examine(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.pre, "pre", false, "nothing runs here yet: leave NATS and the edge out")
	flags.StringVar(&f.process, "for", "up", "the process: "+strings.Join(config.RoleNames(), ", "))
	flags.StringVar(&f.config, "config", "", "configuration `file` (default "+config.DefaultFile+")")
	flags.StringVar(&f.data, "data", "kindling-data", "`directory` of kindling up")
	return cmd
}

func (s *shell) examine(ctx context.Context, f doctorFlags) error {
	role, ok := config.RoleOf(f.process)
	if !ok {
		return usage(fmt.Errorf("--for is one of %s", strings.Join(config.RoleNames(), ", ")))
	}
	data := app.Data(f.data)
	load := func() (config.Config, error) {
		cfg, err := config.Load(config.Source{
			File: f.config, Environ: s.env.Environ(), Known: []string{service.EnvLog, service.EnvLogFormat, EnvServer, EnvTokenFile},
		})
		if role == config.Up {
			cfg.Keys.Dir = cmp.Or(cfg.Keys.Dir, data.Keys())
		}
		return ofUp(cfg, f.process), err
	}
	s.say("examining what %s stands on; this takes up to a minute", f.process)
	found := doctor.Doctor{Load: load, Role: role, Process: f.process, Pre: f.pre, Data: data}.Examine(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.print(findingsSheet(found)); err != nil {
		return err
	}
	counts := map[doctor.Status]int{}
	for _, finding := range found {
		counts[finding.Status]++
	}
	s.say("%d ok, %d to know of, %d failed, %d skipped", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail], counts[doctor.Skipped])
	return doctor.Verdict(found)
}

func findingsSheet(found []doctor.Finding) sheet {
	d := sheet{header: []string{"status", "area", "subject", "found", "remedy"}, items: []any{}}
	for _, f := range found {
		d.rows = append(d.rows, []string{string(f.Status), f.Area, f.Subject, f.Found, f.Remedy})
		d.items = append(d.items, f)
	}
	d.value = d.items
	return d
}
