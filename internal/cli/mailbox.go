package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

func (s *shell) mailboxCommands() *cobra.Command {
	return s.group(&cobra.Command{Use: "mailbox", Aliases: []string{"mailboxes"}, Short: "Look at mailboxes, issue new links, reconnect them at Warmy, accept aliases"},
		s.mailboxListCommand(), s.mailboxShowCommand(), s.explainCommand(), s.reinviteCommand(), s.reconnectCommand(), s.acceptAliasCommand(),
		s.adoptCommand(), s.declareAbsentCommand())
}

// toldBefore explains the flag of that name.
const toldBefore = "registered at Warmy, and not told again since then: a time, or how long ago (2h, 3d)"

// pageSize is how many rows are asked for at once.
const pageSize = 200

func (s *shell) mailboxListCommand() *cobra.Command {
	var campaigns, states, reasons, apps, accounts []string
	var told string
	var limit int
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List mailboxes", Args: args(cobra.NoArgs),
		Example: "  kindling mailbox list --campaign acme-may-abcdefgh --state needs_consent,dead",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(fmt.Errorf("--limit %d: at least 1 mailbox is listed; --all lists everything", limit))
			}
			if all {
				limit = 1 << 30
			}
			before, err := when(told, time.Now())
			if err != nil {
				return usage(fmt.Errorf("--told-before: %w", err))
			}
			query := url.Values{}
			if !before.IsZero() {
				query.Set("told_before", before.Format(time.RFC3339))
			}
			for key, list := range map[string][]string{"campaign": campaigns, "state": states, "reason": reasons, "app": apps, "account": accounts} {
				if len(list) > 0 {
					query.Set(key, strings.Join(list, ","))
				}
			}
			return s.listMailboxes(cmd.Context(), query, limit)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&campaigns, "campaign", nil, "of these campaigns, by id or name")
	flags.StringSliceVar(&states, "state", nil, "in these states")
	flags.StringSliceVar(&reasons, "reason", nil, "for these reasons, such as declined or link_expired")
	flags.StringSliceVar(&apps, "app", nil, "of these apps")
	flags.StringSliceVar(&accounts, "account", nil, "of these accounts")
	flags.StringVar(&told, "told-before", "", toldBefore)
	flags.IntVar(&limit, "limit", 50, "at most so many")
	flags.BoolVar(&all, "all", false, "all of them")
	return cmd
}

func (s *shell) listMailboxes(ctx context.Context, query url.Values, limit int) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	var found []console.MailboxView
	for {
		query.Set("limit", strconv.Itoa(min(pageSize, limit-len(found))))
		page, err := get[console.MailboxList](ctx, api, "/mailboxes", query)
		if err != nil {
			return err
		}
		found = append(found, page.Mailboxes...)
		if page.Next == "" {
			break
		}
		if len(found) >= limit {
			s.say("there are more; --all lists them")
			break
		}
		query.Set("cursor", page.Next)
	}
	return s.print(mailboxSheet(found))
}

func mailboxSheet(found []console.MailboxView) sheet {
	d := sheet{
		header: []string{"id", "address", "campaign", "state", "reason", "since", "warmy_id", "remedy"},
		value:  console.MailboxList{Mailboxes: found}, items: []any{},
	}
	for _, m := range found {
		d.rows = append(d.rows, []string{m.ID, m.Address, m.Campaign, string(m.State), cmp.Or(m.ReasonCode, m.Code, m.Stage), moment(m.Since), m.WarmyID, m.Remedy})
		d.items = append(d.items, m)
	}
	return d
}

// resolve finds one mailbox by its id or its address.
func (s *shell) resolve(ctx context.Context, api *API, ref, app string) (mailbox.ID, error) {
	if !strings.Contains(ref, "@") {
		if ref == "" || strings.ContainsFunc(ref, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }) {
			return "", usage(fmt.Errorf("%.40q is neither an id nor an address", ref))
		}
		return ref, nil
	}
	list, err := post[console.MailboxList](ctx, api, "/mailboxes/find", console.Lookup{Address: ref, App: app})
	switch {
	case err != nil:
		return "", err
	case len(list.Mailboxes) == 0:
		return "", errors.New("no mailbox has this address: check its spelling and --app, or find it with 'kindling mailbox list --all'; what is not there is to be imported first")
	case len(list.Mailboxes) > 1:
		return "", usage(errors.New("several apps have a mailbox of this address: name one with --app, or give the id"))
	}
	return list.Mailboxes[0].ID, nil
}

// one makes a command about one mailbox.
func (s *shell) one(use, short string, run func(ctx context.Context, api *API, id mailbox.ID) error) *cobra.Command {
	var app string
	cmd := &cobra.Command{
		Use: use + " ID|ADDRESS", Short: short, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			id, err := s.resolve(cmd.Context(), api, given[0], app)
			if err != nil {
				return err
			}
			return run(cmd.Context(), api, id)
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "the app, when an address has mailboxes of several")
	return cmd
}

