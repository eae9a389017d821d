package msid

import (
	"crypto/x509"
	"time"
)

// record is one line of the journal; exactly one field is set. Rules, switches
// and counts of calls are not remembered, and of accounts only what their codes
// and grants tell; what an account looks like is the configuration's affair.
type record struct {
	// Mint is the key that tokens are derived from.
	Mint []byte `json:"mint,omitempty"`
	// Key signs from now on.
	Key *keyRecord `json:"key,omitempty"`
	// Admin is a tenant whose administrator consented.
	Admin string `json:"admin,omitempty"`
	// Code was issued.
	Code *codeRecord `json:"code,omitempty"`
	// Sent is an arrival of a code.
	Sent *sentRecord `json:"sent,omitempty"`
	// Spent is the id of a code that was consumed without a grant.
	Spent string `json:"spent,omitempty"`
	// Grant consumed the code with its id.
	Grant *grantRecord `json:"grant,omitempty"`
	// Revoked is the id of a code that was sent again, which ended its grant.
	Revoked string `json:"revoked,omitempty"`
	// Ended tells that all grants of an address so far have ended.
	Ended *endRecord `json:"ended,omitempty"`
	// Access and Refresh are tokens that were issued.
	Access  *tokenRecord `json:"access,omitempty"`
	Refresh *tokenRecord `json:"refresh,omitempty"`
	// Used is the id of a refresh token that works no more.
	Used string `json:"used,omitempty"`
}

type keyRecord struct {
	ID  string `json:"id"`
	Alg string `json:"alg"`
	// Private is the key in PKCS #8. It is no secret: it signs nothing real.
	Private []byte `json:"private"`
	// Forget removes all keys before it.
	Forget bool `json:"forget,omitempty"`
}

type codeRecord struct {
	Code
	ID string `json:"id"`
	// SignedInAs is the address as the owner typed it.
	SignedInAs string   `json:"as"`
	Redirect   string   `json:"redirect"`
	Nonce      string   `json:"nonce,omitempty"`
	Challenge  string   `json:"challenge,omitempty"`
	Method     string   `json:"method,omitempty"`
	Scopes     []string `json:"scopes"`
	Redeemed   bool     `json:"redeemed,omitempty"`
}

type sentRecord struct {
	Send
	Code string `json:"code"`
}

type grantRecord struct {
	ID         string   `json:"id"`
	ClientID   string   `json:"client_id"`
	SignedInAs string   `json:"as"`
	Tenant     string   `json:"tenant"`
	Scopes     []string `json:"scopes"`
	Nonce      string   `json:"nonce,omitempty"`
	Ended      int      `json:"ended,omitempty"`
}

type endRecord struct {
	Address string `json:"address"`
	Number  int    `json:"number"`
}

type tokenRecord struct {
	ID      string    `json:"id"`
	Grant   string    `json:"grant"`
	Expires time.Time `json:"expires"`
	Spent   bool      `json:"spent,omitempty"`
}

func (k signingKey) record(alg string, forget bool) *keyRecord {
	private, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		panic("msid: " + err.Error()) // a key of ours is of a kind that is known
	}
	return &keyRecord{ID: k.id, Alg: alg, Private: private, Forget: forget}
}

func (c *code) record() record {
	r := c.request
	return record{Code: &codeRecord{
		Code: c.Code, ID: c.id, SignedInAs: c.user.Address, Redirect: r.redirect, Nonce: r.nonce,
		Challenge: r.challenge, Method: r.method, Scopes: r.scopes, Redeemed: c.redeemed,
	}}
}

func (g *grant) record() record {
	return record{Grant: &grantRecord{
		ID: g.id, ClientID: g.app.ClientID, SignedInAs: g.user.Address, Tenant: g.tenant.path,
		Scopes: g.scopes, Nonce: g.nonce, Ended: g.ended,
	}}
}

func (t *token) record(id string) *tokenRecord {
	return &tokenRecord{ID: id, Grant: t.grant.id, Expires: t.expires, Spent: t.spent}
}
