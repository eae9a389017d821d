package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"kindling/internal/events"
)

// deed is what an operator is about to do, in the words of the audit trail. Targets are ids and selections, never
// addresses.
type deed struct {
	action, target string
	what           string // in the console's words, before the reason
	reason         string // in the operator's
	field          string // in which he gave it; "": reason
	count          int
}

// words are what the trail keeps as the reason.
func (d deed) words() string {
	if d.what == "" || d.reason == "" {
		return d.what + d.reason
	}
	return d.what + ": " + d.reason
}

const (
	maxReason   = 500             // characters of an operator's reason, as the forms allow; what the console adds does not count
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
	if n := utf8.RuneCountInString(d.reason); n > maxReason {
		return errBadRequest("reason_too_long", fmt.Sprintf("%s is %d characters long", cmp.Or(d.field, "reason"), n),
			fmt.Sprintf("shorten it to %d characters", maxReason))
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
		Count: d.count, Reason: d.words(), Outcome: outcome, Request: request,
	}
}
