package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// Moment is one step in the life of a mailbox.
type Moment struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`
	Detail string    `json:"detail,omitempty"`
	By     string    `json:"by"`            // the process whose fact it is
	Bad    bool      `json:"bad,omitempty"` // something went wrong
}

// Explanation tells why a mailbox is where it is.
type Explanation struct {
	Mailbox  MailboxView `json:"mailbox"`
	Timeline []Moment    `json:"timeline"` // oldest first
	Dead     []DeadView  `json:"dead"`
}

func (c *Console) getExplanation(r *request) error {
	e, err := c.explain(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, e)
}

func (c *Console) explain(ctx context.Context, id mailbox.ID) (Explanation, error) {
	item, ok := c.roster.Mailbox(id)
	if !ok {
		return Explanation{}, errNotThere("mailbox")
	}
	e := Explanation{Mailbox: viewOf(item), Timeline: []Moment{}, Dead: []DeadView{}}
	facts, err := c.facts(ctx, id)
	if err != nil {
		return e, err
	}
	e.Mailbox = c.detail(item, facts.Invitation, facts.Grant)
	e.Timeline = append(e.Timeline, c.invitationMoments(facts.Invitation)...)
	e.Timeline = append(e.Timeline, claimMoments(facts.Claim)...)
	e.Timeline = append(e.Timeline, grantMoments(facts.Grant)...)
	e.Timeline = append(e.Timeline, registrationMoments(facts.Registration)...)
	err = c.cfg.DeadLetters.Each(ctx, func(d events.DeadLetter) bool {
		if d.Mailbox == id {
			e.Dead = append(e.Dead, c.deadView(d))
			e.Timeline = append(e.Timeline, deadMoments(d)...)
		}
		return true
	})
	if err != nil {
		return e, errUnavailable(err)
	}
	slices.SortStableFunc(e.Timeline, func(a, b Moment) int { return a.At.Compare(b.At) })
	return e, nil
}

func (c *Console) facts(ctx context.Context, id mailbox.ID) (f mailbox.Facts, err error) {
	if f.Invitation, _, err = c.cfg.Invitations.Load(ctx, id); err != nil {
		return f, errUnavailable(err)
	}
	if f.Claim, _, err = c.cfg.Claims.Load(ctx, id); err != nil {
		return f, errUnavailable(err)
	}
	if f.Grant, _, err = c.cfg.Grants.Load(ctx, id); err != nil {
		return f, errUnavailable(err)
	}
	if f.Registration, _, err = c.cfg.Registrations.Load(ctx, id); err != nil {
		return f, errUnavailable(err)
	}
	return f, nil
}

const (
	byConsole     = "console"
	byEdge        = "callback-ingest"
	byTokenWorker = "token-worker"
	byWarmyWorker = "warmy-worker"
)

func (c *Console) invitationMoments(i mailbox.Invitation) []Moment {
	moments := []Moment{{
		At: i.InvitedAt, What: "invited", Detail: fmt.Sprintf("campaign %s, row %d", i.Campaign, i.Line), By: byConsole,
	}}
	if i.LinkGeneration > 1 {
		issued := i.LinkExpiresAt.Add(-c.cfg.LinkLife)
		if issued.Before(i.InvitedAt) { // the configured life of links has been changed since
			issued = i.InvitedAt
		}
		moments = append(moments, Moment{
			At: issued, What: "new link issued", Detail: fmt.Sprintf("it is link %d; opens until %s", i.LinkGeneration, i.LinkExpiresAt.Format(time.RFC3339)), By: byConsole,
		})
	}
	if k := i.Accepted; k != nil {
		detail := "this one account: " + k.ObjectID
		if k.Alias {
			detail = "the account whose alias the invited address is"
		}
		moments = append(moments, Moment{At: k.At, What: "another account accepted", Detail: detail, By: byConsole})
	}
	if !i.ErasedAt.IsZero() {
		moments = append(moments, Moment{At: i.ErasedAt, What: "erased", By: byConsole})
	}
	return moments
}

func claimMoments(c mailbox.Claim) []Moment {
	var moments []Moment
	for _, a := range c.Attempts {
		moments = append(moments, Moment{At: a.StartedAt, What: "owner pressed connect", Detail: "with link " + strconv.Itoa(a.Generation), By: byEdge})
		switch {
		case a.AnsweredAt.IsZero():
		case a.Refusal != "":
			moments = append(moments, Moment{At: a.AnsweredAt, What: "came back without consent", Detail: needsConsent(a.Refusal).Reason, By: byEdge, Bad: true})
		default:
			moments = append(moments, Moment{At: a.AnsweredAt, What: "owner consented, code received", By: byEdge})
		}
	}
	return moments
}

func grantMoments(g mailbox.Grant) []Moment {
	var moments []Moment
	add := func(at time.Time, what, detail string, bad bool) {
		moments = append(moments, Moment{At: at, What: what, Detail: detail, By: byTokenWorker, Bad: bad})
	}
	if t := g.Tokens; t != nil {
		add(t.SavedAt, "tokens stored, sealed", fmt.Sprintf("access lives until %s, refreshed %d times", t.Expiry.UTC().Format(time.RFC3339), t.Rotation), false)
	}
	switch g.Phase {
	case mailbox.GrantNone, mailbox.GrantSaved:
	case mailbox.GrantRedeeming:
		add(g.Since, "exchanging the code", fmt.Sprintf("sent %d times", g.Sends), false)
	case mailbox.GrantNeedsConsent:
		what := "needs the owner again"
		if g.Withheld() {
			what = "Microsoft withholds new tokens, the old ones are kept"
		}
		add(g.Since, what, needsConsent(g.Reason).Reason, true)
	case mailbox.GrantMismatch:
		add(g.Since, "somebody else consented", consentedWords(g.Consented)+"the tokens were destroyed", true)
	case mailbox.GrantDead:
		add(g.Since, "given up", "in the "+g.Stage+" lane", true)
	}
	return append(moments, findingMoment(g.Finding, byTokenWorker)...)
}

func consentedWords(a *mailbox.Account) string {
	if a == nil {
		return ""
	}
	return "it was " + a.Address.Reveal() + "; "
}

func registrationMoments(r mailbox.Registration) []Moment {
	var moments []Moment
	add := func(what, detail string, bad bool) {
		moments = append(moments, Moment{At: r.Since, What: what, Detail: detail, By: byWarmyWorker, Bad: bad})
	}
	switch r.Phase {
	case mailbox.RegistrationNone:
	case mailbox.Posting:
		add("posting to Warmy", fmt.Sprintf("post %d", r.Posts), false)
	case mailbox.Uncertain:
		add("unclear whether Warmy has it", fmt.Sprintf("listings without it so far: %d", r.Absences), true)
	case mailbox.Registered:
		detail := "Warmy's id is " + r.WarmyID
		if r.Adopted {
			detail += ", found in its listing"
		}
		add("registered at Warmy", detail, false)
		moments = append(moments, againMoments(r)...)
	case mailbox.RegistrationDead:
		add("given up", "in the "+r.Stage+" lane", true)
	}
	return append(moments, findingMoment(r.Finding, byWarmyWorker)...)
}

// againMoments tell what became of telling Warmy again what to use.
func againMoments(r mailbox.Registration) []Moment {
	if r.Again == nil {
		return nil
	}
	work := r.Work()
	m := Moment{At: work.Since, By: byWarmyWorker}
	switch work.Phase {
	case mailbox.RegistrationNone:
		m.What = "to be reconnected at Warmy"
	case mailbox.Posting:
		m.What, m.Detail = "reconnecting at Warmy", fmt.Sprintf("post %d", work.Posts)
	case mailbox.Uncertain:
		m.What, m.Bad = "unclear whether Warmy took the reconnection", true
	case mailbox.Registered:
		m.What = "reconnected at Warmy"
	case mailbox.RegistrationDead:
		m.What, m.Detail, m.Bad = "reconnecting given up", "in the "+work.Stage+" lane", true
	}
	if r.Again.Former != "" {
		m.Detail = "Warmy's id was " + r.Again.Former + " before"
	}
	if r.Two() {
		m.Detail, m.Bad = "Warmy also answered with the id "+r.Again.OtherID, true
	}
	return append([]Moment{m}, findingMoment(work.Finding, byWarmyWorker)...)
}

func findingMoment(f *mailbox.Finding, by string) []Moment {
	if f == nil {
		return nil
	}
	return []Moment{{At: f.At, What: f.Code, Detail: f.Cause, By: by, Bad: true}}
}

func deadMoments(d events.DeadLetter) []Moment {
	var moments []Moment
	for _, t := range d.Tries {
		moments = append(moments, Moment{At: t.At, What: "try failed: " + t.Code, Detail: t.Cause, By: string(d.Stage) + " lane", Bad: true})
	}
	return append(moments, Moment{
		At: d.DiedAt, What: fmt.Sprintf("dead letter %d", d.Seq), Detail: d.Remedy, By: string(d.Stage) + " lane", Bad: true,
	})
}
