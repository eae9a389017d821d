package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// MailboxView is a mailbox as lists show it.
type MailboxView struct {
	ID               mailbox.ID    `json:"id"`
	Address          string        `json:"address"`
	Campaign         string        `json:"campaign"`
	App              string        `json:"app"`
	Account          string        `json:"account"`
	Tenant           string        `json:"tenant,omitempty"`
	ExternalID       string        `json:"external_id,omitempty"`
	TariffPlanTypeID int           `json:"tariff_plan_type_id"`
	SpeedMode        string        `json:"speed_mode"`
	Line             int           `json:"line"`
	State            mailbox.State `json:"state"`
	ReasonCode       string        `json:"reason_code,omitempty"` // refines needs_consent and invited
	Stage            string        `json:"stage,omitempty"`       // with dead
	Code             string        `json:"code,omitempty"`        // of the fault
	Since            time.Time     `json:"since"`
	WarmyID          string        `json:"warmy_id,omitempty"`
	InvitedAt        time.Time     `json:"invited_at"`
	LinkGeneration   int           `json:"link_generation"`
	LinkExpiresAt    time.Time     `json:"link_expires_at"`

	Consented *OtherAccount    `json:"consented,omitempty"` // of one mailbox only, not in lists
	Accepted  *AcceptedAccount `json:"accepted,omitempty"`  // likewise
	Words
}

// MailboxList answers GET /mailboxes. Next, if there is one, is the cursor of the following page.
type MailboxList struct {
	Mailboxes []MailboxView `json:"mailboxes"`
	Next      string        `json:"next,omitempty"`
}

// Lookup is the body of POST /mailboxes/find: addresses stay out of URLs and so out of logs.
type Lookup struct {
	Address  string `json:"address,omitempty"`  // the whole address
	App      string `json:"app,omitempty"`      // with address; empty: any
	Contains string `json:"contains,omitempty"` // or part of an address, at least three characters
}

// NewLink answers a reinvitation.
type NewLink struct {
	Mailbox    mailbox.ID `json:"mailbox"`
	Link       string     `json:"link"`
	Generation int        `json:"generation"`
	ExpiresAt  time.Time  `json:"expires_at"`
}

// Reinvitation is the body of POST /mailboxes/{id}/reinvite.
type Reinvitation struct {
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"` // also while work on the mailbox is under way
}

func viewOf(item roster.Item) MailboxView {
	v := MailboxView{
		ID: item.ID, Address: item.Address, Campaign: item.Campaign, App: item.App, Account: item.Account, Tenant: item.Tenant,
		ExternalID: item.ExternalID, TariffPlanTypeID: item.TariffPlanTypeID, SpeedMode: item.SpeedMode, Line: item.Line,
		State: item.Status.State, ReasonCode: item.Status.Reason, Stage: item.Status.Stage, Since: item.Status.Since,
		WarmyID: item.Status.WarmyID, InvitedAt: item.InvitedAt, LinkGeneration: item.Generation, LinkExpiresAt: item.LinkExpiresAt,
		Words: explainStatus(item.Status),
	}
	if item.Status.Finding != nil {
		v.Code = item.Status.Finding.Code
	}
	return v
}

func (c *Console) getMailboxes(r *request) error {
	q, err := readQuery(r, append(mailboxKeys(), "cursor", "limit")...)
	if err != nil {
		return err
	}
	list, err := c.mailboxes(q)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, list)
}

func (c *Console) mailboxes(q query) (MailboxList, error) {
	chosen, err := mailboxSelectionOf(q)
	if err != nil {
		return MailboxList{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return MailboxList{}, err
	}
	cursor := q.one("cursor", "")
	if _, ok := c.roster.Mailbox(cursor); cursor != "" && !ok {
		return MailboxList{}, errBadRequest("bad_cursor", "the cursor is not one of a list", "leave it out, or use what the last answer gave")
	}
	filter, err := c.filter(chosen)
	if err != nil {
		return MailboxList{}, err
	}
	return c.page(filter, cursor, limit), nil
}

func (c *Console) page(filter roster.Filter, cursor mailbox.ID, limit int) MailboxList {
	items, more := c.roster.List(filter, cursor, limit)
	list := MailboxList{Mailboxes: make([]MailboxView, 0, len(items))}
	for _, item := range items {
		list.Mailboxes = append(list.Mailboxes, viewOf(item))
	}
	if more {
		list.Next = items[len(items)-1].ID
	}
	return list
}

func (c *Console) findMailboxes(r *request) error {
	var look Lookup
	if err := readJSON(r.Request, &look); err != nil {
		return err
	}
	list, err := c.find(look)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, list)
}

const leastContains = 3

