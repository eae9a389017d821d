package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// The stored forms below are apart from the facts themselves: fields are added, never renamed, because a bucket and its
// backups hold what older versions wrote.

type storedInvitation struct {
	Version          int       `json:"v"`
	Campaign         string    `json:"campaign"`
	App              string    `json:"app"`
	Account          string    `json:"account"`
	Tenant           string    `json:"tenant,omitempty"`
	Person           []byte    `json:"person"` // sealed storedPerson
	TariffPlanTypeID int       `json:"tariff_plan_type_id"`
	SpeedMode        string    `json:"speed_mode"`
	Line             int       `json:"line"`
	LinkGeneration   int       `json:"link_generation"`
	LinkHash         string    `json:"link_hash"`
	InvitedAt        time.Time `json:"invited_at"`
	LinkExpiresAt    time.Time `json:"link_expires_at"`
	ErasedAt         time.Time `json:"erased_at,omitzero"`

	Accepted *mailbox.Acceptance `json:"accepted,omitempty"`
}

type storedPerson struct {
	Address    string `json:"address"`
	FromName   string `json:"from_name,omitempty"`
	ExternalID string `json:"external_id,omitempty"`
}

func personContext(id string) string { return "v1|person|" + id }
func grantContext(id string) string  { return "v1|grant|" + id }

func invitationCodec(people Box) codec[mailbox.Invitation] {
	return codec[mailbox.Invitation]{
		encode: func(id string, i mailbox.Invitation) ([]byte, error) {
			plain, err := json.Marshal(storedPerson{Address: i.Address, FromName: i.FromName, ExternalID: i.ExternalID})
			if err != nil {
				return nil, err
			}
			person, err := people.Seal(plain, personContext(id))
			if err != nil {
				return nil, err
			}
			return json.Marshal(storedInvitation{
				Version: 1, Campaign: i.Campaign, App: i.App, Account: i.Account, Tenant: i.Tenant, Person: person,
				TariffPlanTypeID: i.TariffPlanTypeID, SpeedMode: i.SpeedMode, Line: i.Line, LinkGeneration: i.LinkGeneration,
				LinkHash: i.LinkHash, InvitedAt: i.InvitedAt, LinkExpiresAt: i.LinkExpiresAt, ErasedAt: i.ErasedAt, Accepted: i.Accepted,
			})
		},
		decode: func(id string, data []byte) (mailbox.Invitation, error) {
			var s storedInvitation
			if err := decodeRecord(data, &s, &s.Version); err != nil {
				return mailbox.Invitation{}, err
			}
			plain, err := people.Open(s.Person, personContext(id))
			if err != nil {
				return mailbox.Invitation{}, errors.Join(errNotOpened, err)
			}
			var p storedPerson
			if err := json.Unmarshal(plain, &p); err != nil {
				return mailbox.Invitation{}, errors.New("the sealed person is not readable")
			}
			return mailbox.Invitation{
				ID: id, Campaign: s.Campaign, App: s.App, Account: s.Account, Tenant: s.Tenant, Address: p.Address,
				FromName: p.FromName, ExternalID: p.ExternalID, TariffPlanTypeID: s.TariffPlanTypeID, SpeedMode: s.SpeedMode,
				Line: s.Line, LinkGeneration: s.LinkGeneration, LinkHash: s.LinkHash, InvitedAt: s.InvitedAt,
				LinkExpiresAt: s.LinkExpiresAt, ErasedAt: s.ErasedAt, Accepted: s.Accepted,
			}, nil
		},
	}
}

type storedGrant struct {
	mailbox.Grant

	Version int           `json:"v"`
	Tokens  *storedTokens `json:"tokens,omitempty"`

	Consented []byte `json:"consented,omitempty"` // sealed mailbox.Account
}

type storedTokens struct {
	Sealed   []byte    `json:"sealed"` // storedSecrets
	Expiry   time.Time `json:"expiry"`
	Scope    []string  `json:"scope"`
	Attempt  string    `json:"attempt"`
	SavedAt  time.Time `json:"saved_at"`
	Rotation int       `json:"rotation,omitempty"`
}

