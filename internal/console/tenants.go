package console

import (
	"net/http"
	"slices"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// TenantView is one tenant whose admin must allow an app before its owners can connect.
type TenantView struct {
	App       string             `json:"app"`
	Tenant    string             `json:"tenant"` // a domain, or the directory's id
	Mailboxes int                `json:"mailboxes"`
	Connected int                `json:"connected"` // of them
	Blocked   int                `json:"blocked"`   // of them: sent back to the admin by Microsoft
	Consent   mailbox.AdminState `json:"admin_consent"`
	Reason    string             `json:"reason,omitempty"` // with refused: declined, not_admin or sign_in_failed
	Since     time.Time          `json:"since,omitzero"`
	Remedy    string             `json:"remedy"`
}

// TenantList answers GET /tenants and GET /campaigns/{id}/tenants. What wants an operator comes first.
type TenantList struct {
	Tenants  []TenantView `json:"tenants"`
	Open     int          `json:"open"`     // tenants whose admin has not agreed, as far as is known
	Personal int          `json:"personal"` // mailboxes that no admin stands over
}

func (c *Console) getTenants(r *request) error {
	q, err := readQuery(r, "campaign", "app")
	if err != nil {
		return err
	}
	if err := c.checkNames(q.list("app"), nil, nil); err != nil {
		return err
	}
	id := ""
	if ref := q.one("campaign", ""); ref != "" {
		ids, err := c.campaignIDs([]string{ref})
		switch {
		case err != nil:
			return err
		case len(ids) > 1:
			return errBadRequest("ambiguous_campaign", "several campaigns have this name", "give the id of one")
		}
		id = ids[0]
	}
	return writeJSON(r.w, http.StatusOK, c.tenants(id, q.list("app")))
}

func (c *Console) getCampaignTenants(r *request) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := readQuery(r); err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, c.tenants(view.ID, nil))
}

// tenants lists the tenants of a campaign, or of all with "", and of some apps, or of all with none.
func (c *Console) tenants(campaign string, apps []string) TenantList {
	found, personal := c.roster.Tenants(campaign)
	list := TenantList{Tenants: []TenantView{}, Personal: personal}
	for _, t := range found {
		if len(apps) > 0 && !slices.Contains(apps, t.App) {
			continue
		}
		if !t.State.Settled() {
			list.Open++
		}
		list.Tenants = append(list.Tenants, tenantView(t))
	}
	return list
}

func tenantView(t roster.Tenant) TenantView {
	return TenantView{
		App: t.App, Tenant: t.Tenant, Mailboxes: t.Mailboxes, Connected: t.Connected, Blocked: t.Blocked,
		Consent: t.State, Reason: t.Reason, Since: t.Since, Remedy: tenantRemedy(t.State, t.Reason),
	}
}

// tenantRemedy says what an operator can do.
func tenantRemedy(state mailbox.AdminState, reason string) string {
	switch state {
	case mailbox.AdminNotAsked:
		return "hand the tenant's link to its admin before the owners get theirs"
	case mailbox.AdminRefused:
		switch reason {
		case mailbox.NotAdmin:
			return "whoever used the link is no admin: hand it to somebody who may consent for the whole organisation"
		case mailbox.Declined:
			return "the admin declined: ask before handing out the link again"
		}
		return "the sign-in failed: hand out the link again, and look into the log of callback-ingest if it lasts"
	case mailbox.AdminGranted:
		return "none: the first owner who connects will prove it"
	case mailbox.AdminProven:
		return "none"
	case mailbox.AdminNeeded:
		return "hand the link to the admin; if that was done, a policy of the tenant stops this owner: let the admin look at its sign-in log"
	}
	return ""
}
