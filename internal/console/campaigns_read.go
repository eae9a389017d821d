package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/console/roster"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// CampaignView is a campaign with its funnel.
type CampaignView struct {
	mailbox.Campaign

	Funnel roster.Counts `json:"funnel"`
	Legs   []leg.Leg     `json:"legs,omitempty"`   // of one campaign: those of the Warmy accounts that it uses, with what waits there of all campaigns
	DoneBy time.Time     `json:"done_by,omitzero"` // when what is under way of it will be done at the latest; absent when nothing is, or nobody can tell
}

// CampaignList answers GET /campaigns.
type CampaignList struct {
	Campaigns []CampaignView `json:"campaigns"`
}

// LinkView is a mailbox's consent link.
type LinkView struct {
	Line       int           `json:"line"`
	Email      string        `json:"email"`
	ExternalID string        `json:"external_id,omitempty"`
	Mailbox    mailbox.ID    `json:"mailbox"`
	State      mailbox.State `json:"state"`
	Reason     string        `json:"reason,omitempty"`
	Link       string        `json:"link"`
	ExpiresAt  time.Time     `json:"expires_at"`
}

func (c *Console) getCampaigns(r *request) error {
	return writeJSON(r.w, http.StatusOK, CampaignList{Campaigns: c.campaignViews(c.legsIfKnown(r.Context()))})
}

func (c *Console) getCampaign(r *request) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, c.prospects(view, c.legsIfKnown(r.Context())))
}

func (c *Console) campaign(id string) (CampaignView, error) {
	fact, ok := c.roster.FindCampaign(id)
	if !ok {
		return CampaignView{}, errNotThere("campaign")
	}
	return CampaignView{Campaign: fact, Funnel: c.roster.Counts(id)}, nil
}

// campaignIDs turns what operators call campaigns, ids or names, into ids. One that there is not must never mean
// "nothing found": the operator would take it for good news.
func (c *Console) campaignIDs(refs []string) ([]string, error) {
	ids := make([]string, 0, len(refs))
	for _, ref := range refs {
		named := make([]string, 0, 1)
		if _, ok := c.roster.FindCampaign(ref); ok {
			named = append(named, ref)
		} else {
			for _, one := range c.roster.Campaigns() {
				if one.Campaign.Name == ref {
					named = append(named, one.Campaign.ID)
				}
			}
		}
		if len(named) == 0 {
			return nil, errBadRequest("unknown_campaign", "one of the campaigns does not exist", "take its id or name from the list of campaigns")
		}
		ids = append(ids, named...)
	}
	return ids, nil
}

// getLinks hands out the links that owners should still follow, or with a state those of all mailboxes in it whose link
// opens. That a file of links was handed out is audited: each of them lets its bearer start a consent.
func (c *Console) getLinks(r *request) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	q, err := readQuery(r, "state", "format")
	if err != nil {
		return err
	}
	states, err := q.states("state")
	if err != nil {
		return err
	}
	format := q.one("format", "csv")
	if format != "csv" && format != "jsonl" {
		return errBadRequest("bad_parameter", "the format is neither csv nor jsonl", "use one of them")
	}
	if err := c.intend(r.Context(), r.actor, r.id, deed{action: "campaign.links", target: view.ID}); err != nil {
		return err
	}
	wanted := func(item roster.Item) bool {
		if len(states) > 0 {
			return slices.Contains(states, item.Status.State) && c.linkOpens(item)
		}
		return c.linkUseful(item)
	}
	err = c.streamRows(r.w, view.ID+"-links."+format, format, func(emit func(roster.Item) error) error {
		return c.roster.Walk(view.ID, func(item roster.Item) error {
			if !wanted(item) {
				return nil
			}
			return emit(item)
		})
	})
	c.concluded(r.Context(), r.actor, r.id, deed{action: "campaign.links", target: view.ID}, err)
	return nil
}

// getExport lists every mailbox of the campaign with its link or its reason.
func (c *Console) getExport(r *request) error {
	view, err := c.campaign(r.PathValue("id"))
	if err != nil {
		return err
	}
	d := deed{action: "campaign.export", target: view.ID, count: view.Funnel.Total}
	if err := c.intend(r.Context(), r.actor, r.id, d); err != nil {
		return err
	}
	startFile(r.w, "text/csv; charset=utf-8", view.ID+"-result.csv")
	out := campaign.NewWriter(r.w)
	err = c.roster.Walk(view.ID, func(item roster.Item) error { return out.Write(c.result(item)) })
	c.concluded(r.Context(), r.actor, r.id, d, errors.Join(err, out.Flush()))
	return nil
}

// streamRows answers with the links of the items that walk emits.
func (c *Console) streamRows(w http.ResponseWriter, name, format string, walk func(emit func(roster.Item) error) error) error {
	if format == "jsonl" {
		startFile(w, "application/jsonl", name)
		enc := json.NewEncoder(w)
		return walk(func(item roster.Item) error { return enc.Encode(c.linkView(item)) })
	}
	startFile(w, "text/csv; charset=utf-8", name)
	if _, err := io.WriteString(w, "row,email,external_id,state,link,expires_at\r\n"); err != nil {
		return fmt.Errorf("write links: %w", err)
	}
	return walk(func(item roster.Item) error {
		v := c.linkView(item)
		cells := []string{
			fmt.Sprint(v.Line), campaign.Cell(v.Email), campaign.Cell(v.ExternalID), string(v.State), v.Link, v.ExpiresAt.Format(time.RFC3339),
		}
		for i, cell := range cells {
			cells[i] = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		}
		_, err := io.WriteString(w, strings.Join(cells, ",")+"\r\n")
		return err
	})
}

func (c *Console) linkView(item roster.Item) LinkView {
	return LinkView{
		Line: item.Line, Email: item.Address, ExternalID: item.ExternalID, Mailbox: item.ID, State: item.Status.State,
		Reason: item.Status.Reason, Link: c.cfg.linkURL(item.ID, item.Generation).Reveal(), ExpiresAt: item.LinkExpiresAt,
	}
}
