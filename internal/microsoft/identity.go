package microsoft

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// Prove tells whose mailbox the tokens open. The id_token (signature, issuer, audience, life, nonce) gives the stable
// identity, tid and oid; Graph, asked with the access token, must name the same object and the invited address as its
// mail or userPrincipalName. An alias does not do: the error says who consented, and the operator decides about it.
//
// Nothing in OAuth ties a link to a mailbox. Without this proof, whoever opens a link first would be
// registered under the invited name.
func (c *Client) Prove(ctx context.Context, app string, t mailbox.Tokens, address string) (events.Proof, error) {
	reg, err := c.app(app)
	if err != nil {
		return events.Proof{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	proof, err := c.identity(ctx, reg.App, t)
	if err != nil {
		return events.Proof{}, err
	}
	if t, err = c.current(ctx, app, t); err != nil {
		return events.Proof{}, err
	}
	me, err := c.me(ctx, reg.App, t)
	if err != nil {
		return events.Proof{}, err
	}
	if proof.ObjectID == "" {
		proof.ObjectID = me.ID
	}
	proof.ObjectID = strings.ToLower(proof.ObjectID)
	if proof.TenantID == personalTenant && !reg.admitsPersonal() {
		return events.Proof{}, &handlers.MismatchError{Fault: personal(address), Account: me.account(proof, false)}
	}
	if err := me.match(proof, address); err != nil {
		return events.Proof{}, err
	}
	return proof, nil
}

// current renews an access token that died while Graph was down. The new tokens serve this proof only and are not kept:
// Microsoft does not revoke the refresh token that was used.
func (c *Client) current(ctx context.Context, app string, t mailbox.Tokens) (mailbox.Tokens, error) {
	if t.Expiry.IsZero() || t.Fresh(c.now(), 0) {
		return t, nil
	}
	return c.Refresh(ctx, app, t)
}

// claims are what Kindling reads of an id_token. The addresses in it may be changed by their owner and prove nothing.
type claims struct {
	TenantID string `json:"tid"`
	ObjectID string `json:"oid"`
	Issuer   string `json:"iss"`
}

// identity verifies the id_token. An app that asks for none (the flow of Warmy's guide) is proven by Graph alone.
func (c *Client) identity(ctx context.Context, app App, t mailbox.Tokens) (events.Proof, error) {
	if t.IDToken.Empty() {
		if app.asksIdentity() {
			return events.Proof{}, incomplete("no_id_token", "the answer holds no id_token, though it was asked for", "send the owner the link again")
		}
		if app.OpenID != nil {
			return events.Proof{TenantID: app.OpenID.directory()}, nil
		}
		return events.Proof{TenantID: strings.ToLower(guid(app.Tenant))}, nil
	}
	keys := &watched{ring: c.keyring(app)}
	verifier := oidc.NewVerifier("", keys, &oidc.Config{
		ClientID: app.ClientID, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256},
		SkipIssuerCheck: true, // it depends on a claim, and is checked below
		Now:             func() time.Time { return c.received(t) },
	})
	token, err := verifier.Verify(ctx, t.IDToken.Reveal())
	if keys.trouble != nil {
		return events.Proof{}, keys.trouble
	}
	if err != nil {
		return events.Proof{}, unproven(verdict(err))
	}
	proof, f := app.proof(token)
	switch {
	case f != nil:
		return events.Proof{}, f
	case token.Nonce == "" || !secret.New(token.Nonce).Equal(t.Nonce):
		return events.Proof{}, mismatch("the id_token's nonce is not this attempt's: the code was taken from another sign-in",
			"send the owner a new link; look into it if it happens twice")
	}
	return proof, nil
}

// proof is who an id_token names. Whether its signature, audience and life hold is the caller's to verify.
func (a App) proof(token *oidc.IDToken) (events.Proof, *fault.Fault) {
	if a.OpenID != nil {
		return a.OpenID.proof(token)
	}
	var read claims
	if err := token.Claims(&read); err != nil {
		return events.Proof{}, unproven("its claims cannot be read")
	}
	switch tid := guid(read.TenantID); {
	case tid == "":
		return events.Proof{}, unproven("its tid is not a GUID")
	case read.Issuer != a.authority(tid)+"/v2.0":
		return events.Proof{}, unproven("its issuer is not the tenant that it names")
	case guid(read.ObjectID) == "":
		return events.Proof{}, unproven("it holds no oid")
	}
	return events.Proof{TenantID: strings.ToLower(read.TenantID), ObjectID: strings.ToLower(read.ObjectID)}, nil
}

// unverified is who an id_token names, whoever wrote it; the zero value when it names nobody. It proves nothing.
func (a App) unverified(ctx context.Context, idToken secret.Text) events.Proof {
	reader := oidc.NewVerifier("", nil, &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256},
		SkipClientIDCheck:    true, SkipIssuerCheck: true, SkipExpiryCheck: true, InsecureSkipSignatureCheck: true,
	})
	token, err := reader.Verify(ctx, idToken.Reveal())
	if err != nil {
		return events.Proof{}
	}
	who, f := a.proof(token)
	if f != nil {
		return events.Proof{}
	}
	return who
}

