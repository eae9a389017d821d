// Package microsoft speaks to the Microsoft identity platform and to Graph: it builds consent URLs, spends codes,
// renews tokens, and proves whose mailbox they open.
//
// It promises that a code is sent once per call, that no redirect is followed, that every call ends within its
// deadline, that an answer is read whole before anything interprets it, and that every error is a fault.Fault in
// our own words: answers of a token endpoint hold tokens, so no foreign text ever enters an error.
package microsoft

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"kindling/internal/secret"
)

// App is one Azure app registration.
type App struct {
	Name        string
	Cloud       string // public, usgov, usgov-dod or china
	Tenant      string // organizations, common, consumers, a GUID or a domain; a mailbox may name its own
	ClientID    string
	Secrets     []secret.Text // tried in this order while Microsoft answers invalid_client: two overlap during a rotation
	Certificate *Certificate  // proves the app at the token endpoint instead of the Secrets; nil: none
	RedirectURI string
	Scopes      []string
	LoginURL    string // from Cloud, unless the operator allows a custom authority
	GraphURL    string // as LoginURL

	// OpenID stands in for Microsoft, if it is not nil: Cloud, Tenant, LoginURL and GraphURL mean nothing then.
	OpenID *Provider
}

// Cloud returns the login and Graph addresses of a Microsoft cloud. The list is closed: an address that could be
// set from outside would receive client secrets.
func Cloud(name string) (login, graph string, err error) {
	switch name {
	case "public", "":
		return "https://login.microsoftonline.com", "https://graph.microsoft.com", nil
	case "usgov":
		return "https://login.microsoftonline.us", "https://graph.microsoft.us", nil
	case "usgov-dod":
		return "https://login.microsoftonline.us", "https://dod-graph.microsoft.us", nil
	case "china":
		return "https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn", nil
	}
	return "", "", fmt.Errorf("cloud %q is not one of public, usgov, usgov-dod, china", name)
}

// AuthorizeParams are what one attempt adds to an app's consent URL.
type AuthorizeParams struct {
	State        secret.Text
	Nonce        secret.Text
	Verifier     secret.Text // PKCE; only its S256 challenge enters the URL
	LoginHint    string      // the invited address
	Prompt       string      // one value or none: two are refused (AADSTS90023)
	ResponseMode string      // form_post or query; empty: Microsoft's default
	Tenant       string      // empty: the app's
}

// AuthorizeURL returns where the owner's browser goes to consent. It holds the state and the nonce: the caller
// must not log it.
func (a App) AuthorizeURL(p AuthorizeParams) string {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(p.Verifier.Reveal())}
	for _, option := range [][2]string{
		{"nonce", p.Nonce.Reveal()}, {"login_hint", p.LoginHint}, {"prompt", p.Prompt}, {"response_mode", a.responseMode(p.ResponseMode)},
	} {
		if option[1] != "" {
			options = append(options, oauth2.SetAuthURLParam(option[0], option[1]))
		}
	}
	return a.oauth(p.Tenant, a.RedirectURI, secret.Text{}).AuthCodeURL(p.State.Reveal(), options...)
}

// responseMode is the wanted one, unless a provider does not know it: then the answer comes as a query.
func (a App) responseMode(wanted string) string {
	if a.OpenID != nil && wanted == "form_post" && !a.OpenID.formPost {
		return ""
	}
	return wanted
}

// AdminConsentURL returns where a tenant's admin grants the app's permissions for everybody. The tenant is a GUID, a
// domain or empty for the app's; "common" is not allowed there and becomes "organizations". The answer carries
// no code, and its tenant parameter must never be used for authorization.
func (a App) AdminConsentURL(tenant, redirectURI string, state secret.Text) string {
	tenant = a.tenant(tenant)
	if tenant == "common" || tenant == "consumers" {
		tenant = "organizations"
	}
	query := url.Values{
		"client_id": {a.ClientID}, "redirect_uri": {redirectURI}, "state": {state.Reveal()},
		"scope": {strings.Join(slices.DeleteFunc(a.scopes(), isOIDC), " ")},
	}
	return a.authority(tenant) + "/v2.0/adminconsent?" + query.Encode()
}

// oauth returns the library's view of the app, at a tenant and with one of its secrets. The style is explicit,
// because the library otherwise probes: it would send a refused code a second time.
func (a App) oauth(tenant, redirectURI string, clientSecret secret.Text) *oauth2.Config {
	return &oauth2.Config{
		ClientID: a.ClientID, ClientSecret: clientSecret.Reveal(), RedirectURL: redirectURI, Scopes: a.scopes(), Endpoint: a.endpoint(tenant),
	}
}

func (a App) endpoint(tenant string) oauth2.Endpoint {
	if p := a.OpenID; p != nil {
		style := oauth2.AuthStyleInParams
		if p.basic {
			style = oauth2.AuthStyleInHeader
		}
		return oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, AuthStyle: style}
	}
	authority := a.authority(a.tenant(tenant))
	return oauth2.Endpoint{
		AuthURL: authority + "/oauth2/v2.0/authorize", TokenURL: authority + "/oauth2/v2.0/token", AuthStyle: oauth2.AuthStyleInParams,
	}
}

func (a App) tenant(own string) string {
	if own != "" {
		return own
	}
	return a.Tenant
}

func (a App) authority(tenant string) string {
	return strings.TrimRight(a.LoginURL, "/") + "/" + url.PathEscape(tenant)
}

// isTenant reports whether s may stand in an authority's path: an alias, a GUID or a domain.
func isTenant(s string) bool {
	if s == "" || len(s) > 253 || strings.Trim(s, ".") == "" {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}) < 0
}

// isAlias reports whether tenant stands for many directories.
func isAlias(tenant string) bool {
	return tenant == "organizations" || tenant == "common" || tenant == "consumers"
}
