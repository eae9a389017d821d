// Package cli is the operator's command line: a thin client of the console's API, and what prepares a machine for it
// (keys, operators, configuration).
//
// It promises what scripts rely on: data on standard output, talk on standard error, exit codes that tell wrong use
// from refused data, a server that is away, and work that was done in part; no bulk verb without a selection, a count
// and a yes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"kindling/internal/service"
)

// The environment variables that stand for --server and --token-file.
const (
	EnvServer    = "KINDLING_SERVER"
	EnvTokenFile = "KINDLING_TOKEN_FILE"
)

const (
	defaultServer    = "http://127.0.0.1:8090"
	defaultTokenFile = "kindling-data/operator.token" //nolint:gosec // a path, not a token
)

// shell is what every command shares.
type shell struct {
	env         service.Env
	server      string
	tokenFile   string
	output      string
	yes         bool
	interactive bool // somebody can be asked
	progress    bool // standard error is a terminal
	colour      bool
}

// Run reads the command line in env and does what it says. Its error knows its exit code (service.ExitCode).
// The extra commands become children of kindling.
func Run(ctx context.Context, env service.Env, extra ...*cobra.Command) error {
	err := New(env, extra...).ExecuteContext(ctx)
	if err == nil || err.Error() == "" || ctx.Err() != nil {
		return err
	}
	// People and scripts read this, so it is a sentence and no record of a log.
	fmt.Fprintf(env.Stderr, "kindling: %v\n", err)
	return service.WithExit(service.ExitCode(err), errors.New(""))
}

// New builds the command tree, for Run and for whoever prints it.
func New(env service.Env, extra ...*cobra.Command) *cobra.Command {
	s := &shell{
		env: env, interactive: isTerminal(env.Stdin) && isTerminal(env.Stderr), progress: isTerminal(env.Stderr),
		colour: isTerminal(env.Stdout) && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb",
	}
	root := s.group(&cobra.Command{
		Use:   "kindling",
		Short: "Connect Outlook mailboxes to Warmy, in bulk",
		Long: "Kindling imports campaigns of mailboxes, hands out consent links, and registers what the owners granted at Warmy.\n" +
			"Exit codes: 0 ok, 1 failed, 3 done in part, 64 wrong use, 65 bad data, 69 unavailable, 77 not allowed, 78 bad configuration.",
		SilenceErrors: true, SilenceUsage: true,
	})
	flags := root.PersistentFlags()
	flags.StringVar(&s.server, "server", "", "address of the console (default $"+EnvServer+", or "+defaultServer+")")
	flags.StringVar(&s.tokenFile, "token-file", "", "file with your token (default $"+EnvTokenFile+", or "+defaultTokenFile+")")
	flags.StringVarP(&s.output, "output", "o", formatTable, "table, json, jsonl or csv")
	flags.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return checkFormat(s.output) }
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.AddCommand(
		s.statusCommand(), s.campaignCommands(), s.tenantCommands(), s.mailboxCommands(), s.deadCommands(), s.replayCommands(), s.legCommands(),
		s.configCommands(), s.doctorCommand(), s.storeCommands(), s.keyCommands(), s.operatorCommands(), s.versionCommand(),
	)
	root.AddCommand(extra...)
	return root
}

// group makes a command that only has children: called by itself, or with a child that there is not, it is wrong use.
func (s *shell) group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(children...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(s.env.Stderr)
			return errors.Join(cmd.Help(), usage(fmt.Errorf("which command? see %s --help", cmd.CommandPath())))
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usage(fmt.Errorf("%s has no command %.40q%s", cmd.CommandPath(), args[0], hint))
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// args wraps a check of arguments so that its failure is wrong use.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usage(err)
		}
		return nil
	}
}

func usage(err error) error { return service.WithExit(service.ExitUsage, err) }

// isTerminal reports whether f is a character device, which is what a terminal is.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// say tells the operator something that is not data.
func (s *shell) say(format string, values ...any) {
	_, _ = fmt.Fprintf(s.env.Stderr, format+"\n", values...) // nobody is left to be told
}

// answer prints a sentence that answers the question, which is data. The other forms of output hold it in fields, or as
// rows alone, so that there it is talk.
func (s *shell) answer(format string, values ...any) {
	if s.output != formatTable {
		s.say(format, values...)
		return
	}
	_, _ = fmt.Fprintf(s.env.Stdout, format+"\n", values...) // nobody is left to be told
}

func (s *shell) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Revision string `json:"revision,omitempty"`
			}{Version: "unknown"}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Version, v.Go = info.Main.Version, info.GoVersion
				for _, setting := range info.Settings {
					if setting.Key == "vcs.revision" {
						v.Revision = setting.Value
					}
				}
			}
			return s.print(sheet{header: []string{"version", "go", "revision"}, rows: [][]string{{v.Version, v.Go, v.Revision}}, value: v})
		},
	}
}