// received is the time at which an id_token must have been valid: when it came, not when Graph is back from an outage.
func (c *Client) received(t mailbox.Tokens) time.Time {
	if t.SavedAt.IsZero() {
		return c.now()
	}
	return t.SavedAt
}

// verdict words a verification error without its text, which quotes the token.
func verdict(err error) string {
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return "it has expired"
	}
	return "its signature, form or audience is wrong"
}

// watched is a key set that tells keys that could not be had from a wrong signature, which the verifier does not.
type watched struct {
	ring    *keyring
	trouble *fault.Fault
}

// VerifySignature verifies jwt with the watched set.
func (w *watched) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := w.ring.VerifySignature(ctx, jwt)
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		w.trouble = f
	}
	return payload, err
}

// keyring returns the keys of the app's authority.
func (c *Client) keyring(app App) *keyring {
	address := app.keysURL()
	c.mu.Lock()
	defer c.mu.Unlock()
	ring, ok := c.keys[address]
	if !ok {
		ring = &keyring{
			address: address, client: httpClient(bounded{c.transport}), timeout: c.timeout, now: c.now, observer: c.observer,
		}
		c.keys[address] = ring
	}
	return ring
}

func (a App) keysURL() string {
	if a.OpenID != nil {
		return a.OpenID.KeysURL
	}
	return a.authority("common") + "/discovery/v2.0/keys"
}

func unproven(why string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "identity_unproven", Forecast: fault.ByPerson,
		Cause:  "the id_token does not prove who consented: " + why,
		Remedy: "check client id and cloud of the app and this machine's clock, then send the owner a new link",
	}
}

func mismatch(cause, remedy string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: handlers.CodeMismatch, Forecast: fault.ByPerson, Cause: cause, Remedy: remedy,
	}
}

// personalTenant is the tid of all personal accounts.
const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// admitsPersonal reports whether the app is meant for personal accounts at all. A personal account can bear the address of
// a mailbox at work; its tokens do not open that.
func (a App) admitsPersonal() bool { return a.Tenant == "common" || a.Tenant == "consumers" }

func personal(address string) *fault.Fault {
	return mismatch("a personal account consented for "+mask(address)+", and the app is for accounts of organisations",
		"ask the owner to choose the account at work or school; if personal mailboxes are wanted, set the app's tenant to common or consumers")
}

// unverifiedTenant reads the tid of an id_token whose proof is done. It only chooses the tenant of a request.
func unverifiedTenant(idToken secret.Text) string {
	parts := strings.Split(idToken.Reveal(), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var read claims
	if json.Unmarshal(payload, &read) != nil {
		return ""
	}
	return guid(read.TenantID)
}
