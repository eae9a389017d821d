package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

// acceptAliasCommand shows both addresses before it asks: whom an operator accepts, Warmy will send mail for.
func (s *shell) acceptAliasCommand() *cobra.Command {
	var body console.Acceptance
	cmd := s.one("accept-alias", "Accept the account that consented in place of the invited one", func(ctx context.Context, api *API, id mailbox.ID) error {
		if body.OtherAccount && body.Reason == "" {
			return usage(errors.New("--other-account wants a --reason: why may another mailbox stand for the invited one?"))
		}
		return s.acceptAlias(ctx, api, id, body)
	})
	cmd.Long = "Microsoft told that another account consented than the invited one. When the invited address is an alias of that\n" +
		"account, this accepts it: the owner consents once more, and the mailbox is connected. When it is not, it is a\n" +
		"different mailbox; --other-account accepts that one account all the same, and wants a reason."
	cmd.Example = "  kindling mailbox accept-alias sales@acme.example\n" +
		"  kindling mailbox accept-alias sales@acme.example --other-account --reason 'Ada has taken over the sales mailbox, ticket 4711'"
	cmd.Flags().BoolVar(&body.OtherAccount, "other-account", false, "also when the invited address is no alias of the account")
	cmd.Flags().StringVar(&body.Reason, "reason", "", "why, for the audit trail")
	return cmd
}

func (s *shell) acceptAlias(ctx context.Context, api *API, id mailbox.ID, body console.Acceptance) error {
	m, err := get[console.MailboxView](ctx, api, "/mailboxes/"+id, nil)
	if err != nil {
		return err
	}
	if other := m.Consented; other != nil { // without one the console says why there is nothing to accept
		body.TenantID, body.ObjectID = other.TenantID, other.ObjectID
		s.say("%s was invited, %s", plain(m.Address), plain(consented(*other)))
		if err := s.confirmAccount(other.Alias || body.OtherAccount); err != nil {
			return err
		}
	}
	done, err := post[console.Accepted](ctx, api, "/mailboxes/"+id+"/accept-alias", body)
	if err != nil {
		return err
	}
	if done.Link == "" {
		s.say("the link has expired: kindling mailbox reinvite %s", id)
	}
	return s.print(sheet{
		header: []string{"mailbox", "address", "accepted", "link", "expires_at"},
		rows:   [][]string{{done.Mailbox, done.Address, done.Consented.Address, done.Link, moment(done.ExpiresAt)}}, value: done,
	})
}

// confirmAccount asks before an account is accepted; what the console will refuse anyway needs no asking.
func (s *shell) confirmAccount(acceptable bool) error {
	switch {
	case !acceptable:
		return nil
	case !s.yes && !s.interactive:
		return usage(errors.New("there is no terminal to ask on: look at 'kindling mailbox show', then say --yes"))
	}
	return s.confirm(bulkVerb{verb: "accept that account for", noun: "mailbox"}, 1)
}

// consented words who consented in place of the invited account.
func consented(o console.OtherAccount) string {
	words := o.Address + " consented"
	if o.Alias {
		words += ", of which the invited address is an alias"
	}
	if o.Accepted {
		words += "; an operator has accepted it"
	}
	return words
}

// otherRows are what a mailbox of which another account consented, or was accepted, shows besides.
func otherRows(m console.MailboxView) [][]string {
	var rows [][]string
	if o := m.Consented; o != nil {
		rows = append(rows, []string{"consented", consented(*o)}, []string{"account", o.ObjectID + " of tenant " + cmp.Or(o.TenantID, "unknown")})
	}
	if k := m.Accepted; k != nil {
		rows = append(rows, []string{"accepted", k.ObjectID + " at " + moment(k.At)})
	}
	return rows
}
