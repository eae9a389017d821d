package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// OtherAccount is the account that consented where a mailbox's own was invited.
type OtherAccount struct {
	Address  string `json:"address"` // its main one
	TenantID string `json:"tenant_id,omitempty"`
	ObjectID string `json:"object_id"`
	Alias    bool   `json:"alias"`    // the invited address is one of its further addresses
	Accepted bool   `json:"accepted"` // for this mailbox, by an operator
}

// AcceptedAccount is whom an operator has accepted in place of the invited account.
type AcceptedAccount struct {
	TenantID string    `json:"tenant_id,omitempty"`
	ObjectID string    `json:"object_id"`
	Alias    bool      `json:"alias"` // any account of the tenant will do whose alias the invited address is
	At       time.Time `json:"at"`
}

// Acceptance is the body of POST /mailboxes/{id}/accept-alias.
type Acceptance struct {
	TenantID     string `json:"tenant_id,omitempty"`     // the account that was looked at: when another one has
	ObjectID     string `json:"object_id,omitempty"`     // consented meanwhile, nothing is accepted
	OtherAccount bool   `json:"other_account,omitempty"` // also when it is no alias; wants a reason
	Reason       string `json:"reason,omitempty"`
}

// Accepted answers an acceptance. The owner has to consent once more; Link is empty when the link has run out.
type Accepted struct {
	Mailbox   mailbox.ID   `json:"mailbox"`
	Address   string       `json:"address"` // the invited one
	Consented OtherAccount `json:"consented"`
	Link      string       `json:"link,omitempty"`
	ExpiresAt time.Time    `json:"expires_at"`
}

// detail is a mailbox with what its list does not hold: who consented instead, and whom an operator has accepted.
func (c *Console) detail(item roster.Item, inv mailbox.Invitation, grant mailbox.Grant) MailboxView {
	v := viewOf(item)
	if k := inv.Accepted; k != nil {
		v.Accepted = &AcceptedAccount{TenantID: k.TenantID, ObjectID: k.ObjectID, Alias: k.Alias, At: k.At}
	}
	if grant.Consented != nil {
		other := otherAccount(inv, *grant.Consented)
		v.Consented = &other
	}
	return v
}

func otherAccount(inv mailbox.Invitation, a mailbox.Account) OtherAccount {
	return OtherAccount{Address: a.Address.Reveal(), TenantID: a.TenantID, ObjectID: a.ObjectID, Alias: a.Alias, Accepted: inv.Accepts(a)}
}

func (c *Console) postAcceptAlias(r *request) error { return answerOne(r, c.acceptOne) }

func (c *Console) actAcceptAlias(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	done, err := c.acceptOne(r, r.PathValue("id"), Acceptance{
		TenantID: form.Get("tenant_id"), ObjectID: form.Get("object_id"), OtherAccount: form.Get("other_account") != "", Reason: form.Get("reason"),
	})
	if err != nil {
		return err
	}
	return c.showMailbox(r, outcomes{Accepted: &done})
}

// acceptOne decides first, because the trail should name the account; the decision is made again when it is saved.
func (c *Console) acceptOne(r *request, id mailbox.ID, body Acceptance) (Accepted, error) {
	if _, ok := c.roster.Mailbox(id); !ok {
		return Accepted{}, errNotThere("mailbox")
	}
	grant, _, err := c.cfg.Grants.Load(r.Context(), id)
	if err != nil {
		return Accepted{}, errUnavailable(err)
	}
	who, err := c.mayAccept(id, grant, body)
	if err != nil {
		return Accepted{}, err
	}
	d := deed{action: "mailbox.accept_alias", target: id, count: 1, what: "account " + who.TenantID + "/" + who.ObjectID, reason: body.Reason}
	if body.OtherAccount {
		d.action = "mailbox.accept_account"
	}
	var done Accepted
	err = c.audited(r.Context(), r, d, func(ctx context.Context) error {
		done, err = c.accept(ctx, id, who, grant.Since)
		return err
	})
	return done, err
}

// mayAccept returns the account that is to be accepted.
func (c *Console) mayAccept(id mailbox.ID, grant mailbox.Grant, body Acceptance) (mailbox.Account, error) {
	item, _ := c.roster.Mailbox(id)
	refuse := func(code, detail, remedy string) (mailbox.Account, error) {
		return mailbox.Account{}, problem(http.StatusConflict, code, detail, remedy)
	}
	who := grant.Consented
	switch {
	case item.Status.State == mailbox.StateErased:
		return refuse("erased", "the mailbox was erased", "import it again if its owner agrees")
	case item.Status.State == mailbox.StateRegistered:
		return refuse("registered", "the mailbox is connected", "none: there is nothing to decide")
	case who == nil || who.ObjectID == "":
		return refuse("no_mismatch", "no other account is known to have consented for this mailbox", "wait until its owner has consented, then look at who it was")
	case body.ObjectID != "" && (body.ObjectID != who.ObjectID || body.TenantID != who.TenantID):
		return refuse("another_account", "another account has consented meanwhile", "look at the mailbox again, and decide about that one")
	case !who.Alias && !body.OtherAccount:
		return refuse("not_an_alias", "the invited address is no alias of the account that consented: it is a different mailbox",
			"ask the owner to use the invited account; to connect the other one all the same, say so (other_account) and why")
	case body.OtherAccount && body.Reason == "":
		return mailbox.Account{}, errBadRequest("reason_missing", "a different account is accepted only with a reason", "say why this account may stand for the invited one")
	}
	account := *who
	account.Alias = account.Alias && !body.OtherAccount // what an operator insists on is bound to that one account
	return account, nil
}

// accept saves the operator's word. It is newer than the mismatch that it answers, whatever the two clocks say.
func (c *Console) accept(ctx context.Context, id mailbox.ID, who mailbox.Account, mismatch time.Time) (Accepted, error) {
	for range 10 {
		inv, revision, err := c.cfg.Invitations.Load(ctx, id)
		switch {
		case err != nil:
			return Accepted{}, errUnavailable(err)
		case revision == 0:
			return Accepted{}, errNotThere("mailbox")
		case !inv.ErasedAt.IsZero():
			return Accepted{}, problem(http.StatusConflict, "erased", "the mailbox was erased", "import it again if its owner agrees")
		}
		at := c.cfg.Now().UTC().Truncate(time.Millisecond)
		if least := mismatch.Add(2 * time.Millisecond).Truncate(time.Millisecond); at.Before(least) {
			at = least.UTC()
		}
		inv.Accepted = &mailbox.Acceptance{Proof: events.Proof{TenantID: who.TenantID, ObjectID: who.ObjectID}, Alias: who.Alias, At: at}
		_, err = c.cfg.Invitations.Save(ctx, id, inv, revision)
		if err == nil {
			c.roster.Invitation(inv)
			return c.accepted(inv, who), nil
		}
		if !errors.Is(err, handlers.ErrConflict) {
			return Accepted{}, errUnavailable(err)
		}
	}
	return Accepted{}, problem(http.StatusConflict, "busy", "somebody else is changing this mailbox", "try again")
}

func (c *Console) accepted(inv mailbox.Invitation, who mailbox.Account) Accepted {
	done := Accepted{Mailbox: inv.ID, Address: inv.Address, Consented: otherAccount(inv, who), ExpiresAt: inv.LinkExpiresAt}
	if !inv.LinkExpired(c.cfg.Now()) {
		done.Link = c.cfg.linkURL(inv.ID, inv.LinkGeneration).Reveal()
	}
	return done
}
