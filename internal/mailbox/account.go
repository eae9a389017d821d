package mailbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/secret"
)

// Account is the account that consented where another one was invited: whose the destroyed tokens were.
type Account struct {
	events.Proof

	Address secret.Text // its main address, as Graph tells it; stored sealed and only sealed
	Alias   bool        // Graph lists the invited address among the account's further addresses
}

// Acceptance is an operator's word that another account than the invited address's own may consent for a mailbox
// (docs/adr/0022). The console alone writes it.
type Acceptance struct {
	events.Proof

	Alias bool      `json:"alias,omitempty"` // any account of the tenant will do whose alias the invited address is
	At    time.Time `json:"at"`
}

// Accepts reports whether an operator has accepted that a consents for this mailbox. An account without an object id
// proves nothing, and an alias counts only in the tenant that it was accepted in: elsewhere anybody could claim it.
func (i Invitation) Accepts(a Account) bool {
	k := i.Accepted
	switch {
	case k == nil || a.ObjectID == "" || k.TenantID != a.TenantID:
		return false
	case k.ObjectID == a.ObjectID:
		return true
	}
	return k.Alias && a.Alias && k.TenantID != ""
}

// acceptedSince reports whether an operator's acceptance is newer than t.
func (i Invitation) acceptedSince(t time.Time) bool {
	return i.Accepted != nil && i.Accepted.At.After(t)
}

// sealedAccount is the form in which an Account is sealed. Fields are added, never renamed.
type sealedAccount struct {
	TenantID string `json:"tid,omitempty"`
	ObjectID string `json:"oid"`
	Address  string `json:"address"`
	Alias    bool   `json:"alias,omitempty"`
}

// Marshal returns the readable form of a. The caller must seal it at once.
func (a Account) Marshal() ([]byte, error) {
	data, err := json.Marshal(sealedAccount{TenantID: a.TenantID, ObjectID: a.ObjectID, Address: a.Address.Reveal(), Alias: a.Alias})
	if err != nil {
		return nil, fmt.Errorf("marshal account: %w", err)
	}
	return data, nil
}

// ParseAccount reads what Marshal wrote.
func ParseAccount(data []byte) (Account, error) {
	var s sealedAccount
	if err := json.Unmarshal(data, &s); err != nil {
		return Account{}, errors.New("parse account: the sealed text is not an account")
	}
	return Account{
		Proof: events.Proof{TenantID: s.TenantID, ObjectID: s.ObjectID}, Address: secret.New(s.Address), Alias: s.Alias,
	}, nil
}

// SealedAccountContext is the associated data of a sealed Account: it must not open for another mailbox.
func SealedAccountContext(id ID) string { return "v1|account|" + id }
