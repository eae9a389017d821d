package seal

import (
	"encoding/base64"
	"fmt"

	"kindling/internal/mailbox"
)

// maxAdminLink is far above the length of any link for a tenant's admin.
const maxAdminLink = 1024

// AdminLinks writes and reads the links for tenants' admins. A link is sealed with the keyset of people, which console and
// edge share: it tells nobody else whose it is, nobody else can make one, and it is stored nowhere. The same link is
// written differently each time.
type AdminLinks struct{ box *Box }

// NewAdminLinks returns the links that are sealed with box, which OpenPeople returned.
func NewAdminLinks(box *Box) AdminLinks { return AdminLinks{box: box} }

// Token returns the token of a link: letters, digits, "-" and "_".
func (l AdminLinks) Token(link mailbox.AdminLink) (string, error) {
	plain, err := link.Marshal()
	if err != nil {
		return "", err
	}
	sealed, err := l.box.Seal(plain, mailbox.AdminLinkContext)
	if err != nil {
		return "", fmt.Errorf("seal admin link: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Parse returns what a genuine link says. Whether it has expired is for the caller to ask.
func (l AdminLinks) Parse(token string) (mailbox.AdminLink, bool) {
	if len(token) > maxAdminLink {
		return mailbox.AdminLink{}, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	// The decoder skips line ends; such a token is none that was handed out.
	if err != nil || base64.RawURLEncoding.EncodedLen(len(sealed)) != len(token) {
		return mailbox.AdminLink{}, false
	}
	plain, err := l.box.Open(sealed, mailbox.AdminLinkContext)
	if err != nil {
		return mailbox.AdminLink{}, false
	}
	link, err := mailbox.ParseAdminLink(plain)
	return link, err == nil
}
