package mailbox

import (
	"encoding/json"
	"fmt"
	"time"
)

// AdminConsent is what browsers brought back from Microsoft about one tenant's admin and one app. callback-ingest alone
// writes it. It is a report and no proof: whoever holds the tenant's link can make his own browser say that the admin has
// agreed. So nothing is allowed or spared because of it; what proves the consent is the first owner who can connect
// (docs/adr/0020).
type AdminConsent struct {
	App       string     `json:"app"`
	Tenant    string     `json:"tenant"` // as the link names it, never as the answer does
	GrantedAt time.Time  `json:"granted_at,omitzero"`
	RefusedAt time.Time  `json:"refused_at,omitzero"`
	Reason    string     `json:"reason,omitempty"`     // of the refusal: Declined, NotAdmin or SignInFailed
	StateHash string     `json:"state_hash,omitempty"` // of the attempt that was answered last
	Outcome   AdminState `json:"outcome,omitempty"`    // its answer: AdminGranted or AdminRefused
}

// AdminState is how far a tenant's admin is, as an operator sees it.
type AdminState string

// The states of an admin's consent (docs/states.md). An attempt ends in AdminGranted or AdminRefused.
const (
	AdminNotAsked AdminState = "not_asked" // nothing is known: nobody came back from the link, and no owner has tried
	AdminRefused  AdminState = "refused"   // the last attempt failed; the reason says why
	AdminGranted  AdminState = "granted"   // a browser reported it; no owner has tried since
	AdminProven   AdminState = "proven"    // an owner in the tenant could connect
	AdminNeeded   AdminState = "needed"    // an owner was sent back to the admin, after all that speaks for a consent
)

// AdminStates lists every state, in the order in which they want an operator's attention.
func AdminStates() []AdminState {
	return []AdminState{AdminNeeded, AdminRefused, AdminNotAsked, AdminGranted, AdminProven}
}

// Settled reports whether the owners of the tenant may be sent their links: as far as is known nobody stops them.
func (s AdminState) Settled() bool { return s == AdminGranted || s == AdminProven }

// NotAdmin is the reason of a refusal that only an administrator can turn into a consent; the others are Declined and
// SignInFailed.
const NotAdmin = "not_admin"

// Grant records that the attempt with this state came back with an admin's consent.
func (c AdminConsent) Grant(stateHash string, now time.Time) (AdminConsent, Answer) {
	if verdict := c.answered(stateHash, AdminGranted, ""); verdict != Accepted {
		return c, verdict
	}
	c.StateHash, c.Outcome, c.GrantedAt = stateHash, AdminGranted, now.UTC()
	return c, Accepted
}

// Refuse records that the attempt with this state came back without one. An earlier consent stays known: that somebody
// else declined takes nothing back at Microsoft.
func (c AdminConsent) Refuse(stateHash, reason string, now time.Time) (AdminConsent, Answer) {
	if verdict := c.answered(stateHash, AdminRefused, reason); verdict != Accepted {
		return c, verdict
	}
	c.StateHash, c.Outcome, c.RefusedAt, c.Reason = stateHash, AdminRefused, now.UTC(), reason
	return c, Accepted
}

// answered tells what an answer means to an attempt that may have had one. Older attempts than the last are not
// remembered: their cookies end soon, and what they can say is a report like any other.
func (c AdminConsent) answered(stateHash string, outcome AdminState, reason string) Answer {
	switch {
	case c.StateHash != stateHash:
		return Accepted
	case c.Outcome == outcome && (outcome == AdminGranted || c.Reason == reason):
		return Repeated
	}
	return Conflict
}

// Evidence is what the mailboxes of a tenant tell about its admin's consent.
type Evidence struct {
	ConnectedAt time.Time // when the last of its owners connected; zero: none has
	BlockedAt   time.Time // when the last of its owners was sent back to the admin; zero: none was
}

// View derives how far the tenant's admin is. Mailboxes speak louder than reports, and the later of them counts: an admin
// may have taken the consent back.
func (c AdminConsent) View(e Evidence) (state AdminState, reason string, since time.Time) {
	blocked := e.BlockedAt.After(e.ConnectedAt) && e.BlockedAt.After(c.GrantedAt)
	switch {
	case blocked && c.RefusedAt.After(e.BlockedAt):
		return AdminRefused, c.Reason, c.RefusedAt
	case blocked:
		return AdminNeeded, "", e.BlockedAt
	case !e.ConnectedAt.IsZero():
		return AdminProven, "", e.ConnectedAt
	case !c.GrantedAt.IsZero():
		return AdminGranted, "", c.GrantedAt
	case !c.RefusedAt.IsZero():
		return AdminRefused, c.Reason, c.RefusedAt
	}
	return AdminNotAsked, "", time.Time{}
}

// AdminLink is what the link for a tenant's admin says, to whoever can open it.
type AdminLink struct {
	App     string
	Tenant  string
	Expires time.Time
}

// Expired reports whether the link no longer opens at now.
func (l AdminLink) Expired(now time.Time) bool { return now.After(l.Expires.Add(linkLeeway)) }

// AdminLinkContext binds a sealed AdminLink to its purpose.
const AdminLinkContext = "v1|admin-link"

// sealedAdminLink keeps the link short: it is typed into mails.
type sealedAdminLink struct {
	App     string `json:"a"`
	Tenant  string `json:"t"`
	Expires int64  `json:"e"`
}

// Marshal returns what is sealed into the link.
func (l AdminLink) Marshal() ([]byte, error) {
	data, err := json.Marshal(sealedAdminLink{App: l.App, Tenant: l.Tenant, Expires: l.Expires.Unix()})
	if err != nil {
		return nil, fmt.Errorf("marshal admin link: %w", err)
	}
	return data, nil
}

// ParseAdminLink reads what Marshal wrote.
func ParseAdminLink(data []byte) (AdminLink, error) {
	var s sealedAdminLink
	if err := json.Unmarshal(data, &s); err != nil {
		return AdminLink{}, fmt.Errorf("parse admin link: %w", err)
	}
	return AdminLink{App: s.App, Tenant: s.Tenant, Expires: time.Unix(s.Expires, 0).UTC()}, nil
}