type storedSecrets struct {
	Access  string `json:"access"`
	Refresh string `json:"refresh"`
	IDToken string `json:"id_token,omitempty"`
	Nonce   string `json:"nonce,omitempty"`
}

func grantCodec(grants, people Box) codec[mailbox.Grant] {
	return codec[mailbox.Grant]{
		encode: func(id string, g mailbox.Grant) (_ []byte, err error) {
			s := storedGrant{Version: 1, Grant: g}
			if s.Consented, err = sealAccount(people, id, g.Consented); err != nil {
				return nil, err
			}
			if g.Tokens == nil {
				return json.Marshal(s)
			}
			sealed, err := sealTokens(grants, id, *g.Tokens)
			if err != nil {
				return nil, err
			}
			s.Tokens = &sealed
			return json.Marshal(s)
		},
		decode: func(id string, data []byte) (_ mailbox.Grant, err error) {
			var s storedGrant
			if err := decodeRecord(data, &s, &s.Version); err != nil {
				return mailbox.Grant{}, err
			}
			if s.Grant.Consented, err = openAccount(people, id, s.Consented); err != nil {
				return mailbox.Grant{}, err
			}
			if s.Tokens == nil {
				return s.Grant, nil
			}
			tokens, err := openTokens(grants, id, *s.Tokens)
			if err != nil {
				return mailbox.Grant{}, err
			}
			s.Grant.Tokens = &tokens
			return s.Grant, nil
		},
	}
}

// sealAccount seals with the key of addresses: the console must be able to show whom an operator decides about, and
// holds no key of tokens.
func sealAccount(people Box, id string, a *mailbox.Account) ([]byte, error) {
	if a == nil {
		return nil, nil
	}
	if people == nil {
		return nil, errors.New("this process does not hold the people keyset")
	}
	plain, err := a.Marshal()
	if err != nil {
		return nil, err
	}
	sealed, err := people.Seal(plain, mailbox.SealedAccountContext(id))
	if err != nil {
		return nil, fmt.Errorf("seal account: %w", err)
	}
	return sealed, nil
}

func openAccount(people Box, id string, sealed []byte) (*mailbox.Account, error) {
	if people == nil || len(sealed) == 0 {
		return nil, nil // no account is known
	}
	plain, err := people.Open(sealed, mailbox.SealedAccountContext(id))
	if err != nil {
		return nil, errors.Join(errNotOpened, err)
	}
	a, err := mailbox.ParseAccount(plain)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

func sealTokens(grants Box, id string, t mailbox.Tokens) (storedTokens, error) {
	if grants == nil {
		return storedTokens{}, errors.New("this process does not hold the grants keyset")
	}
	plain, err := json.Marshal(storedSecrets{
		Access: t.Access.Reveal(), Refresh: t.Refresh.Reveal(), IDToken: t.IDToken.Reveal(), Nonce: t.Nonce.Reveal(),
	})
	if err != nil {
		return storedTokens{}, errors.New("tokens cannot be encoded")
	}
	sealed, err := grants.Seal(plain, grantContext(id))
	if err != nil {
		return storedTokens{}, fmt.Errorf("seal tokens: %w", err)
	}
	return storedTokens{
		Sealed: sealed, Expiry: t.Expiry, Scope: t.Scope, Attempt: t.Attempt, SavedAt: t.SavedAt, Rotation: t.Rotation,
	}, nil
}

func openTokens(grants Box, id string, s storedTokens) (mailbox.Tokens, error) {
	t := mailbox.Tokens{Expiry: s.Expiry, Scope: s.Scope, Attempt: s.Attempt, SavedAt: s.SavedAt, Rotation: s.Rotation}
	if grants == nil {
		return t, nil
	}
	plain, err := grants.Open(s.Sealed, grantContext(id))
	if err != nil {
		return mailbox.Tokens{}, errors.Join(errNotOpened, err)
	}
	var texts storedSecrets
	if err := json.Unmarshal(plain, &texts); err != nil {
		return mailbox.Tokens{}, errors.New("the sealed tokens are not readable")
	}
	t.Access, t.Refresh = secret.New(texts.Access), secret.New(texts.Refresh)
	t.IDToken, t.Nonce = secret.New(texts.IDToken), secret.New(texts.Nonce)
	return t, nil
}
