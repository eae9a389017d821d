package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"kindling/internal/console/roster"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// BulkReconnect is the body of POST /mailboxes/reconnect.
type BulkReconnect struct {
	Selection  MailboxSelection `json:"selection"`
	DryRun     bool             `json:"dry_run,omitempty"`
	Confirm    *int             `json:"confirm,omitempty"`
	Reason     string           `json:"reason,omitempty"`
	Canary     int              `json:"canary,omitempty"`      // reconnect so many first and see what becomes of them; 0: none
	MaxFailure float64          `json:"max_failure,omitempty"` // percent of mailboxes whose reconnection may fail; 0: 10
	Rate       float64          `json:"rate,omitempty"`        // per second; 0: 20
}

func (c *Console) postReconnect(r *request) error {
	var b BulkReconnect
	if err := readJSON(r.Request, &b); err != nil {
		return err
	}
	preview, err := c.previewReconnect(b.Selection)
	if err != nil {
		return err
	}
	if b.DryRun {
		return writeJSON(r.w, http.StatusOK, preview)
	}
	bulk := Bulk{Confirm: b.Confirm, Reason: b.Reason, Canary: b.Canary, MaxFailure: b.MaxFailure, Rate: b.Rate}
	job, err := c.startBulk(r, jobReconnect, bulk, preview)
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusAccepted, job)
}

// previewReconnect chooses the mailboxes that Warmy has, and whose tokens are stored.
func (c *Console) previewReconnect(s MailboxSelection) (Preview, error) {
	return c.previewMailboxes(s, func(item roster.Item) bool {
		return item.Status.State == mailbox.StateRegistered && item.Status.Reason != mailbox.Reconnecting
	})
}

// reconnect asks warmy-worker to tell Warmy anew what to use for a mailbox. Its id derives from the job: a step that is done
// twice asks once.
func (c *Console) reconnect(ctx context.Context, j *Job, id mailbox.ID) error {
	item, ok := c.roster.Mailbox(id)
	switch {
	case !ok:
		return fmt.Errorf("reconnect: %w", ErrNotFound)
	case item.Status.State != mailbox.StateRegistered:
		return problem(http.StatusConflict, "not_registered", "Warmy does not have the mailbox, or its tokens are gone", "look at its state")
	}
	e := events.New(events.ReconnectRequested, "reconnect|"+j.ID+"|"+id, c.cfg.Now())
	e.Mailbox, e.App, e.Account, e.Campaign = id, item.App, item.Account, item.Campaign
	if err := c.cfg.Events.Publish(ctx, e); err != nil {
		return errUnavailable(err)
	}
	return nil
}

func (c *Console) actPreviewReconnect(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	sel, encoded, err := mailboxSelection(form)
	if err != nil {
		return err
	}
	preview, err := c.previewReconnect(sel)
	if err != nil {
		return err
	}
	data := confirmPage{
		Title: "Reconnect at Warmy", Action: "/mailboxes/reconnect/confirm", Verb: "Reconnect", Noun: "mailboxes", Style: "main",
		Back: "/mailboxes?" + encoded, Encoded: encoded, Preview: preview, Paced: true, Rate: defaultRate,
	}
	if len(sel.IDs) == 1 {
		data.Back = "/mailboxes/" + url.PathEscape(sel.IDs[0])
	}
	const worthACanary = 50
	if preview.Count >= worthACanary {
		data.Canary = 10
	}
	return c.pages.render(r, http.StatusOK, "confirm", page{Title: data.Title, Active: "/mailboxes", Data: data})
}

func (c *Console) actReconnect(r *request) error {
	form, b, err := readBulkForm(r)
	if err != nil {
		return err
	}
	given, err := url.ParseQuery(form.Get("filter"))
	if err != nil {
		return errBadRequest("bad_form", "the selection cannot be read", "choose again")
	}
	sel, _, err := mailboxSelection(given)
	if err != nil {
		return err
	}
	preview, err := c.previewReconnect(sel)
	if err != nil {
		return err
	}
	return c.startFromPage(r, jobReconnect, b, preview)
}
