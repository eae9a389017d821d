package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kindling/internal/config"
	"kindling/internal/service"
)

func (s *shell) configCommands() *cobra.Command {
	var file string
	source := func() config.Source {
		return config.Source{
			File: file, Environ: s.env.Environ(), Known: []string{service.EnvLog, service.EnvLogFormat, EnvServer, EnvTokenFile},
		}
	}
	group := s.group(&cobra.Command{Use: "config", Short: "Show and check the configuration"},
		s.configShowCommand(source), s.configValidateCommand(source))
	group.PersistentFlags().StringVar(&file, "config", "", "configuration file (default "+config.DefaultFile+")")
	return group
}

func (s *shell) configShowCommand(source func() config.Source) *cobra.Command {
	var origin bool
	show := &cobra.Command{
		Use: "show", Short: "Print the effective configuration, secrets redacted", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(source())
			if err != nil {
				return err
			}
			d := sheet{header: []string{"key", "value"}, items: []any{}}
			if origin {
				d.header = append(d.header, "origin")
			}
			for _, e := range cfg.Show(origin) {
				row := []string{e.Key, e.Value}
				item := map[string]string{"key": e.Key, "value": e.Value}
				if origin {
					row = append(row, e.Origin)
					item["origin"] = e.Origin
				}
				d.rows, d.items = append(d.rows, row), append(d.items, item)
			}
			d.value = d.items
			return s.print(d)
		},
	}
	show.Flags().BoolVar(&origin, "origin", false, "also where each value comes from")
	return show
}

func (s *shell) configValidateCommand(source func() config.Source) *cobra.Command {
	var process string
	validate := &cobra.Command{
		Use: "validate", Short: "Check the configuration as a process does at its start; all problems at once, exit 78", Args: args(cobra.NoArgs),
		Long: "Check the configuration as a process does at its start: the settings, and that the files which that process needs can be read.\n" +
			"Run it as the user, and on the host, of the process.",
		Example: "  kindling config validate --for up\n  kindling config validate --for edge --config /etc/kindling/edge.yaml",
		RunE:    func(*cobra.Command, []string) error { return s.validate(source(), process) },
	}
	validate.Flags().StringVar(&process, "for", "up", "the process: "+strings.Join(config.RoleNames(), ", "))
	return validate
}

func (s *shell) validate(src config.Source, process string) error {
	role, ok := config.RoleOf(process)
	if !ok {
		return usage(fmt.Errorf("--for is one of %s", strings.Join(config.RoleNames(), ", ")))
	}
	from := src.Path()
	if from == "" {
		from = "the environment alone; there is no " + config.DefaultFile
	}
	s.say("checking %s, for %s", plain(from), process)
	cfg, err := config.Load(src)
	if err != nil {
		return err
	}
	if err := ofUp(cfg, process).Require(role); err != nil {
		return err
	}
	for _, w := range cfg.Warnings(role) {
		s.say("warning: %s", plain(w.String()))
	}
	s.say("the configuration is valid for %s", process)
	return nil
}

// ofUp fills in what `kindling up` brings by itself: keysets and a file of operators beside its data. The latter makes
// any console.listen a safe one.
func ofUp(cfg config.Config, process string) config.Config {
	if process != "up" {
		return cfg
	}
	cfg.Keys.Dir = cmp.Or(cfg.Keys.Dir, defaultKeys)
	if cfg.Console.OperatorsFile == "" {
		cfg.Console.Listen = "127.0.0.1:0"
	}
	return cfg
}
