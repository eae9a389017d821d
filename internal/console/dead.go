package console

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// DeadView is a dead letter as operators see it: everything but its sealed payload.
type DeadView struct {
	Seq      uint64        `json:"seq"`
	Mailbox  mailbox.ID    `json:"mailbox,omitempty"`
	Address  string        `json:"address,omitempty"`
	App      string        `json:"app,omitempty"`
	Account  string        `json:"account,omitempty"`
	Campaign string        `json:"campaign,omitempty"`
	Stage    events.Lane   `json:"stage"`
	Class    string        `json:"class"`
	Code     string        `json:"code"`
	Cause    string        `json:"cause"`
	Remedy   string        `json:"remedy"`
	Forecast string        `json:"forecast"`
	Replay   bool          `json:"replayable"` // false: only a new link helps
	Tries    []events.Try  `json:"tries"`
	DiedAt   time.Time     `json:"died_at"`
	Trace    string        `json:"trace,omitempty"`
	State    mailbox.State `json:"state,omitempty"` // of its mailbox now
}

// DeadList answers GET /dead, oldest first. Next, if not 0, is the cursor of the following page.
type DeadList struct {
	Dead []DeadView `json:"dead"`
	Next uint64     `json:"next,omitempty"`
}

// DeadTotals counts the dead letters.
type DeadTotals struct {
	Total      int            `json:"total"`
	ByForecast map[string]int `json:"by_forecast"` // every forecast, zeros included
	ByStage    map[string]int `json:"by_stage"`    // every stage, zeros included
	ByClass    map[string]int `json:"by_class"`    // what occurs
	Oldest     time.Time      `json:"oldest,omitzero"`
	At         time.Time      `json:"at"` // when they were counted
}

func (c *Console) deadView(d events.DeadLetter) DeadView {
	v := DeadView{
		Seq: d.Seq, Mailbox: d.Mailbox, App: d.App, Account: d.Account, Campaign: d.Campaign, Stage: d.Stage, Class: d.Class,
		Code: d.Code, Cause: d.Cause, Remedy: d.Remedy, Forecast: d.Forecast, Replay: replayable(d), Tries: d.Tries,
		DiedAt: d.DiedAt, Trace: d.Trace,
	}
	if v.Tries == nil {
		v.Tries = []events.Try{}
	}
	if item, ok := c.roster.Mailbox(d.Mailbox); ok {
		v.Address, v.State = item.Address, item.Status.State
	}
	return v
}

// replayable reports whether publishing d again can help. A code is single use and lives ten minutes: by the time that an
// operator sees its dead letter only a new link helps.
func replayable(d events.DeadLetter) bool { return d.Stage != events.Code && d.Mailbox != "" }

func (c *Console) getDead(r *request) error {
	q, err := readQuery(r, append(selectionParameters(), "cursor", "limit")...)
	if err != nil {
		return err
	}
	list, err := c.deadPage(r.Context(), q)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, list)
}

func (c *Console) deadPage(ctx context.Context, q query) (DeadList, error) {
	list := DeadList{Dead: []DeadView{}}
	chosen, err := selectionOf(q)
	if err != nil {
		return list, err
	}
	if err := c.checkNames(chosen.Apps, chosen.Accounts, nil); err != nil {
		return list, err
	}
	if chosen.Campaigns, err = c.campaignIDs(chosen.Campaigns); err != nil {
		return list, err
	}
	limit, err := q.limit()
	if err != nil {
		return list, err
	}
	cursor, err := q.number("cursor")
	if err != nil {
		return list, err
	}
	err = c.cfg.DeadLetters.Each(ctx, func(d events.DeadLetter) bool {
		if d.Seq <= cursor || !chosen.matches(d) {
			return true
		}
		if len(list.Dead) == limit {
			list.Next = list.Dead[limit-1].Seq
			return false
		}
		list.Dead = append(list.Dead, c.deadView(d))
		return true
	})
	if err != nil {
		return list, errUnavailable(err)
	}
	return list, nil
}

func (c *Console) getDeadLetter(r *request) error {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return errNotThere("dead letter")
	}
	d, err := c.deadLetter(r.Context(), seq)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, d)
}

func (c *Console) deadLetter(ctx context.Context, seq uint64) (DeadView, error) {
	d, err := c.cfg.DeadLetters.Get(ctx, seq)
	if err != nil {
		return DeadView{}, notFoundOrUnavailable(err)
	}
	d.Seq = seq
	return c.deadView(d), nil
}

// deadCounts counts the dead letters at most every few seconds, and the more seldom the longer it takes.
type deadCounts struct {
	letters DeadLetters
	now     func() time.Time

	mu     sync.Mutex
	totals DeadTotals
	until  time.Time
}

const deadCountsLife = 2 * time.Second

func newDeadCounts(letters DeadLetters, now func() time.Time) *deadCounts {
	return &deadCounts{letters: letters, now: now}
}

