package console

import (
	"cmp"
	"fmt"
	"net/http"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// Bulk is the body of POST /dead/replay and /dead/discard.
type Bulk struct {
	Selection Selection `json:"selection"`
	BulkOptions
}

// BulkOptions are what a bulk verb is told beside its selection.
type BulkOptions struct {
	DryRun     bool    `json:"dry_run,omitempty"`
	Confirm    *int    `json:"confirm,omitempty"` // the count that the preview gave
	Reason     string  `json:"reason,omitempty"`
	Canary     int     `json:"canary,omitempty"`      // do so many first and see what becomes of them; 0: none
	MaxFailure float64 `json:"max_failure,omitempty"` // percent of the mailboxes that may die again, or whose reconnection may fail; 0: 10
	Rate       float64 `json:"rate,omitempty"`        // per second; 0: 20
}

// BulkInvite is the body of POST /mailboxes/reinvite.
type BulkInvite struct {
	Selection MailboxSelection `json:"selection"`
	DryRun    bool             `json:"dry_run,omitempty"`
	Confirm   *int             `json:"confirm,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Rate      float64          `json:"rate,omitempty"` // per second; 0: 200
}

const (
	defaultRate       = 20 // dead letters a second: a third of one Warmy account's minute in a second is plenty
	defaultInviteRate = 200
	leastRate         = 0.01
	maxRate           = 10_000
	defaultMaxFailure = 10 // percent
)

func (c *Console) postReplay(r *request) error {
	var b Bulk
	if err := readJSON(r.Request, &b); err != nil {
		return err
	}
	preview, err := c.previewReplay(r.Context(), b.Selection)
	return c.answerBulk(r, jobReplay, b.BulkOptions, preview, err)
}

func (c *Console) postDiscard(r *request) error {
	var b Bulk
	if err := readJSON(r.Request, &b); err != nil {
		return err
	}
	preview, err := c.previewDiscard(r.Context(), b.Selection)
	return c.answerBulk(r, jobDiscard, b.BulkOptions, preview, err)
}

// answerBulk answers what was chosen to a dry run; else it starts the job.
func (c *Console) answerBulk(r *request, kind string, b BulkOptions, preview Preview, err error) error {
	if err != nil {
		return err
	}
	if b.DryRun {
		return writeJSON(r.w, http.StatusOK, preview)
	}
	job, err := c.startBulk(r, kind, b, preview)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusAccepted, job)
}

// startBulk starts a job for what the preview chose, if the operator confirmed exactly that many.
func (c *Console) startBulk(r *request, kind string, b BulkOptions, preview Preview) (Job, error) {
	if err := confirmed(b.Confirm, preview); err != nil {
		return Job{}, err
	}
	if err := b.check(); err != nil {
		return Job{}, err
	}
	return c.startJob(r, newJob(kind, preview, b, r.actor.name))
}

// check refuses what is out of range. It asks what is within, so that no number that is none (NaN) passes: a job with such a
// max_failure would never stop.
func (b BulkOptions) check() error {
	switch {
	case !(b.Rate == 0 || b.Rate >= leastRate && b.Rate <= maxRate):
		return errBadBulk("rate", b.Rate, "rate is 0.01 to 10,000 a second")
	case !(b.MaxFailure >= 0 && b.MaxFailure <= 100):
		return errBadBulk("max_failure", b.MaxFailure, "max_failure is a percentage, 0 to 100")
	case b.Canary < 0:
		return errBadBulk("canary", float64(b.Canary), "canary is how many go first; 0 means none")
	}
	return nil
}

func errBadBulk(field string, value float64, remedy string) *Problem {
	return errBadRequest("bad_bulk", fmt.Sprintf("%s %g is out of range", field, value), remedy)
}

func confirmed(confirm *int, p Preview) error {
	switch {
	case p.Count == 0:
		e := problem(http.StatusConflict, "nothing_chosen", "nothing that is chosen can be done", "look at the preview: what was left out, and why")
		e.Preview = &p
		return e
	case confirm == nil:
		e := problem(http.StatusConflict, "confirm_needed", "the count is not confirmed", "repeat the preview's count as confirm")
		e.Preview = &p
		return e
	case *confirm != p.Count:
		e := problem(http.StatusConflict, "count_changed", "the count is not the one that was confirmed", "look at the preview again")
		e.Preview = &p
		return e
	}
	return nil
}

func (c *Console) postReinvites(r *request) error {
	var b BulkInvite
	if err := readJSON(r.Request, &b); err != nil {
		return err
	}
	preview, err := c.previewReinvite(b.Selection)
	bulk := BulkOptions{DryRun: b.DryRun, Confirm: b.Confirm, Reason: b.Reason, Rate: cmp.Or(b.Rate, defaultInviteRate)}
	return c.answerBulk(r, jobReinvite, bulk, preview, err)
}

// previewReinvite chooses the mailboxes that a new link can help; those in good hands are left out.
func (c *Console) previewReinvite(s MailboxSelection) (Preview, error) {
	return c.previewMailboxes(s, needsLink)
}

// previewMailboxes chooses those of a selection for which may answers yes; the others are left out, by their state.
func (c *Console) previewMailboxes(s MailboxSelection, may func(roster.Item) bool) (Preview, error) {
	if err := s.check(); err != nil {
		return Preview{}, err
	}
	filter, err := c.filter(s)
	if err != nil {
		return Preview{}, err
	}
	s.Campaigns = filter.Campaigns
	ids := s.IDs
	if len(ids) == 0 {
		ids = c.roster.Select(filter)
	}
	p := Preview{Selection: s.String(), ByState: map[string]int{}, LeftOut: map[string]int{}}
	for _, id := range ids {
		item, ok := c.roster.Mailbox(id)
		switch {
		case !ok:
			p.Refused++
			p.Remedy = "list the mailboxes to see their ids"
		case !may(item):
			p.LeftOut[string(item.Status.State)]++
		default:
			p.Count++
			p.ByState[string(item.Status.State)]++
			p.Mailboxes = append(p.Mailboxes, id)
		}
	}
	return p, nil
}

// needsLink reports whether a new link is of use: not while the old one waits to be followed, nor while work is under way.
func needsLink(item roster.Item) bool {
	switch item.Status.State {
	case mailbox.StateNeedsConsent, mailbox.StateMismatch, mailbox.StateDead:
		return true
	case mailbox.StateInvited:
		return item.Status.Reason == mailbox.LinkExpired
	case mailbox.StateCodeReceived, mailbox.StateRedeeming, mailbox.StateGranted, mailbox.StateRegistering, mailbox.StateRegistered,
		mailbox.StateUnclear, mailbox.StateErased:
	}
	return false
}
