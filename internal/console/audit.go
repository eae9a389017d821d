package console

import (
	"context"
	"net/http"
	"time"

	"kindling/internal/events"
)

// deed is what an operator is about to do, in the words of the audit trail. Targets are ids and selections, never
// addresses.
type deed struct {
	action, target, reason string
	count                  int
}

const (
	maxReason   = 500             // characters of an operator's reason
	outcomeTime = 5 * time.Second // to write how a deed ended, even when the request is gone
)

// audited does act between its intent and its outcome in the audit trail. If the intent cannot be written, act does not
// run. A lost outcome is logged: the deed is done, and its intent tells of it.
func (c *Console) audited(ctx context.Context, req *request, d deed, act func(context.Context) error) error {
	if err := c.intend(ctx, req.actor, req.id, d); err != nil {
		return err
	}
	err := act(ctx)
	c.concluded(ctx, req.actor, req.id, d, err)
	return err
}

func (c *Console) intend(ctx context.Context, who actor, request string, d deed) error {
	if len(d.reason) > maxReason {
		return errBadRequest("reason_too_long", "the reason is longer than 500 bytes", "shorten it")
	}
	if err := c.cfg.Audit.Append(ctx, c.entry(who, request, d, "intent")); err != nil {
		p := problem(http.StatusServiceUnavailable, "audit_unavailable", "the audit trail cannot be written, so nothing was changed",
			"try again when the store is back").because(err)
		p.after = 2 * time.Second
		return p
	}
	return nil
}

func (c *Console) concluded(ctx context.Context, who actor, request string, d deed, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTime)
	defer cancel()
	if err := c.cfg.Audit.Append(ctx, c.entry(who, request, d, outcome)); err != nil {
		c.cfg.Log.ErrorContext(ctx, "audit_outcome_lost", "request", request, "action", d.action, "outcome", outcome, "error", err)
	}
}

func (c *Console) entry(who actor, request string, d deed, outcome string) events.AuditEntry {
	return events.AuditEntry{
		Version: 1, At: c.cfg.Now().UTC(), Actor: who.name, Role: who.role, Action: d.action, Target: d.target,
		Count: d.count, Reason: d.reason, Outcome: outcome, Request: request,
	}
}
