package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kindling/internal/console"
)

func (s *shell) tenantCommands() *cobra.Command {
	return s.group(&cobra.Command{Use: "tenant", Aliases: []string{"tenants"}, Short: "See whose admins have to agree, and hand them their links"},
		s.tenantListCommand(), s.tenantLinkCommand(), s.tenantLinksCommand())
}

func (s *shell) tenantListCommand() *cobra.Command {
	var campaign string
	var apps []string
	cmd := &cobra.Command{
		Use: "list", Short: "List the tenants of the mailboxes, and whether their admins have agreed", Args: args(cobra.NoArgs),
		Example: "  kindling tenant list --campaign 'Acme May'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			query := url.Values{}
			if campaign != "" {
				query.Set("campaign", campaign)
			}
			if len(apps) > 0 {
				query.Set("app", strings.Join(apps, ","))
			}
			list, err := get[console.TenantList](cmd.Context(), api, "/tenants", query)
			if err != nil {
				return err
			}
			return s.print(tenantSheet(list))
		},
	}
	cmd.Flags().StringVar(&campaign, "campaign", "", "of this campaign, by id or name")
	cmd.Flags().StringSliceVar(&apps, "app", nil, "of these apps")
	return cmd
}

func tenantSheet(list console.TenantList) sheet {
	d := sheet{
		header: []string{"app", "tenant", "admin_consent", "reason", "mailboxes", "connected", "blocked", "since", "remedy"}, value: list, items: []any{},
	}
	for _, t := range list.Tenants {
		row := append([]string{t.App, t.Tenant, string(t.Consent), t.Reason}, numbers(t.Mailboxes, t.Connected, t.Blocked)...)
		d.rows = append(d.rows, append(row, moment(t.Since), t.Remedy))
		d.items = append(d.items, t)
	}
	return d
}

func (s *shell) tenantLinkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "link APP TENANT", Short: "Hand out the link for the admin of one tenant, named by its domain or its directory's id", Args: args(cobra.ExactArgs(2)),
		Example: "  kindling tenant link main contoso.com",
		RunE: func(cmd *cobra.Command, given []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			link, err := post[console.TenantLink](cmd.Context(), api, "/tenants/link", console.TenantRef{App: given[0], Tenant: given[1]})
			if err != nil {
				return err
			}
			return s.print(sheet{
				header: []string{"app", "tenant", "link", "expires_at"}, rows: [][]string{{link.App, link.Tenant, link.Link, moment(link.ExpiresAt)}}, value: link,
			})
		},
	}
}

func (s *shell) tenantLinksCommand() *cobra.Command {
	var to string
	var overwrite bool
	cmd := &cobra.Command{
		Use: "links CAMPAIGN", Short: "Hand out the links for all admins of a campaign that have not agreed", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			query := url.Values{"format": {"csv"}}
			if s.output == formatJSONL || s.output == formatJSON {
				query.Set("format", "jsonl")
			}
			return s.download(cmd, given[0], "tenants/links", query, to, overwrite)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write to this file, readable by you alone")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file")
	return cmd
}

// tellOfAdmins says before a campaign's links go out how many admins have not agreed: their people would be turned away
// at Microsoft. That this cannot be found out keeps nobody from his links.
func (s *shell) tellOfAdmins(ctx context.Context, api *API, c console.CampaignView) {
	list, err := get[console.TenantList](ctx, api, "/campaigns/"+url.PathEscape(c.ID)+"/tenants", nil)
	refused, isRefusal := errors.AsType[*problemError](err)
	switch {
	case isRefusal && refused.Status == http.StatusNotFound: // an older console knows of none
	case err != nil:
		s.say("whether the tenants' admins have agreed is not known: %v", err)
	case list.Open > 0:
		s.say("the admins of %s of %s tenants have not agreed, as far as is known (kindling tenant list --campaign %s)",
			strconv.Itoa(list.Open), strconv.Itoa(len(list.Tenants)), c.ID)
	}
}
