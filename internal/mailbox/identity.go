package mailbox

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"kindling/internal/events"
)

// Identity says which mailbox may be posted to one Warmy account as one mailbox of Microsoft (docs/adr/0027). Two invitations
// can mean the same one: by its mail and its userPrincipalName, by an alias, or under two apps. warmy-worker alone writes it.
type Identity struct {
	Mailbox ID `json:"mailbox"` // who holds it
	// Intent is the holder's registration when its POST was about to be sent. As long as the holder has no registration of its
	// own, this is it. nil: nothing was posted as this identity, so that anybody may take it.
	Intent *Registration `json:"intent,omitempty"`
	At     time.Time     `json:"at"`
}

// Who is how an account at Microsoft is remembered: by a SHA-256 of its tenant and object id. "" when the object id is not
// known, because nobody may be taken for somebody else.
func Who(p events.Proof) string {
	if p.ObjectID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("v1|who|" + p.TenantID + "|" + p.ObjectID))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// IdentityKey is the key of an Identity: the same mailbox of Microsoft may be at two Warmy accounts.
func IdentityKey(account, who string) string { return account + "." + who }

// Intended returns the first intent of mailbox id, if that is what the claim holds.
func (i Identity) Intended(id ID) (Registration, bool) {
	if i.Mailbox != id || i.Intent == nil {
		return Registration{}, false
	}
	return *i.Intent, true
}

// Bound returns the holder's registration and reports whether a POST of it may have had effect: then no other mailbox may be
// posted as the same identity. own is the holder's own record, and stored reports whether there is one.
func (i Identity) Bound(own Registration, stored bool) (Registration, bool) {
	if i.Intent == nil {
		return own, false
	}
	if !stored {
		return *i.Intent, true
	}
	free := own.Phase == RegistrationNone || own.Phase == RegistrationDead && !own.Unsettled
	return own, !free
}

// firstOpen is a Grant's First before any tokens were saved.
const firstOpen = "-"

// FirstIntent returns who the mailbox's first intent may stand under; ok is false when it can only stand in its registration.
func (g Grant) FirstIntent() (who string, ok bool) {
	return g.First, g.First != "" && g.First != firstOpen
}

// first is what is known of First when a grant turns to another code. Only of a mailbox without any history it is certain
// that no tokens were ever saved.
func (g Grant) first() string {
	if g == (Grant{}) {
		return firstOpen
	}
	return g.First
}

// opened remembers whose tokens were saved first.
func (g Grant) opened(t Tokens) Grant {
	if g.First == firstOpen {
		g.First = Who(t.Whose)
	}
	return g
}
