package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

func (s *shell) reconnectCommand() *cobra.Command {
	var sel console.MailboxSelection
	var b bulkFlags
	var told string
	cmd := &cobra.Command{
		Use: "reconnect [ID|ADDRESS]", Short: "Tell Warmy again which tokens and client secret to use, for one registered mailbox or a selection",
		Long: "Tell Warmy again which tokens and client secret to use. Each mailbox is posted to Warmy once more, with a fresh token and\n" +
			"the app's first client secret. Use it after a client secret was rotated, or when Warmy says that it lost a mailbox.\n" +
			"Begin with one mailbox and look at it in Warmy, then take a canary: Warmy does not document what a second POST does.\n" +
			"Never more is under way than the account works off in a minute, whatever --rate says, so that new mailboxes need not wait.",
		Args: args(cobra.MaximumNArgs(1)),
		Example: "  kindling mailbox reconnect ada@acme.example --reason 'first after the rotation'\n" +
			"  kindling mailbox reconnect --app main --told-before 2026-11-30T08:00:00Z --canary 10 --reason 'client secret rotated'",
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			if sel.ToldBefore, err = when(told, time.Now()); err != nil {
				return usage(fmt.Errorf("--told-before: %w", err))
			}
			if len(given) == 0 {
				return s.reconnect(cmd.Context(), sel, b)
			}
			if anyChanged(cmd, "campaign", "why", "account", "id", "told-before", "all") {
				return usage(errors.New("one mailbox is named beside a selection: leave one of them out"))
			}
			return s.reconnectOne(cmd.Context(), given[0], sel.Apps, b)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&sel.IDs, "id", nil, "these mailboxes, by their ids")
	flags.StringSliceVar(&sel.Campaigns, "campaign", nil, "of these campaigns, by id or name")
	flags.StringSliceVar(&sel.Apps, "app", nil, "of these apps")
	flags.StringSliceVar(&sel.Accounts, "account", nil, "of these accounts")
	flags.StringSliceVar(&sel.Reasons, "why", nil, "for these reasons, such as reconnect_due or reconnect_failed")
	flags.StringVar(&told, "told-before", "", toldBefore)
	flags.BoolVar(&sel.All, "all", false, "all that are registered")
	b.add(cmd, true)
	return cmd
}

func (s *shell) reconnectOne(ctx context.Context, ref string, apps []string, b bulkFlags) error {
	app := ""
	switch len(apps) {
	case 0:
	case 1:
		app = apps[0]
	default:
		return usage(errors.New("--app takes one name when an address is given"))
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	id, err := s.resolve(ctx, api, ref, app)
	if err != nil {
		return err
	}
	return s.reconnect(ctx, console.MailboxSelection{IDs: []mailbox.ID{id}}, b)
}

func (s *shell) reconnect(ctx context.Context, sel console.MailboxSelection, b bulkFlags) error {
	body := func(dry bool, confirm *int) any {
		return console.BulkReconnect{Selection: sel, BulkOptions: b.options(dry, confirm)}
	}
	return s.bulk(ctx, bulkVerb{verb: "reconnect", noun: "mailboxes", path: "/mailboxes/reconnect", body: body}, b)
}
