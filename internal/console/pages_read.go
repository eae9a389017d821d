package console

import (
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"kindling/internal/campaign"
	"kindling/internal/leg"
)

func (c *Console) pageRoutes() []route {
	get := func(pattern string, answer func(*request) error) route {
		return route{method: "GET", pattern: pattern, role: Viewer, answer: answer}
	}
	act := func(pattern, role string, answer func(*request) error) route {
		return route{method: "POST", pattern: pattern, role: role, answer: answer}
	}
	early := func(r route) route {
		r.early = true
		return r
	}
	return []route{
		{method: "GET", pattern: "/login", answer: c.pageLogin},
		{method: "POST", pattern: "/login", answer: c.actLogin},
		{method: "POST", pattern: "/logout", answer: c.actLogout},
		{method: "GET", pattern: "/assets/{name}", answer: c.asset},
		get("/{$}", c.pageOverview),
		get("/campaigns", c.pageCampaigns),
		act("/campaigns", Worker, c.actImport),
		get("/campaigns/{id}", c.pageCampaign),
		act("/campaigns/{id}/tenant-link", Worker, c.actTenantLink),
		get("/mailboxes", c.pageMailboxes),
		act("/mailboxes/find", Viewer, c.actFind),
		act("/mailboxes/reinvite", Worker, c.actPreviewReinvite),
		act("/mailboxes/reinvite/confirm", Worker, c.actReinvites),
		act("/mailboxes/reconnect", Worker, c.actPreviewReconnect),
		act("/mailboxes/reconnect/confirm", Worker, c.actReconnect),
		get("/mailboxes/{id}", c.pageMailbox),
		act("/mailboxes/{id}/reinvite", Worker, c.actReinvite),
		act("/mailboxes/{id}/accept-alias", Worker, c.actAcceptAlias),
		act("/mailboxes/{id}/adopt", Worker, c.actAdopt),
		act("/mailboxes/{id}/declare-absent", Worker, c.actDeclareAbsent),
		get("/dead", c.pageDead),
		get("/dead/{seq}", c.pageDeadLetter),
		act("/dead/preview", Worker, c.actPreviewDead),
		act("/dead/replay", Worker, c.actReplay),
		act("/dead/discard", Admin, c.actDiscard),
		early(get("/jobs", c.pageJobs)),
		early(get("/jobs/{id}", c.pageJob)),
		early(act("/jobs/{id}/cancel", Worker, c.actCancel)),
		early(act("/jobs/{id}/resume", Worker, c.actResume)),
		early(get("/legs", c.pageLegs)),
		early(act("/legs/hold", Worker, c.actHold)),
		early(act("/legs/release", Worker, c.actRelease)),
	}
}

