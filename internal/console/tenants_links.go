package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// TenantLink is the link to hand to a tenant's admin.
type TenantLink struct {
	App       string    `json:"app"`
	Tenant    string    `json:"tenant"`
	Link      string    `json:"link"`
	ExpiresAt time.Time `json:"expires_at"`
}

// TenantRef is the body of POST /tenants/link.
type TenantRef struct {
	App    string `json:"app"`
	Tenant string `json:"tenant"`
}

func (c *Console) postTenantLink(r *request) error {
	var body TenantRef
	if err := readJSON(r.Request, &body); err != nil {
		return err
	}
	link, err := c.handOutTenantLink(r, body)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, link)
}

// handOutTenantLink gives one link, of any tenant: an operator may ask an admin before the campaign exists.
func (c *Console) handOutTenantLink(r *request, ref TenantRef) (TenantLink, error) {
	app, tenant := strings.TrimSpace(ref.App), strings.ToLower(strings.TrimSpace(ref.Tenant))
	if len(c.cfg.Apps) > 0 && !slices.Contains(c.cfg.Apps, app) {
		return TenantLink{}, errUnknown("app", c.cfg.Apps)
	}
	if !mailbox.NamesTenant(tenant) {
		return TenantLink{}, errBadRequest("bad_tenant", "the tenant is neither a domain nor a directory's id",
			"give a domain of the organisation, such as contoso.com, or the id from its Azure portal")
	}
	var link TenantLink
	d := deed{action: "tenant.link", target: app + "/" + tenant, count: 1}
	err := c.audited(r.Context(), r, d, func(context.Context) error {
		var err error
		link, err = c.tenantLink(app, tenant)
		return err
	})
	return link, err
}

func (c *Console) tenantLink(app, tenant string) (TenantLink, error) {
	expires := c.cfg.Now().Add(c.cfg.LinkLife).UTC().Truncate(time.Second)
	token, err := c.cfg.AdminLinks.Token(mailbox.AdminLink{App: app, Tenant: tenant, Expires: expires})
	if err != nil {
		return TenantLink{}, err
	}
	address := secret.New(c.cfg.PublicURL + "/admin-consent/" + token)
	return TenantLink{App: app, Tenant: tenant, Link: address.Reveal(), ExpiresAt: expires}, nil
}

// getTenantLinks hands out the links of a campaign's tenants whose admins have not agreed. That is audited, as for the
// links of owners.
func (c *Console) getTenantLinks(r *request) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	q, err := readQuery(r, "format")
	if err != nil {
		return err
	}
	format := q.one("format", "csv")
	if format != "csv" && format != "jsonl" {
		return errBadRequest("bad_parameter", "the format is neither csv nor jsonl", "use one of them")
	}
	rows, err := c.tenantLinkRows(c.tenants(view.ID, nil).Tenants)
	if err != nil {
		return err
	}
	d := deed{action: "campaign.tenant_links", target: view.ID, count: len(rows)}
	if err := c.intend(r.Context(), r.actor, r.id, d); err != nil {
		return err
	}
	err = writeTenantLinks(r.w, view.ID+"-tenants."+format, format, rows)
	c.concluded(r.Context(), r.actor, r.id, d, err)
	return nil
}

// TenantLinkRow is a line of the links of a campaign's tenants.
type TenantLinkRow struct {
	TenantLink

	Mailboxes int                `json:"mailboxes"`
	Consent   mailbox.AdminState `json:"admin_consent"`
}

// tenantLinkRows makes the links of the tenants whose admins have not agreed.
func (c *Console) tenantLinkRows(tenants []TenantView) ([]TenantLinkRow, error) {
	var rows []TenantLinkRow
	for _, t := range tenants {
		if t.Consent.Settled() {
			continue
		}
		link, err := c.tenantLink(t.App, t.Tenant)
		if err != nil {
			return nil, err
		}
		rows = append(rows, TenantLinkRow{TenantLink: link, Mailboxes: t.Mailboxes, Consent: t.Consent})
	}
	return rows, nil
}

func writeTenantLinks(w http.ResponseWriter, name, format string, rows []TenantLinkRow) error {
	if format == "jsonl" {
		startFile(w, "application/jsonl", name)
		enc := json.NewEncoder(w)
		for _, row := range rows {
			if err := enc.Encode(row); err != nil {
				return fmt.Errorf("write admins' links: %w", err)
			}
		}
		return nil
	}
	startFile(w, "text/csv; charset=utf-8", name)
	out := csv.NewWriter(w)
	out.UseCRLF = true
	var errs []error
	errs = append(errs, out.Write([]string{"app", "tenant", "mailboxes", "admin_consent", "link", "expires_at"}))
	for _, row := range rows {
		errs = append(errs, out.Write([]string{
			row.App, campaign.Cell(row.Tenant), strconv.Itoa(row.Mailboxes), string(row.Consent), row.Link, row.ExpiresAt.Format(time.RFC3339),
		}))
	}
	out.Flush()
	return errors.Join(append(errs, out.Error())...)
}
