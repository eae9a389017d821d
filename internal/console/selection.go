package console

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// Selection chooses dead letters. Values of one field mean any of them; all given fields must match.
type Selection struct {
	IDs       []uint64  `json:"ids,omitempty"`
	Classes   []string  `json:"classes,omitempty"`
	Stages    []string  `json:"stages,omitempty"`
	Forecasts []string  `json:"forecasts,omitempty"`
	Codes     []string  `json:"codes,omitempty"`
	Campaigns []string  `json:"campaigns,omitempty"`
	Apps      []string  `json:"apps,omitempty"`
	Accounts  []string  `json:"accounts,omitempty"`
	Mailboxes []string  `json:"mailboxes,omitempty"`
	Since     time.Time `json:"since,omitzero"` // died at or after
	Until     time.Time `json:"until,omitzero"` // died before
	All       bool      `json:"all,omitempty"`  // needed when nothing else is given
}

// maxIDs bounds how many ids one selection names.
const maxIDs = 10_000

// matches reports whether d is chosen.
func (s Selection) matches(d events.DeadLetter) bool {
	among := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	return (len(s.IDs) == 0 || slices.Contains(s.IDs, d.Seq)) &&
		among(s.Classes, d.Class) && among(s.Stages, string(d.Stage)) && among(s.Forecasts, d.Forecast) && among(s.Codes, d.Code) &&
		among(s.Campaigns, d.Campaign) && among(s.Apps, d.App) && among(s.Accounts, d.Account) && among(s.Mailboxes, d.Mailbox) &&
		(s.Since.IsZero() || !d.DiedAt.Before(s.Since)) && (s.Until.IsZero() || d.DiedAt.Before(s.Until))
}

// Empty reports whether nothing is chosen explicitly, All apart.
func (s Selection) Empty() bool {
	lists := [][]string{s.Classes, s.Stages, s.Forecasts, s.Codes, s.Campaigns, s.Apps, s.Accounts, s.Mailboxes}
	given := slices.ContainsFunc(lists, func(l []string) bool { return len(l) > 0 })
	return !given && len(s.IDs) == 0 && s.Since.IsZero() && s.Until.IsZero()
}

// check refuses unknown names, so that a mistyped one never silently chooses nothing or all.
func (s Selection) check() error {
	for _, closed := range []struct {
		name  string
		given []string
		known []string
	}{
		{"class", s.Classes, texts(fault.Classes())},
		{"stage", s.Stages, texts(events.Lanes())},
		{"forecast", s.Forecasts, texts(fault.Forecasts())},
	} {
		if slices.ContainsFunc(closed.given, func(v string) bool { return !slices.Contains(closed.known, v) }) {
			return errBadRequest("bad_selection", "the "+closed.name+" is unknown", oneOf(closed.known))
		}
	}
	switch {
	case len(s.IDs) > maxIDs:
		return errBadRequest("bad_selection", "there are more than 10,000 ids", "choose by class, stage or time instead")
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return errBadRequest("bad_selection", "since is not before until", "exchange them")
	case s.All && !s.Empty():
		return errBadRequest("bad_selection", "all stands beside other choices", "leave one of them out")
	}
	return nil
}

// String words the selection for the audit trail: names and ids only.
func (s Selection) String() string {
	var parts []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, name+"="+strings.Join(values, ","))
		}
	}
	if n := len(s.IDs); n > 10 {
		parts = append(parts, fmt.Sprintf("id=%d ids", n))
	} else {
		ids := make([]string, n)
		for i, id := range s.IDs {
			ids[i] = strconv.FormatUint(id, 10)
		}
		add("id", ids)
	}
	add("class", s.Classes)
	add("stage", s.Stages)
	add("forecast", s.Forecasts)
	add("code", s.Codes)
	add("campaign", s.Campaigns)
	add("app", s.Apps)
	add("account", s.Accounts)
	add("mailbox", s.Mailboxes)
	if !s.Since.IsZero() {
		parts = append(parts, "since="+s.Since.Format(time.RFC3339))
	}
	if !s.Until.IsZero() {
		parts = append(parts, "until="+s.Until.Format(time.RFC3339))
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, " ")
}

func selectionParameters() []string {
	return []string{"id", "class", "stage", "forecast", "code", "campaign", "app", "account", "mailbox", "since", "until", "all"}
}

