package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/service"
)

// storeFlags say which message store is meant, and as whom.
type storeFlags struct {
	config, data, url, creds string
}

// storeCommands speak to the message store itself, with an administrator's credentials: where no process starts, there is
// no console to ask.
func (s *shell) storeCommands() *cobra.Command {
	var f storeFlags
	group := s.group(&cobra.Command{
		Use: "store", Short: "Compare the message store with what this version needs, and bring it there",
		Long: "Compare the message store with what this version needs, and bring it there.\n\n" +
			"The store is that of nats.url in the configuration; without one it is that of kindling up in --data, which must not be running.",
	}, s.storeCheckCommand(&f), s.storeMigrateCommand(&f))
	flags := group.PersistentFlags()
	flags.StringVar(&f.config, "config", "", "configuration `file` (default "+config.DefaultFile+")")
	flags.StringVar(&f.data, "data", "kindling-data", "`directory` of kindling up")
	flags.StringVar(&f.url, "url", "", "`address` of the NATS server instead of nats.url")
	flags.StringVar(&f.creds, "creds", "", "credentials `file` of an administrator instead of nats.creds_file")
	return group
}

// open opens the store for as long as use takes.
func (s *shell) open(ctx context.Context, f storeFlags, use func(*app.Store) error) (err error) {
	flags := make(map[string]string)
	for key, value := range map[string]string{"nats.url": f.url, "nats.creds_file": f.creds} {
		if value != "" {
			flags[key] = value
		}
	}
	cfg, err := config.Load(config.Source{
		File: f.config, Environ: s.env.Environ(), Flags: flags, Known: []string{service.EnvLog, service.EnvLogFormat, EnvServer, EnvTokenFile},
	})
	if err != nil {
		return err
	}
	log := s.env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	store, err := app.OpenStore(ctx, cfg, app.Data(f.data), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return use(store)
}

func (s *shell) storeCheckCommand(f *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Show what differs, and whether processes would start; changes nothing", Args: args(cobra.NoArgs),
		Long: "Show every setting of streams and consumers that differs from what this version expects, and what the server tells of itself.\n" +
			"Exit code 0 if processes would start, 78 if they would refuse the store.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.open(cmd.Context(), *f, func(store *app.Store) error { return s.check(cmd.Context(), store) })
		},
	}
}

func (s *shell) check(ctx context.Context, store *app.Store) error {
	found, err := store.Inspect(ctx)
	if err != nil {
		return storeExit(err)
	}
	plan, err := store.MigrationPlan(ctx)
	if err != nil {
		return storeExit(err)
	}
	if err := s.print(planSheet(plan, found)); err != nil {
		return err
	}
	return s.verdict(append(found, bus.Findings(plan.Drifts())...))
}

// verdict says whether processes would start.
func (s *shell) verdict(found []bus.Finding) error {
	if bus.Unfit(found) == nil {
		s.say("the store is fit for use")
		return nil
	}
	return service.WithExit(service.ExitConfig, errors.New("processes refuse this store; see what is unsafe above"))
}

func (s *shell) storeMigrateCommand(f *storeFlags) *cobra.Command {
	var dry bool
	var also []string
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring streams and consumers to what this version needs", Args: args(cobra.NoArgs),
		Long: "Make the streams that are missing and change the settings that are unsafe. The plan is shown first; the audit trail records it.\n" +
			"What cannot be changed in place is shown with its remedy and left alone, as is what is yours to choose unless --also names it.\n" +
			"Exit code 0 if processes would start afterwards, 78 if something is left that they refuse.",
		Example: "  kindling store migrate --dry-run\n  kindling store migrate --creds admin.creds --also num_replicas,max_bytes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.open(cmd.Context(), *f, func(store *app.Store) error { return s.migrate(cmd.Context(), store, dry, also) })
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show the plan and change nothing")
	cmd.Flags().StringSliceVar(&also, "also", nil, "`settings` of your choice that shall be this version's again")
	return cmd
}