// forget makes the next reader count again.
func (c *deadCounts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

func (c *deadCounts) read(ctx context.Context) (DeadTotals, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	started := c.now()
	if started.Before(c.until) {
		return c.totals.copied(), nil
	}
	totals := newDeadTotals(started)
	err := c.letters.Each(ctx, func(d events.DeadLetter) bool {
		totals.count(d)
		return true
	})
	if err != nil {
		return DeadTotals{}, errUnavailable(err)
	}
	ended := c.now()
	c.totals, c.until = totals, ended.Add(max(deadCountsLife, 10*ended.Sub(started)))
	return totals.copied(), nil
}

func newDeadTotals(at time.Time) DeadTotals {
	t := DeadTotals{ByForecast: map[string]int{}, ByStage: map[string]int{}, ByClass: map[string]int{}, At: at.UTC()}
	for _, f := range fault.Forecasts() {
		t.ByForecast[string(f)] = 0
	}
	for _, l := range events.Lanes() {
		t.ByStage[string(l)] = 0
	}
	return t
}

func (t *DeadTotals) count(d events.DeadLetter) {
	t.Total++
	t.ByForecast[d.Forecast]++
	t.ByStage[string(d.Stage)]++
	t.ByClass[d.Class]++
	if t.Oldest.IsZero() || d.DiedAt.Before(t.Oldest) {
		t.Oldest = d.DiedAt
	}
}

func (t *DeadTotals) copied() DeadTotals {
	c := *t
	c.ByForecast, c.ByStage, c.ByClass = maps.Clone(t.ByForecast), maps.Clone(t.ByStage), maps.Clone(t.ByClass)
	return c
}

// Preview says what a bulk verb would touch.
type Preview struct {
	Selection string         `json:"selection"`
	Count     int            `json:"count"` // what confirm must repeat
	ByClass   map[string]int `json:"by_class,omitempty"`
	ByState   map[string]int `json:"by_state,omitempty"`     // with mailboxes
	Refused   int            `json:"refused,omitempty"`      // need a new link, not a replay
	Remedy    string         `json:"remedy,omitempty"`       // for the refused ones
	LeftOut   map[string]int `json:"left_out,omitempty"`     // by forecast: not taken unless the forecast is named
	Items     []uint64       `json:"-"`                      // the chosen dead letters
	Mailboxes []mailbox.ID   `json:"-"`                      // the mailbox of each, or the chosen mailboxes
	Sample    []string       `json:"sample_codes,omitempty"` // the distinct codes, at most ten
}

// previewReplay chooses the dead letters that a replay would take: by default only those that time or a setting can help.
func (c *Console) previewReplay(ctx context.Context, s Selection) (Preview, error) {
	usual := []string{string(fault.ByTime), string(fault.ByConfig)}
	p, err := c.preview(ctx, s, func(p *Preview, d events.DeadLetter) bool {
		switch {
		case len(s.Forecasts) == 0 && !slices.Contains(usual, d.Forecast):
			p.LeftOut[d.Forecast]++
			return false
		case !replayable(d):
			p.Refused++
			return false
		}
		return true
	})
	if p.Refused > 0 {
		p.Remedy = "issue a new link: a code that died cannot be used again"
	}
	return p, err
}

func (c *Console) previewDiscard(ctx context.Context, s Selection) (Preview, error) {
	return c.preview(ctx, s, func(*Preview, events.DeadLetter) bool { return true })
}

func (c *Console) preview(ctx context.Context, s Selection, takes func(*Preview, events.DeadLetter) bool) (Preview, error) {
	if err := s.check(); err != nil {
		return Preview{}, err
	}
	err := c.checkNames(s.Apps, s.Accounts, nil)
	if err != nil {
		return Preview{}, err
	}
	if s.Campaigns, err = c.campaignIDs(s.Campaigns); err != nil {
		return Preview{}, err
	}
	if s.Empty() && !s.All {
		return Preview{}, errBadRequest("bad_selection", "nothing is selected", "choose dead letters, or say all")
	}
	p := Preview{Selection: s.String(), ByClass: map[string]int{}, LeftOut: map[string]int{}}
	err = c.cfg.DeadLetters.Each(ctx, func(d events.DeadLetter) bool {
		if !s.matches(d) || !takes(&p, d) {
			return true
		}
		p.Count++
		p.ByClass[d.Class]++
		p.Items, p.Mailboxes = append(p.Items, d.Seq), append(p.Mailboxes, d.Mailbox)
		if len(p.Sample) < 10 && !slices.Contains(p.Sample, d.Code) {
			p.Sample = append(p.Sample, d.Code)
		}
		return true
	})
	if err != nil {
		return Preview{}, errUnavailable(err)
	}
	return p, nil
}

func notFoundOrUnavailable(err error) error {
	if p := asProblem(err); p.Status == http.StatusNotFound {
		return p
	}
	return errUnavailable(err)
}
