package handlers

import (
	"context"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// claims keeps two mailboxes that are one at Microsoft from being both posted to one Warmy account (docs/adr/0027).
//
// The claim is the intent: a mailbox's first one is created at the key of its identity and nowhere else, so that the usual way
// costs no further write. What comes of it, and every later intent, is saved in the mailbox's own registration. Only under
// the identity whose tokens were saved first (mailbox.Grant.First) may an intent stand so: there, whoever is about to write the
// first registration finds it, or closes the place.
type claims struct {
	invitations   Reader[mailbox.Invitation]
	registrations Records[mailbox.Registration]
	identities    Records[mailbox.Identity]
	now           func() time.Time
}

// standing is a mailbox's registration as it stands, in its own record or as a first intent.
type standing struct {
	reg      mailbox.Registration
	revision uint64    // of its own record
	open     string    // where a first intent may still be created; "": nowhere
	looked   time.Time // when the first of the facts was about to be read
}

// load returns the registration of e's mailbox as it stands.
func (c claims) load(ctx context.Context, e events.Event, grant mailbox.Grant) (s standing, err error) {
	if s.reg, s.revision, err = c.registrations.Load(ctx, e.Mailbox); err != nil {
		return s, loaded("registration", err)
	}
	who, first := grant.FirstIntent()
	switch {
	case s.revision > 0:
		return s, nil
	case !first && e.Proof != nil:
		who = mailbox.Who(*e.Proof) // an older token-worker may have dropped what was known
	}
	if who == "" {
		return s, nil
	}
	key := mailbox.IdentityKey(e.Account, who)
	held, at, err := c.identities.Load(ctx, key)
	if err != nil {
		return s, loaded("identity", err)
	}
	if intent, stands := held.Intended(e.Mailbox); stands {
		s.reg = intent
	}
	if first && at == 0 {
		s.open = key
	}
	return s, nil
}

// close makes sure that no first intent can come any more: the registration's own record is about to be written. An intent that
// was quicker is ErrConflict.
func (c claims) close(ctx context.Context, e events.Event, s standing) error {
	if s.open == "" {
		return nil
	}
	_, err := c.identities.Save(ctx, s.open, mailbox.Identity{Mailbox: e.Mailbox, At: c.now().UTC()}, 0)
	return saved("identity without intent", err)
}

// bury records that the work on e was given up.
func (c claims) bury(ctx context.Context, e events.Event, f *fault.Fault, s standing) error {
	buried := s.reg.Bury(e, f, c.now())
	if strange(f) || buried == s.reg {
		return nil
	}
	if err := c.close(ctx, e, s); err != nil {
		return err
	}
	_, err := c.registrations.Save(ctx, e.Mailbox, buried, s.revision)
	return saved("buried registration", err)
}

// claim is how one POST of a mailbox gets hold of its identity.
type claim struct {
	claims
	standing

	e     events.Event
	who   string
	first bool   // the intent is created as the claim
	due   bool   // the claim is to be saved beside the intent
	at    uint64 // the claim's revision
}

// claim tells how e's mailbox may be posted. It fails if another mailbox holds the identity and may be at Warmy. It has to look at
// the claim before it looks at its holder: then the holder cannot post without saving the claim again.
func (c claims) claim(ctx context.Context, e events.Event, s standing) (*claim, error) {
	p := &claim{claims: c, standing: s, e: e, who: mailbox.Who(*e.Proof)}
	key := mailbox.IdentityKey(e.Account, p.who)
	switch {
	case p.who == "":
		return p, nil // an account that Microsoft has not named can be told from no other
	case s.open == key:
		p.first = true
		return p, nil
	case s.reg.Phase == mailbox.Registered && s.reg.Holds == p.who:
		return p, nil // nobody can take it from what is registered
	}
	held, at, err := c.identities.Load(ctx, key)
	if err != nil {
		return nil, loaded("identity", err)
	}
	p.due, p.at = true, at
	if at == 0 || held.Mailbox == e.Mailbox {
		return p, nil
	}
	return p, c.free(ctx, held)
}

// free returns nil when the identity can be taken from its holder, because no POST of it can have had effect.
func (c claims) free(ctx context.Context, held mailbox.Identity) error {
	own, stored, err := c.registrations.Load(ctx, held.Mailbox)
	if err != nil {
		return loaded("registration of the identity's holder", err)
	}
	reg, bound := held.Bound(own, stored > 0)
	switch {
	case !bound:
		return nil
	case reg.Phase == mailbox.Posting && c.now().Before(reg.Lease):
		return waitFor(reg.Lease, c.now())
	}
	inv, _, err := c.invitations.Load(ctx, held.Mailbox)
	if err != nil {
		return loaded("invitation of the identity's holder", err)
	}
	if !inv.ErasedAt.IsZero() {
		return nil
	}
	return sameMailbox(held.Mailbox)
}

// intend saves the intent to post, and the claim.
func (p *claim) intend(ctx context.Context, reg mailbox.Registration) (mailbox.Registration, error) {
	key := mailbox.IdentityKey(p.e.Account, p.who)
	if p.first {
		p.first, p.open, reg.Holds = false, "", p.who
		_, err := p.identities.Save(ctx, key, mailbox.Identity{Mailbox: p.e.Mailbox, Intent: &reg, At: reg.Since}, 0)
		return reg, saved("first intent to register", err)
	}
	if err := p.close(ctx, p.e, p.standing); err != nil {
		return reg, err
	}
	p.open = ""
	revision, err := p.registrations.Save(ctx, p.e.Mailbox, reg, p.revision)
	if err != nil {
		return reg, saved("intent to register", err)
	}
	p.revision = revision
	if !p.due {
		return reg, nil
	}
	if _, err := p.identities.Save(ctx, key, mailbox.Identity{Mailbox: p.e.Mailbox, Intent: &reg, At: reg.Since}, p.at); err != nil {
		_, _ = p.registrations.Save(ctx, p.e.Mailbox, p.reg, revision) // nothing was posted; if this fails the listing says so
		return reg, saved("identity", err)
	}
	p.due, reg.Holds = false, p.who
	return reg, nil
}

// upon is merge that finds the first intent where nothing is stored yet, because it stands in the claim.
func upon(
	intent mailbox.Registration, merge func(mailbox.Registration) (mailbox.Registration, bool),
) func(mailbox.Registration) (mailbox.Registration, bool) {
	return func(current mailbox.Registration) (mailbox.Registration, bool) {
		if current == (mailbox.Registration{}) {
			current = intent
		}
		return merge(current)
	}
}

// CodeSameMailbox is the code of the fault of a mailbox that is another one's at Microsoft.
const CodeSameMailbox = "warmy_same_mailbox"

func sameMailbox(other mailbox.ID) error {
	return &fault.Fault{
		Class: fault.Permanent, Code: CodeSameMailbox, Forecast: fault.ByPerson,
		Cause: "one Microsoft mailbox was invited twice: mailbox " + other + " of the same Warmy account was proven to be the same, " +
			"and is at Warmy or may be",
		Remedy: "compare the two (kindling mailbox explain) and keep one. To keep the other one, discard this dead letter; this one is " +
			"posted by kindling dead replay --id ID --forecast by_person once the other one is dead without a POST in effect, or declared absent",
	}
}