func (c *Console) asset(r *request) error {
	kind, known := map[string]string{
		"style.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	}[r.PathValue("name")]
	if !known {
		return errNotThere("file")
	}
	data, err := web.ReadFile(path.Join("web", r.PathValue("name")))
	if err != nil {
		return errNotThere("file")
	}
	r.w.Header().Set("Content-Type", kind)
	r.w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = r.w.Write(data) //nolint:gosec // an embedded file of a closed list; the browser may have gone
	return nil
}

func (c *Console) pageOverview(r *request) error {
	status, err := c.status(r.Context())
	if err != nil {
		return err
	}
	campaigns := c.campaignViews(status.Legs)
	var running []Job
	for _, j := range c.jobs.list() {
		if !j.Ended() {
			running = append(running, j)
		}
	}
	const latest = 6
	return c.pages.render(r, http.StatusOK, "overview", page{Title: "Overview", Active: "/", Live: true, Data: struct {
		Status            Status
		Campaigns, Latest []CampaignView
		Jobs              []Job
	}{status, campaigns, campaigns[:min(latest, len(campaigns))], running}})
}

// campaignViews are all campaigns. Without legs nobody can tell when they will be done.
func (c *Console) campaignViews(legs []leg.Leg) []CampaignView {
	views := []CampaignView{}
	for _, one := range c.roster.Campaigns() {
		view := CampaignView{Campaign: one.Campaign, Funnel: one.Counts}
		if len(legs) > 0 {
			view.DoneBy = doneBy(legs, c.roster.Ways(view.ID))
		}
		views = append(views, view)
	}
	return views
}

func (c *Console) pageCampaigns(r *request) error {
	return c.pages.render(r, http.StatusOK, "campaigns", page{Title: "Campaigns", Active: "/campaigns", Live: true, Data: struct {
		Campaigns              []CampaignView
		Defaults               campaign.Defaults
		Apps, Accounts, Speeds []string
	}{c.campaignViews(c.legsIfKnown(r.Context())), c.cfg.Defaults, c.cfg.Apps, c.cfg.Accounts, []string{"slow", "medium", "fast"}}})
}

// mailboxFilter is what the filter's form shows again.
type mailboxFilter struct {
	Campaign, State, Reason, App, Account, ToldBefore string

	Several bool // states
}

// Given are the fields that choose, by their names in a form.
func (f mailboxFilter) Given() map[string]string {
	given := map[string]string{
		"campaign": f.Campaign, "state": f.State, "reason": f.Reason, "app": f.App, "account": f.Account, "told_before": f.ToldBefore,
	}
	maps.DeleteFunc(given, func(_, value string) bool { return value == "" })
	return given
}

type mailboxesPage struct {
	Campaigns []CampaignView
	Filter    mailboxFilter
	List      MailboxList
	More      string // address of the next page
	Search    string
}

func (c *Console) pageMailboxes(r *request) error {
	q, err := readQuery(r, append(mailboxKeys(), "cursor")...)
	if err != nil {
		return err
	}
	list, err := c.mailboxes(q)
	if err != nil {
		return err
	}
	data := mailboxesPage{Campaigns: c.campaignViews(nil), List: list, Filter: mailboxFilter{
		Campaign: q.one("campaign", ""), State: q.one("state", ""), Reason: q.one("reason", ""), Several: len(q.list("state")) > 1,
		App: q.one("app", ""), Account: q.one("account", ""), ToldBefore: q.one("told_before", ""),
	}}
	if list.Next != "" {
		data.More = "/mailboxes?" + with(r.URL.Query(), "cursor", list.Next)
	}
	return c.pages.render(r, http.StatusOK, "mailboxes", page{Title: "Mailboxes", Active: "/mailboxes", Live: true, Data: data})
}

// with encodes a query with one value changed.
func with(q url.Values, key, value string) string {
	q.Set(key, value)
	return q.Encode()
}

func (c *Console) pageMailbox(r *request) error { return c.showMailbox(r, outcomes{}) }

// outcomes are what was just done with the mailbox that is shown; all nil when it is only looked at.
type outcomes struct {
	Link     *NewLink
	Accepted *Accepted
	Decided  *Decided
}

// showMailbox shows a mailbox, with what was just done.
func (c *Console) showMailbox(r *request, done outcomes) error {
	e, err := c.explain(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	facts, err := c.facts(r.Context(), e.Mailbox.ID)
	if err != nil {
		return err
	}
	return c.pages.render(r, http.StatusOK, "mailbox", page{Title: e.Mailbox.Address, Active: "/mailboxes", Live: done == outcomes{}, Data: struct {
		Explanation Explanation
		outcomes
		Linkable  bool
		Adoptable bool
		Unsettled bool
	}{e, done, c.mayReinvite(facts.Invitation, false) == nil, mayDecide(facts, true) == nil, mayDecide(facts, false) == nil}})
}

type deadPage struct {
	Campaigns []CampaignView
	Query     url.Values
	Encoded   string // the filter, for a bulk verb
	List      DeadList
	More      string
}

func (c *Console) pageDead(r *request) error {
	q, err := readQuery(r, append(selectionParameters(), "cursor")...)
	if err != nil {
		return err
	}
	list, err := c.deadPage(r.Context(), q)
	if err != nil {
		return err
	}
	given := url.Values{}
	for key, values := range q {
		if key != "cursor" && strings.Join(values, "") != "" {
			given[key] = values
		}
	}
	data := deadPage{Campaigns: c.campaignViews(nil), Query: given, Encoded: given.Encode(), List: list}
	if list.Next != 0 {
		data.More = "/dead?" + with(r.URL.Query(), "cursor", strconv.FormatUint(list.Next, 10))
	}
	return c.pages.render(r, http.StatusOK, "dead", page{Title: "Dead letters", Active: "/dead", Live: true, Data: data})
}

func (c *Console) pageDeadLetter(r *request) error {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return errNotThere("dead letter")
	}
	d, err := c.deadLetter(r.Context(), seq)
	if err != nil {
		return err
	}
	return c.pages.render(r, http.StatusOK, "deadletter", page{Title: "Dead letter", Active: "/dead", Data: d})
}

func (c *Console) pageJobs(r *request) error {
	return c.pages.render(r, http.StatusOK, "jobs", page{Title: "Jobs", Active: "/jobs", Live: true, Data: c.jobs.list()})
}

func (c *Console) pageJob(r *request) error {
	j, ok := c.jobs.get(r.PathValue("id"))
	if !ok {
		return errNotThere("job")
	}
	return c.pages.render(r, http.StatusOK, "job", page{Title: "Job", Active: "/jobs", Live: true, Data: j})
}

func (c *Console) pageLegs(r *request) error {
	legs, err := c.legs(r.Context())
	if err != nil {
		return err
	}
	return c.pages.render(r, http.StatusOK, "legs", page{Title: "Legs", Active: "/legs", Live: true, Data: legs})
}