func (c *Console) find(look Lookup) (MailboxList, error) {
	switch {
	case look.Address != "" && look.Contains == "":
		list := MailboxList{Mailboxes: []MailboxView{}}
		for _, app := range c.appsFor(look.App) {
			if item, ok := c.roster.Mailbox(c.cfg.Links.Mailbox(app, strings.TrimSpace(look.Address))); ok {
				list.Mailboxes = append(list.Mailboxes, viewOf(item))
			}
		}
		return list, nil
	case look.Address == "" && len(look.Contains) >= leastContains:
		return c.page(roster.Filter{Contains: strings.TrimSpace(look.Contains)}, "", maxLimit), nil
	}
	return MailboxList{}, errBadRequest("bad_lookup", "either an address or at least three characters of one are needed", "give one of them")
}

func (c *Console) appsFor(app string) []string {
	switch {
	case app != "":
		return []string{app}
	case len(c.cfg.Apps) > 0:
		return c.cfg.Apps
	}
	return []string{c.cfg.Defaults.App}
}

func (c *Console) getMailbox(r *request) error {
	item, ok := c.roster.Mailbox(r.PathValue("id"))
	if !ok {
		return errNotThere("mailbox")
	}
	facts, err := c.facts(r.Context(), item.ID)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, c.detail(item, facts.Invitation, facts.Grant))
}

// answerOne reads what is asked about the mailbox of the path, does it, and answers what came of it.
func answerOne[B, A any](r *request, do func(r *request, id mailbox.ID, body B) (A, error)) error {
	var body B
	if err := readJSON(r.Request, &body); err != nil {
		return err
	}
	done, err := do(r, r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, done)
}

func (c *Console) postReinvite(r *request) error { return answerOne(r, c.reinviteOne) }

func (c *Console) reinviteOne(r *request, id mailbox.ID, body Reinvitation) (NewLink, error) {
	if _, ok := c.roster.Mailbox(id); !ok {
		return NewLink{}, errNotThere("mailbox")
	}
	var link NewLink
	d := deed{action: "mailbox.reinvite", target: id, count: 1, reason: body.Reason}
	err := c.audited(r.Context(), r, d, func(ctx context.Context) error {
		var err error
		link, err = c.reinvite(ctx, id, body.Force)
		return err
	})
	return link, err
}

// reinvite raises the link's generation: older links die, the new one lives for LinkLife.
func (c *Console) reinvite(ctx context.Context, id mailbox.ID, force bool) (NewLink, error) {
	for range 10 {
		inv, revision, err := c.cfg.Invitations.Load(ctx, id)
		if err != nil {
			return NewLink{}, errUnavailable(err)
		}
		if revision == 0 {
			return NewLink{}, errNotThere("mailbox")
		}
		if err := c.mayReinvite(inv, force); err != nil {
			return NewLink{}, err
		}
		inv.LinkGeneration++
		inv.LinkHash = mailbox.Hash(c.cfg.Links.Link(id, inv.LinkGeneration))
		inv.LinkExpiresAt = c.cfg.Now().Add(c.cfg.LinkLife).UTC().Truncate(time.Millisecond)
		_, err = c.cfg.Invitations.Save(ctx, id, inv, revision)
		if err == nil {
			c.roster.Invitation(inv)
			return NewLink{id, c.cfg.linkURL(id, inv.LinkGeneration).Reveal(), inv.LinkGeneration, inv.LinkExpiresAt}, nil
		}
		if !errors.Is(err, handlers.ErrConflict) {
			return NewLink{}, errUnavailable(err)
		}
	}
	return NewLink{}, problem(http.StatusConflict, "busy", "somebody else is changing this mailbox", "try again")
}

func (c *Console) mayReinvite(inv mailbox.Invitation, force bool) error {
	item, _ := c.roster.Mailbox(inv.ID)
	switch {
	case !inv.ErasedAt.IsZero():
		return problem(http.StatusConflict, "erased", "the mailbox was erased", "import it again if its owner agrees")
	case item.Status.State == mailbox.StateRegistered:
		return problem(http.StatusConflict, "registered", "the mailbox is connected", "none: it needs no link; kindling mailbox reconnect tells Warmy again what to use")
	case underWay(item.Status.State) && !force:
		return problem(http.StatusConflict, "under_way", "the owner has consented and work is under way", "wait for it, or say force")
	}
	return nil
}

func underWay(s mailbox.State) bool {
	switch s {
	case mailbox.StateCodeReceived, mailbox.StateRedeeming, mailbox.StateGranted, mailbox.StateRegistering, mailbox.StateUnclear:
		return true
	case mailbox.StateInvited, mailbox.StateRegistered, mailbox.StateNeedsConsent, mailbox.StateMismatch, mailbox.StateDead, mailbox.StateErased:
	}
	return false
}
