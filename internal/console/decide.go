package console

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// Decision is the body of POST /mailboxes/{id}/adopt and, without the id, of POST /mailboxes/{id}/declare-absent.
type Decision struct {
	WarmyID string `json:"warmy_id,omitempty"`
	Reason  string `json:"reason"`
	Force   bool   `json:"force,omitempty"` // whatever Warmy's listing says
}

// Decided answers a decision. warmy-worker carries it out when its turn comes.
type Decided struct {
	Mailbox mailbox.ID `json:"mailbox"`
	Address string     `json:"address"`
	WarmyID string     `json:"warmy_id,omitempty"` // empty: declared absent
	Forced  bool       `json:"forced,omitempty"`
	Posts   int        `json:"posts"` // so many POSTs of the mailbox may have taken effect
}

func (c *Console) postAdopt(r *request) error { return answerOne(r, c.adopt) }

func (c *Console) postDeclareAbsent(r *request) error { return answerOne(r, c.declareAbsent) }

func (c *Console) actAdopt(r *request) error { return c.actDecision(r, c.adopt) }

func (c *Console) actDeclareAbsent(r *request) error { return c.actDecision(r, c.declareAbsent) }

func (c *Console) adopt(r *request, id mailbox.ID, body Decision) (Decided, error) {
	return c.decideOne(r, id, body, true)
}

func (c *Console) declareAbsent(r *request, id mailbox.ID, body Decision) (Decided, error) {
	return c.decideOne(r, id, body, false)
}

func (c *Console) actDecision(r *request, decide func(*request, mailbox.ID, Decision) (Decided, error)) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	body := Decision{WarmyID: form.Get("warmy_id"), Reason: form.Get("reason"), Force: form.Get("force") != ""}
	done, err := decide(r, r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return c.showMailbox(r, outcomes{Decided: &done})
}

// decideOne records the decision, then passes it on to the one process that may write registrations.
func (c *Console) decideOne(r *request, id mailbox.ID, body Decision, adopt bool) (Decided, error) {
	item, ok := c.roster.Mailbox(id)
	if !ok {
		return Decided{}, errNotThere("mailbox")
	}
	if err := body.check(adopt); err != nil {
		return Decided{}, err
	}
	facts, err := c.facts(r.Context(), id)
	if err != nil {
		return Decided{}, err
	}
	if err := mayDecide(facts, adopt); err != nil {
		return Decided{}, err
	}
	reg := facts.Registration.Work()
	d := deed{action: "mailbox.declare_absent", target: id, count: 1, what: "POST " + strconv.Itoa(reg.Posts), reason: body.Reason}
	if adopt {
		d.action, d.what = "mailbox.adopt", "Warmy id "+body.WarmyID
	}
	if body.Force {
		d.what += ", forced"
	}
	err = c.audited(r.Context(), r, d, func(ctx context.Context) error {
		if err := c.cfg.Events.Publish(ctx, decided(facts, body, c.cfg.Now())); err != nil {
			return errUnavailable(err)
		}
		return nil
	})
	return Decided{Mailbox: id, Address: item.Address, WarmyID: body.WarmyID, Forced: body.Force, Posts: reg.Posts}, err
}

func (d Decision) check(adopt bool) error {
	switch {
	case d.Reason == "":
		return errBadRequest("reason_missing", "a POST is settled by hand only with a reason (reason)", "say how you know what became of it")
	case adopt && !events.IsWarmyID(d.WarmyID):
		return errBadRequest("bad_warmy_id", "warmy_id is no id of Warmy's", "give the id that Warmy's page of the mailbox shows, such as 4711")
	case !adopt && d.WarmyID != "":
		return errBadRequest("bad_warmy_id", "warmy_id has no place where a mailbox is declared absent", "leave it out, or adopt the mailbox")
	}
	return nil
}

// mayDecide refuses a decision where there is nothing to decide. Of two ids one can be taken; that neither is there is no
// word about a POST.
func mayDecide(f mailbox.Facts, adopt bool) error {
	switch {
	case !f.Invitation.ErasedAt.IsZero():
		return problem(http.StatusConflict, "erased", "the mailbox was erased", "import it again if its owner agrees")
	case adopt && f.Registration.Two():
		return nil
	case f.Registration.Work().Phase == mailbox.Registered:
		return problem(http.StatusConflict, "registered", "the mailbox is connected", "none: there is nothing to decide")
	case !f.Registration.Unresolved():
		return problem(http.StatusConflict, "not_unclear", "no POST of this mailbox is of unknown outcome", "none: there is nothing to decide")
	}
	return nil
}

// decided is the event that carries a decision. Two of one instant are one.
func decided(f mailbox.Facts, body Decision, at time.Time) events.Event {
	inv, reg := f.Invitation, f.Registration.Work()
	e := events.New(events.RegistrationDecided, "decided|"+inv.ID+"|"+reg.Attempt+"|"+body.WarmyID+"|"+at.UTC().Format(time.RFC3339Nano), at)
	e.Mailbox, e.App, e.Account, e.Campaign = inv.ID, inv.App, inv.Account, inv.Campaign
	e.Attempt, e.Proof = reg.Attempt, reg.Proof
	e.Decision = &events.Decision{WarmyID: body.WarmyID, Posts: reg.Posts, Forced: body.Force}
	return e
}