func (s *shell) migrate(ctx context.Context, store *app.Store, dry bool, also []string) error {
	plan, err := store.MigrationPlan(ctx, also...)
	switch {
	case errors.Is(err, bus.ErrNoSetting):
		return usage(err)
	case err != nil:
		return storeExit(err)
	}
	if err := s.print(planSheet(plan, nil)); err != nil {
		return err
	}
	changes := len(plan.Changes())
	switch {
	case changes == 0:
		s.say("there is nothing to change")
	case dry:
		s.say("%d streams and consumers would be changed; nothing was changed", changes)
	default:
		if err := s.confirm(bulkVerb{verb: "change", noun: "streams and consumers"}, changes); err != nil {
			return err
		}
		if plan, err = s.carryOut(ctx, store, plan); err != nil {
			return err
		}
	}
	if left := len(plan.ByHand()); left > 0 {
		return service.WithExit(service.ExitConfig, fmt.Errorf("%d streams or consumers cannot be changed in place; their remedy stands above", left))
	}
	return nil
}

// carryOut takes the plan's steps and returns what is left afterwards.
func (s *shell) carryOut(ctx context.Context, store *app.Store, plan bus.MigrationPlan) (bus.MigrationPlan, error) {
	done, err := store.Migrate(ctx, plan, operatorHere())
	for _, step := range done {
		s.say("done: %s %s", step.Action, plain(step.Name()))
	}
	if err != nil {
		return bus.MigrationPlan{}, storeExit(fmt.Errorf("%w (what is done stays; look with kindling store check and go on with kindling store migrate)", err))
	}
	left, err := store.MigrationPlan(ctx)
	if err != nil {
		return bus.MigrationPlan{}, storeExit(err)
	}
	for _, step := range left.Changes() {
		return bus.MigrationPlan{}, fmt.Errorf("the server did not take over the change of %s", step.Name())
	}
	return left, nil
}

// storeExit gives an error of the store the exit code that tells who can help.
func storeExit(err error) error {
	switch {
	case errors.Is(err, bus.ErrDenied):
		return service.WithExit(service.ExitPermission, err)
	case errors.Is(err, bus.ErrUnfit):
		return service.WithExit(service.ExitConfig, err)
	case errors.Is(err, bus.ErrUnavailable):
		return service.WithExit(service.ExitUnavailable, err)
	}
	return err
}

// operatorHere names who runs this command, for the audit trail.
func operatorHere() string {
	if who, err := user.Current(); err == nil {
		return "local:" + who.Username
	}
	return "local:unknown"
}

// planSheet shows what the server tells of itself, then the steps, a line for each setting.
func planSheet(plan bus.MigrationPlan, server []bus.Finding) sheet {
	d := sheet{header: []string{"action", "what", "setting", "is", "expected", "why"}, items: []any{}}
	value := struct {
		Server []bus.Finding `json:"server,omitempty"`
		Steps  []bus.Step    `json:"steps"`
	}{server, append([]bus.Step{}, plan.Steps...)}
	for _, f := range server {
		d.rows = append(d.rows, []string{string(f.Severity), "server", "", "", "", f.String()})
		d.items = append(d.items, f)
	}
	for _, step := range plan.Steps {
		d.items = append(d.items, step)
		if step.Action == bus.Create {
			d.rows = append(d.rows, []string{string(step.Action), step.Name(), "", "", "", "it is missing; a process makes it, too, when it starts"})
		}
		for _, drift := range step.Drifts {
			d.rows = append(d.rows, []string{string(step.Action), step.Name(), drift.Setting, drift.Have, drift.Want, why(step, drift)})
		}
	}
	d.value = value
	return d
}

// why says what is wrong with a setting and, where the verb does not mend it, what helps.
func why(step bus.Step, d bus.Drift) string {
	words := []string{d.Harm}
	if d.Harm == "" {
		words = nil
	}
	if step.Action != bus.Update {
		words = append(words, d.Remedy())
	}
	return strings.Join(words, "; ")
}