// selectionOf reads a selection from a query.
func selectionOf(q query) (Selection, error) {
	s := Selection{
		Classes: q.list("class"), Stages: q.list("stage"), Forecasts: q.list("forecast"), Codes: q.list("code"),
		Campaigns: q.list("campaign"), Apps: q.list("app"), Accounts: q.list("account"), Mailboxes: q.list("mailbox"),
	}
	for _, text := range q.list("id") {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id == 0 {
			return s, errBadRequest("bad_selection", "an id of a dead letter is a positive number", "take it from the list")
		}
		s.IDs = append(s.IDs, id)
	}
	var err error
	if s.Since, err = q.time("since"); err != nil {
		return s, err
	}
	if s.Until, err = q.time("until"); err != nil {
		return s, err
	}
	if s.All, err = truth(q.one("all", "")); err != nil {
		return s, errBadRequest("bad_parameter", "all is not a truth value", "write true")
	}
	return s, s.check()
}

// MailboxSelection chooses mailboxes, for lists and bulk verbs.
type MailboxSelection struct {
	IDs       []mailbox.ID    `json:"ids,omitempty"`
	Campaigns []string        `json:"campaigns,omitempty"`
	Apps      []string        `json:"apps,omitempty"`
	Accounts  []string        `json:"accounts,omitempty"`
	States    []mailbox.State `json:"states,omitempty"`
	Reasons   []string        `json:"reasons,omitempty"`
	// ToldBefore chooses what Warmy has and was told before then what to use, with the registration or a reconnection since;
	// an attempt counts, because what failed has a reason of its own.
	ToldBefore time.Time `json:"told_before,omitzero"`
	All        bool      `json:"all,omitempty"`
}

// mailboxKeys are the names of a selection's fields in queries and forms, ids apart.
func mailboxKeys() []string {
	return []string{"campaign", "app", "account", "state", "reason", "told_before"}
}

// mailboxSelectionOf reads a selection from a query.
func mailboxSelectionOf(q query) (s MailboxSelection, err error) {
	s = MailboxSelection{
		IDs: q.list("id"), Campaigns: q.list("campaign"), Apps: q.list("app"), Accounts: q.list("account"), Reasons: q.list("reason"),
	}
	if s.States, err = q.states("state"); err != nil {
		return s, err
	}
	s.ToldBefore, err = q.time("told_before")
	return s, err
}

// filter is the selection for the roster, ids apart. It refuses names that are not known.
func (c *Console) filter(s MailboxSelection) (roster.Filter, error) {
	if err := c.checkNames(s.Apps, s.Accounts, s.Reasons); err != nil {
		return roster.Filter{}, err
	}
	campaigns, err := c.campaignIDs(s.Campaigns)
	return roster.Filter{
		Campaigns: campaigns, Apps: s.Apps, Accounts: s.Accounts, States: s.States, Reasons: s.Reasons, ToldBefore: s.ToldBefore,
	}, err
}

func (s MailboxSelection) check() error {
	empty := len(s.IDs)+len(s.Campaigns)+len(s.Apps)+len(s.Accounts)+len(s.States)+len(s.Reasons) == 0 && s.ToldBefore.IsZero()
	switch {
	case empty && !s.All:
		return errBadRequest("bad_selection", "nothing is selected", "choose mailboxes, or say all")
	case !empty && s.All:
		return errBadRequest("bad_selection", "all stands beside other choices", "leave one of them out")
	case len(s.IDs) > 0 && !s.ToldBefore.IsZero():
		return errBadRequest("bad_selection", "ids stand beside told_before", "leave one of them out")
	case len(s.IDs) > maxIDs:
		return errBadRequest("bad_selection", "there are more than 10,000 ids", "choose by campaign and state instead")
	case slices.ContainsFunc(s.States, func(v mailbox.State) bool { return !slices.Contains(mailbox.States(), v) }):
		return problem(http.StatusBadRequest, "bad_selection", "the state is unknown", oneOf(mailbox.States()))
	}
	return nil
}

func (s MailboxSelection) String() string {
	var parts []string
	for _, list := range []struct {
		name   string
		values []string
	}{{"campaign", s.Campaigns}, {"app", s.Apps}, {"account", s.Accounts}, {"reason", s.Reasons}} {
		if len(list.values) > 0 {
			parts = append(parts, list.name+"="+strings.Join(list.values, ","))
		}
	}
	for _, state := range s.States {
		parts = append(parts, "state="+string(state))
	}
	if !s.ToldBefore.IsZero() {
		parts = append(parts, "told_before="+s.ToldBefore.Format(time.RFC3339))
	}
	if len(s.IDs) > 0 {
		parts = append(parts, fmt.Sprintf("%d ids", len(s.IDs)))
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, " ")
}
