package console

import "net/http"

// shownTenants bounds the table on a campaign's page: what wants an operator stands at its top, and the files hold all.
const shownTenants = 25

// campaignPage is a campaign with its tenants, and the link that was just asked for.
type campaignPage struct {
	CampaignView

	Tenants TenantList
	More    int // tenants that are not shown
	Link    *TenantLink
}

func (c *Console) pageCampaign(r *request) error { return c.showCampaign(r, nil) }

// actTenantLink shows the link of one tenant. It is not shown before it is asked for, because that is audited.
func (c *Console) actTenantLink(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if _, err := c.campaign(r.PathValue("id")); err != nil {
		return err
	}
	link, err := c.handOutTenantLink(r, TenantRef{App: form.Get("app"), Tenant: form.Get("tenant")})
	if err != nil {
		return err
	}
	return c.showCampaign(r, &link)
}

func (c *Console) showCampaign(r *request, link *TenantLink) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	view = c.prospects(view, c.legsIfKnown(r.Context()))
	data := campaignPage{CampaignView: view, Tenants: c.tenants(view.ID, nil), Link: link}
	if extra := len(data.Tenants.Tenants) - shownTenants; extra > 0 {
		data.Tenants.Tenants, data.More = data.Tenants.Tenants[:shownTenants], extra
	}
	return c.pages.render(r, http.StatusOK, "campaign", page{Title: view.Name, Active: "/campaigns", Live: link == nil, Data: data})
}
