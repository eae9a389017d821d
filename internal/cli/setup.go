package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/bus/users"
	"kindling/internal/console"
	"kindling/internal/seal"
	"kindling/internal/service"
)

const (
	defaultKeys      = "kindling-data/keys"
	defaultNKeys     = "kindling-data/nkeys"
	defaultOperators = "kindling-data/operators.json"
)

func (s *shell) keyCommands() *cobra.Command {
	var dir string
	initialise := &cobra.Command{
		Use: "init", Short: "Make the keysets that are missing; what is there stays", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := seal.Generate(dir); err != nil {
				return err
			}
			s.say("the keysets are in %s: back ids.json, grants.json and people.json up, apart from the data", dir)
			return nil
		},
	}
	initialise.Flags().StringVar(&dir, "dir", defaultKeys, "directory of the keysets")
	return s.group(&cobra.Command{Use: "key", Aliases: []string{"keys"}, Short: "Make keysets, and the processes' keys to NATS"},
		initialise, s.keyNATSCommand())
}

func (s *shell) keyNATSCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "nats", Short: "Make the NKeys of the processes' NATS users that are missing; what is there stays", Args: args(cobra.NoArgs),
		Long: "Make an NKey for the NATS user of each process. The seed, PROCESS.nk, is for nats.creds_file of that process alone;\n" +
			"the public keys, nkeys.conf, belong beside users.conf on the NATS server.",
		RunE: func(*cobra.Command, []string) error {
			if err := users.Generate(dir); err != nil {
				return err
			}
			s.say("the seeds are in %s, one for each process; nkeys.conf there is for the NATS server", dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultNKeys, "directory of the seeds")
	return cmd
}

func (s *shell) operatorCommands() *cobra.Command {
	var file string
	group := s.group(&cobra.Command{Use: "operator", Aliases: []string{"operators"}, Short: "Say who may use the console"},
		s.operatorAddCommand(&file), s.operatorListCommand(&file), s.operatorRemoveCommand(&file))
	group.PersistentFlags().StringVar(&file, "file", defaultOperators, "the console's operators file")
	return group
}

// operators reads the file; one that does not exist has nobody in it.
func operators(file string) ([]console.Operator, error) {
	entries, err := console.LoadOperators(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, service.WithExit(service.ExitData, err)
	}
	return entries, nil
}

func (s *shell) operatorAddCommand(file *string) *cobra.Command {
	var role, to string
	var days int
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add an operator and print the token, once", Args: args(cobra.ExactArgs(1)),
		Example: "  kindling operator add 'Ada Keller' --role operator --write-token ada.token",
		RunE: func(_ *cobra.Command, given []string) error {
			entries, err := operators(*file)
			if err != nil {
				return err
			}
			if _, err := os.Lstat(to); to != "" && err == nil {
				return usage(fmt.Errorf("%s exists: name a file that is not there yet", to))
			}
			token, entry := console.NewOperator(given[0], role)
			if days < 0 {
				return usage(errors.New("--days is not negative"))
			}
			if days > 0 {
				entry.ExpiresAt = time.Now().AddDate(0, 0, days).UTC().Truncate(time.Second)
			}
			w, err := s.target(to, false)
			if err != nil {
				return err
			}
			if err := console.SaveOperators(*file, append(entries, entry)); err != nil {
				return w.end(usage(err))
			}
			_, err = fmt.Fprintln(w, token.Reveal())
			s.say("%s may use the console as %s; the token is shown only now", plain(entry.Name), entry.Role)
			return w.end(err)
		},
	}
	cmd.Flags().StringVar(&role, "role", console.Viewer, "viewer, operator or admin")
	cmd.Flags().IntVar(&days, "days", 0, "the token expires after so many days (default never)")
	cmd.Flags().StringVar(&to, "write-token", "", "write the token to this new file, readable by you alone, instead of printing it")
	return cmd
}

func (s *shell) operatorListCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the operators", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			entries, err := operators(*file)
			if err != nil {
				return err
			}
			d := sheet{header: []string{"name", "role", "created", "expires"}, items: []any{}}
			for _, o := range entries {
				expires := moment(o.ExpiresAt)
				d.rows = append(d.rows, []string{o.Name, o.Role, moment(o.CreatedAt), expires})
				d.items = append(d.items, map[string]string{"name": o.Name, "role": o.Role, "created_at": o.CreatedAt.Format(time.RFC3339), "expires_at": expires})
			}
			d.value = d.items
			return s.print(d)
		},
	}
}

func (s *shell) operatorRemoveCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove an operator; the console knows within a second", Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			entries, err := operators(*file)
			if err != nil {
				return err
			}
			kept := slices.DeleteFunc(slices.Clone(entries), func(o console.Operator) bool { return o.Name == given[0] })
			switch {
			case len(kept) == len(entries):
				return errors.New("there is no operator of this name (there are " + strconv.Itoa(len(entries)) + ")")
			case admins(entries) > 0 && admins(kept) == 0:
				return errors.New("this is the last admin, without whom nobody may discard: add another one first (kindling operator add NAME --role admin)")
			}
			return console.SaveOperators(*file, kept)
		},
	}
}

// admins counts those whose token has not expired.
func admins(entries []console.Operator) int {
	n := 0
	for _, o := range entries {
		if o.Role == console.Admin && (o.ExpiresAt.IsZero() || o.ExpiresAt.After(time.Now())) {
			n++
		}
	}
	return n
}
