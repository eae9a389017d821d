package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

const decideLong = "A POST to Warmy may have taken effect although no answer came. Warmy's listing settles that by itself; this is for\n" +
	"when the listing cannot be trusted, or somebody at Warmy has said what became of it. warmy-worker looks at the listing\n" +
	"all the same and refuses what it contradicts, unless --force is given. The reason is recorded.\n"

func (s *shell) adoptCommand() *cobra.Command {
	var body console.Decision
	cmd := s.settling("adopt", "Say under which id Warmy has a mailbox whose POST is unclear, or was given up unsettled", &body, func(ctx context.Context, api *API, id mailbox.ID) error {
		return s.decide(ctx, api, id, "/adopt", "take Warmy's id "+plain(body.WarmyID)+" for", body)
	})
	cmd.Long = decideLong + "It also says which of two ids counts that Warmy has answered with, and adopts a mailbox that Warmy has under another address.\nAfter this the mailbox counts as connected."
	cmd.Example = "  kindling mailbox adopt sales@acme.example --warmy-id 4711 --reason 'seen on its page at Warmy, ticket 12'"
	cmd.Flags().StringVar(&body.WarmyID, "warmy-id", "", "the id that Warmy shows")
	return cmd
}

func (s *shell) declareAbsentCommand() *cobra.Command {
	var body console.Decision
	cmd := s.settling("declare-absent", "Say that Warmy does not have a mailbox whose POST is unclear", &body, func(ctx context.Context, api *API, id mailbox.ID) error {
		return s.decide(ctx, api, id, "/declare-absent", "post again", body)
	})
	cmd.Long = decideLong + "Without --force it waits until the POST can no longer take effect.\n" +
		"After this the mailbox is posted once more: if Warmy has it all the same, it may have it twice then."
	cmd.Example = "  kindling mailbox declare-absent sales@acme.example --reason 'Warmy support: never arrived, ticket 12'"
	return cmd
}

func (s *shell) settling(use, short string, body *console.Decision, run func(context.Context, *API, mailbox.ID) error) *cobra.Command {
	cmd := s.one(use, short, func(ctx context.Context, api *API, id mailbox.ID) error {
		if body.Reason == "" {
			return usage(errors.New("it wants a --reason: how do you know what became of the POST?"))
		}
		return run(ctx, api, id)
	})
	cmd.Flags().BoolVar(&body.Force, "force", false, "whatever Warmy's listing says")
	cmd.Flags().StringVar(&body.Reason, "reason", "", "how you know, for the audit trail")
	return cmd
}

func (s *shell) decide(ctx context.Context, api *API, id mailbox.ID, verb, words string, body console.Decision) error {
	if verb == "/adopt" && body.WarmyID == "" {
		return usage(errors.New("it wants the --warmy-id that Warmy shows"))
	}
	if !s.yes && !s.interactive {
		return usage(errors.New("there is no terminal to ask on: look at 'kindling mailbox show', then say --yes"))
	}
	if err := s.confirm(bulkVerb{verb: words, noun: "mailbox"}, 1); err != nil {
		return err
	}
	done, err := post[console.Decided](ctx, api, "/mailboxes/"+id+verb, body)
	if err != nil {
		return err
	}
	s.say("it is recorded and passed on; kindling mailbox explain %s tells what became of it", done.Mailbox)
	return s.print(sheet{
		header: []string{"mailbox", "address", "decided"},
		rows:   [][]string{{done.Mailbox, done.Address, cmp.Or(done.WarmyID, "absent")}}, value: done,
	})
}
