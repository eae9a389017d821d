package console

import (
	"context"
	"fmt"
	"net/http"

	"kindling/internal/console/roster"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// BulkReconnect is the body of POST /mailboxes/reconnect.
type BulkReconnect struct {
	Selection MailboxSelection `json:"selection"`
	BulkOptions
}

func (c *Console) postReconnect(r *request) error {
	var b BulkReconnect
	if err := readJSON(r.Request, &b); err != nil {
		return err
	}
	preview, err := c.previewReconnect(b.Selection)
	return c.answerBulk(r, jobReconnect, b.BulkOptions, preview, err)
}

// previewReconnect chooses the mailboxes that Warmy has, and whose tokens are stored.
func (c *Console) previewReconnect(s MailboxSelection) (Preview, error) {
	return c.previewMailboxes(s, func(item roster.Item) bool {
		return item.Status.State == mailbox.StateRegistered && item.Status.Reason != mailbox.Reconnecting
	})
}

// reconnect asks warmy-worker to tell Warmy again what to use for a mailbox. Its id derives from the job: a step that is done
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
	return c.confirmMailboxes(r, c.previewReconnect, confirmPage{
		Title: "Reconnect at Warmy", Action: "/mailboxes/reconnect/confirm", Verb: "Reconnect", Paced: true, Rate: defaultRate,
	})
}

func (c *Console) actReconnect(r *request) error {
	return c.actMailboxes(r, jobReconnect, c.previewReconnect)
}
