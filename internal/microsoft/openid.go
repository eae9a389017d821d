package microsoft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/uuid"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Provider is an OpenID provider that stands in for Microsoft, as its discovery document describes it (OpenID Connect
// Discovery 1.0 § 3). It has one directory, whatever tenant an app or a mailbox names, and no admin consent.
type Provider struct {
	Issuer      string
	AuthURL     string
	TokenURL    string
	KeysURL     string
	UserInfoURL string

	basic    bool // the client secret goes into a header: the token endpoint takes none in the body (RFC 6749 § 2.3.1)
	formPost bool // answers can come as a form
}

// discovery is what is read of a discovery document beside the endpoints that the library reads.
type discovery struct {
	Keys          string   `json:"jwks_uri"`
	UserInfo      string   `json:"userinfo_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	ResponseModes []string `json:"response_modes_supported"`
}

// Discover asks issuer for its discovery document. A nil transport is Transport(). The error says in our words what is wrong.
func Discover(ctx context.Context, transport http.RoundTripper, issuer string) (*Provider, error) {
	if transport == nil {
		own := Transport()
		defer own.CloseIdleConnections()
		transport = own
	}
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, httpClient(bounded{transport})), issuer)
	if _, silent := errors.AsType[*url.Error](err); silent {
		return nil, errors.New("nobody answers at the issuer's discovery address")
	}
	if err != nil { // its text quotes the answer
		return nil, errors.New("what answers at the issuer's discovery address is not the discovery document of this issuer")
	}
	var d discovery
	if err := found.Claims(&d); err != nil {
		return nil, errors.New("the discovery document cannot be read")
	}
	endpoint := found.Endpoint()
	p := &Provider{
		Issuer: issuer, AuthURL: endpoint.AuthURL, TokenURL: endpoint.TokenURL, KeysURL: d.Keys, UserInfoURL: d.UserInfo,
		basic:    !slices.Contains(d.Methods, "client_secret_post") && !slices.Contains(d.Methods, "private_key_jwt"),
		formPost: slices.Contains(d.ResponseModes, "form_post"),
	}
	return p, p.check()
}

// check wants every endpoint, and none of them less safe than the issuer: secrets and tokens go there.
func (p *Provider) check() error {
	for _, e := range [][2]string{
		{"authorization_endpoint", p.AuthURL}, {"token_endpoint", p.TokenURL}, {"jwks_uri", p.KeysURL}, {"userinfo_endpoint", p.UserInfoURL},
	} {
		u, err := url.Parse(e[1])
		switch {
		case e[1] == "" || err != nil || u.Host == "":
			return fmt.Errorf("the discovery document names no %s", e[0])
		case u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(p.Issuer, "https://")):
			return fmt.Errorf("the discovery document's %s is not https", e[0])
		}
	}
	return nil
}

// LoginOrigin is the scheme and host at which the app's owners sign in.
func (a App) LoginOrigin() string {
	if a.OpenID == nil {
		return a.LoginURL
	}
	u, err := url.Parse(a.OpenID.AuthURL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// directory and object give a provider's accounts the GUIDs that Microsoft's have: name-based ones (RFC 9562 § 5.5) of the
// issuer, and of the subject in it. An issuer never gives a subject to somebody else (OpenID Connect Core 1.0 § 8).
func (p *Provider) directory() string { return p.guid().String() }

func (p *Provider) object(subject string) string {
	return uuid.NewSHA1(p.guid(), []byte(subject)).String()
}

func (p *Provider) guid() uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(p.Issuer)) }

// proof is who an id_token of the provider names. Whether its signature, audience and life hold is the caller's to verify.
func (p *Provider) proof(token *oidc.IDToken) (events.Proof, *fault.Fault) {
	switch {
	case token.Issuer != p.Issuer:
		return events.Proof{}, unproven("its issuer is not the configured one")
	case token.Subject == "":
		return events.Proof{}, unproven("it names no subject")
	}
	return events.Proof{TenantID: p.directory(), ObjectID: p.object(token.Subject)}, nil
}

// parseUserInfo reads the provider's word on the account (OpenID Connect Core 1.0 § 5.3.2). Only an address that the provider
// vouches for is one: others are typed in by whoever has the account.
func (p *Provider) parseUserInfo(body []byte) (profile, *fault.Fault) {
	var info struct {
		Subject  string          `json:"sub"`
		Email    string          `json:"email"`
		Verified json.RawMessage `json:"email_verified"`
	}
	if err := json.Unmarshal(trimBOM(body), &info); err != nil || info.Subject == "" {
		return profile{}, unreadable("userinfo")
	}
	if verified := string(info.Verified); info.Email == "" || verified != "true" && verified != `"true"` {
		return profile{}, mismatch("the provider vouches for no e-mail address of the account that consented",
			"let the provider send email and email_verified for the scope email, then send the owner a new link")
	}
	return profile{ID: p.object(info.Subject), Mail: info.Email}, nil
}

// ungranted names what the app asked a provider for, beside OpenID's own scopes, and granted lacks.
func (a App) ungranted(granted []string) []string {
	return slices.DeleteFunc(a.scopes(), func(scope string) bool { return isOIDC(scope) || slices.Contains(granted, scope) })
}

// patience is how long a process that starts waits for a provider, and between what it asks again.
const (
	patience = 30 * time.Second
	again    = 2 * time.Second
)

// Await is Discover with patience: a provider that starts beside Kindling may take a moment.
func Await(ctx context.Context, issuer string) (*Provider, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		p, err := Discover(ctx, nil, issuer)
		if err == nil {
			return p, nil
		}
		if last == nil || ctx.Err() == nil { // what our own end cut off says less than what was heard before
			last = err
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, last
		case <-timer.C:
		}
	}
}