func (s *shell) mailboxShowCommand() *cobra.Command {
	return s.one("show", "Show a mailbox", func(ctx context.Context, api *API, id mailbox.ID) error {
		m, err := get[console.MailboxView](ctx, api, "/mailboxes/"+id, nil)
		if err != nil {
			return err
		}
		if s.output != formatTable {
			d := mailboxSheet([]console.MailboxView{m})
			d.value = m
			return s.print(d)
		}
		rows := [][]string{
			{"id", m.ID},
			{"address", m.Address},
			{"campaign", m.Campaign},
			{"app", m.App},
			{"account", m.Account},
			{"state", string(m.State)},
			{"since", moment(m.Since)},
			{"reason", m.Reason},
			{"remedy", m.Remedy},
			{"next", m.Next},
			{"warmy id", m.WarmyID},
			{"invited", moment(m.InvitedAt)},
			{"link", fmt.Sprintf("number %d, opens until %s", m.LinkGeneration, moment(m.LinkExpiresAt))},
		}
		return s.print(sheet{header: []string{"field", "value"}, rows: append(rows, otherRows(m)...)})
	})
}

func (s *shell) explainCommand() *cobra.Command {
	return s.one("explain", "Tell why a mailbox is where it is", func(ctx context.Context, api *API, id mailbox.ID) error {
		e, err := get[console.Explanation](ctx, api, "/mailboxes/"+id+"/explain", nil)
		if err != nil {
			return err
		}
		d := sheet{header: []string{"at", "by", "what", "detail"}, value: e, items: []any{}}
		for _, m := range e.Timeline {
			d.rows = append(d.rows, []string{moment(m.At), m.By, m.What, m.Detail})
			d.items = append(d.items, m)
		}
		s.answer("%s is %s since %s", plain(e.Mailbox.Address), e.Mailbox.State, moment(e.Mailbox.Since))
		if other := e.Mailbox.Consented; other != nil {
			s.answer("  %-6s %s was invited, %s", "who:", plain(e.Mailbox.Address), plain(consented(*other)))
		}
		for _, line := range [][2]string{{"why", e.Mailbox.Reason}, {"to do", e.Mailbox.Remedy}, {"next", e.Mailbox.Next}} {
			if line[1] != "" {
				s.answer("  %-6s %s", line[0]+":", plain(line[1]))
			}
		}
		return s.print(d)
	})
}

func (s *shell) reinviteCommand() *cobra.Command {
	var sel console.MailboxSelection
	var states []string
	var b bulkFlags
	var force bool
	var app string
	cmd := &cobra.Command{
		Use: "reinvite [ID|ADDRESS]", Short: "Issue a new link for one mailbox, or for a selection", Args: args(cobra.MaximumNArgs(1)),
		Example: "  kindling mailbox reinvite ada@acme.example --reason 'lost the mail'\n" +
			"  kindling mailbox reinvite --campaign acme-may-abcdefgh --state needs_consent --yes",
		RunE: func(cmd *cobra.Command, given []string) error {
			for _, state := range states {
				sel.States = append(sel.States, mailbox.State(state))
			}
			if len(given) == 1 {
				if anyChanged(cmd, "campaign", "state", "why", "account", "all") {
					return usage(errors.New("one mailbox is named beside a selection: leave one of them out"))
				}
				return s.reinviteOne(cmd.Context(), given[0], app, console.Reinvitation{Reason: b.reason, Force: force})
			}
			if app != "" {
				sel.Apps = []string{app}
			}
			return s.reinviteMany(cmd.Context(), sel, b)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&sel.Campaigns, "campaign", nil, "of these campaigns, by id or name")
	flags.StringSliceVar(&states, "state", nil, "in these states")
	flags.StringSliceVar(&sel.Reasons, "why", nil, "for these reasons, such as declined or link_expired")
	flags.StringSliceVar(&sel.Accounts, "account", nil, "of these accounts")
	flags.StringVar(&app, "app", "", "of this app")
	flags.BoolVar(&sel.All, "all", false, "all that a new link can help")
	flags.BoolVar(&force, "force", false, "of one mailbox: also while work on it is under way")
	b.add(cmd, false)
	return cmd
}

func (s *shell) reinviteOne(ctx context.Context, ref, app string, body console.Reinvitation) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	id, err := s.resolve(ctx, api, ref, app)
	if err != nil {
		return err
	}
	link, err := post[console.NewLink](ctx, api, "/mailboxes/"+id+"/reinvite", body)
	if err != nil {
		return err
	}
	return s.print(sheet{
		header: []string{"mailbox", "link", "expires_at"}, rows: [][]string{{link.Mailbox, link.Link, moment(link.ExpiresAt)}}, value: link,
	})
}

func (s *shell) reinviteMany(ctx context.Context, sel console.MailboxSelection, b bulkFlags) error {
	body := func(dry bool, confirm *int) any {
		return console.BulkInvite{Selection: sel, DryRun: dry, Confirm: confirm, Reason: b.reason, Rate: b.rate}
	}
	return s.bulk(ctx, bulkVerb{verb: "issue new links for", noun: "mailboxes", path: "/mailboxes/reinvite", body: body}, b)
}
