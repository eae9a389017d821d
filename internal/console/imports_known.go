package console

import (
	"kindling/internal/campaign"
	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// known judges a row whose mailbox was invited before. New values are taken where they can still be of use (see
// correctable); elsewhere what differs is told.
func (m *importer) known(row campaign.Row, known roster.Item) error {
	switch {
	case known.Status.State == mailbox.StateErased:
		row.Refuse(campaign.Erased)
		return m.refused(row)
	case row.Tenant != known.Tenant && row.Tenant != "" && known.Tenant != "":
		row.Refuse(campaign.OtherTenant)
		return m.refused(row)
	}
	if correctable(row, known, m.created.ID) {
		m.changed = append(m.changed, row)
		return nil
	}
	m.report.Known++
	if found := differences(row, known, m.created.ID); len(found) > 0 {
		m.report.Warned++
		m.keep(found...)
	}
	res := m.c.result(known)
	if known.Campaign != m.created.ID && res.Reason == "" {
		res.Reason, res.Remedy = "invited by campaign "+known.Campaign, "none: it stays there"
	}
	return m.tell(res, row)
}

func differences(row campaign.Row, known roster.Item, into string) []campaign.Problem {
	var found []campaign.Problem
	differs := func(column string, is bool) {
		if is {
			found = append(found, campaign.Problem{
				Line: row.Line, Column: column, Code: codeDiffers, Reason: "the mailbox is known with another " + column,
				Remedy: "none: it keeps what it was invited with",
			})
		}
	}
	differs("account", row.Account != known.Account)
	differs("tariff_plan_type_id", row.TariffPlanTypeID != known.TariffPlanTypeID)
	differs("speed_mode", row.SpeedMode != known.SpeedMode)
	differs("external_id", row.ExternalID != "" && row.ExternalID != known.ExternalID)
	differs("from_name", row.FromName != "" && !known.FromNameIs(row.FromName))
	if known.Campaign != into {
		found = append(found, campaign.Problem{
			Line: row.Line, Column: "email", Code: codeElsewhere, Reason: "the mailbox was invited by another campaign",
			Remedy: "none: it stays there and keeps its link",
		})
	}
	return found
}

// twin warns of a new row whose address is invited under another app for the same account, too: both open one mailbox, and
// Warmy is told of it once (docs/adr/0027).
func (m *importer) twin(row campaign.Row) (campaign.Problem, bool) {
	for _, app := range m.c.cfg.Apps {
		if app == row.App || !m.invitedAs(m.c.cfg.Links.Mailbox(app, row.Email), row.Account) {
			continue
		}
		return campaign.Problem{
			Line: row.Line, Column: "app", Code: codeOtherApp, Reason: "the address is invited for the same account under the app " + app + ", too",
			Remedy: "keep one of the two: only the first one that consents is registered, the other one becomes a dead letter",
		}, true
	}
	return campaign.Problem{}, false
}

// invitedAs reports whether a mailbox is invited for the account, or about to be.
func (m *importer) invitedAs(id mailbox.ID, account string) bool {
	if known, ok := m.c.roster.Mailbox(id); ok {
		return known.Account == account && known.Status.State != mailbox.StateErased
	}
	at, ok := m.fresh[id]
	return ok && at == account
}

// result is a mailbox's line of a result CSV: its link while one is of use, or why it needs attention.
func (c *Console) result(item roster.Item) campaign.Result {
	res := campaign.Result{
		Line: item.Line, Email: item.Address, ExternalID: item.ExternalID, App: item.App, Account: item.Account,
		Status: string(item.Status.State),
	}
	words := explainStatus(item.Status)
	res.Reason, res.Remedy = words.Reason, words.Remedy
	if c.linkUseful(item) {
		res.Link = c.cfg.linkURL(item.ID, item.Generation).Reveal()
	}
	return res
}

// linkUseful reports whether the owner should still follow the link.
func (c *Console) linkUseful(item roster.Item) bool {
	waiting := item.Status.State == mailbox.StateInvited || item.Status.State == mailbox.StateNeedsConsent
	return waiting && c.linkOpens(item)
}

// linkOpens reports whether the link still leads to the consent page.
func (c *Console) linkOpens(item roster.Item) bool {
	done := item.Status.State == mailbox.StateRegistered || item.Status.State == mailbox.StateErased
	return !done && !mailbox.Invitation{LinkExpiresAt: item.LinkExpiresAt}.LinkExpired(c.cfg.Now())
}
