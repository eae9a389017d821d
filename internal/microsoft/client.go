package microsoft

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// Config is what a Client is made of.
type Config struct {
	Apps      []App
	Transport http.RoundTripper // nil: Transport()
	Timeout   time.Duration     // of a whole call; 0: 15 s
	Now       func() time.Time  // nil: time.Now
	Observer  Observer          // nil: nobody counts
}

// Client redeems, refreshes and proves for a set of apps. It is safe for concurrent use.
type Client struct {
	apps      map[string]*registration
	transport http.RoundTripper
	timeout   time.Duration
	now       func() time.Time
	observer  Observer

	mu   sync.Mutex
	keys map[string]*keyring // by authority
}

var _ handlers.TokenEndpoint = (*Client)(nil)

// registration is an app, and what it proves itself with now; the App's own credentials are those of the beginning.
type registration struct {
	App

	held    atomic.Pointer[credentials]
	granted atomic.Int64 // when tokens were given at the app's own address last, in Unix nanoseconds
}

// provenFor is how long tokens for one mailbox prove that an app is fine, so that what Microsoft says against the app
// afterwards is about the tenant of another mailbox. Short: when the app itself breaks, what fails meanwhile is buried.
const provenFor = time.Minute

// proven reports whether Microsoft gave tokens to the app a moment ago, at its own address.
func (r *registration) proven(now time.Time) bool {
	at := r.granted.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < provenFor
}

// New returns a Client for the apps in c.
func New(c Config) *Client {
	client := &Client{
		apps: make(map[string]*registration, len(c.Apps)), transport: c.Transport, timeout: c.Timeout, now: c.Now,
		observer: c.Observer, keys: make(map[string]*keyring),
	}
	for _, app := range c.Apps {
		reg := &registration{App: app}
		reg.held.Store(newCredentials(Credentials{Secrets: app.Secrets, Certificate: app.Certificate}))
		client.apps[app.Name] = reg
	}
	if client.transport == nil {
		client.transport = Transport()
	}
	if client.timeout <= 0 {
		client.timeout = callDeadline
	}
	if client.now == nil {
		client.now = time.Now
	}
	if client.observer == nil {
		client.observer = silent{}
	}
	return client
}

// Credentials returns the client id of an app and the client secret that Warmy should use: the one that Microsoft
// accepted last, or the first.
func (c *Client) Credentials(app string) (clientID string, clientSecret secret.Text, err error) {
	reg, err := c.app(app)
	if err != nil {
		return "", secret.Text{}, err
	}
	held := reg.held.Load()
	if len(held.Secrets) == 0 {
		return reg.ClientID, secret.Text{}, nil
	}
	return reg.ClientID, held.Secrets[held.accepted.Load()], nil
}

func (c *Client) app(name string) (*registration, error) {
	if reg, ok := c.apps[name]; ok {
		return reg, nil
	}
	return nil, &fault.Fault{
		Class: fault.LegDown, Code: "app_unknown", Forecast: fault.ByConfig,
		Cause:  "no app of this name is configured here",
		Remedy: "add the app to the configuration of this process",
	}
}

// Redeem exchanges a code for tokens, at the tenant and redirect URI that the code was issued for
// (RFC 6749 § 4.1.3). The code is sent once; once more only if Microsoft refuses the client secret and the app has
// another one.
func (c *Client) Redeem(ctx context.Context, app string, consent mailbox.Consent) (mailbox.Tokens, error) {
	reg, err := c.app(app)
	if err != nil {
		return mailbox.Tokens{}, err
	}
	redirect := consent.RedirectURI
	if redirect == "" {
		redirect = reg.RedirectURI
	}
	from := origin{lane: codeLane, ownTenant: consent.Tenant != "" && consent.Tenant != reg.Tenant}
	tenant := reg.tenant(consent.Tenant)
	tokens, err := c.exchange(ctx, reg, tenant, from, func(ctx context.Context, clientSecret secret.Text) error {
		_, err := reg.oauth(tenant, redirect, clientSecret).
			Exchange(ctx, consent.Code.Reveal(), oauth2.VerifierOption(consent.Verifier.Reveal()))
		return err // never shown: it can hold the answer
	})
	if err != nil {
		return mailbox.Tokens{}, err
	}
	if reg.OpenID != nil && len(tokens.Scope) == 0 {
		tokens.Scope = reg.scopes() // it may be left out when it is what was asked for (RFC 6749 § 5.1)
	}
	if f := reg.incomplete(tokens); f != nil {
		return mailbox.Tokens{}, f
	}
	tokens.Nonce, tokens.Whose = consent.Nonce, reg.unverified(ctx, tokens.IDToken)
	return tokens, nil
}

// Refresh renews tokens (RFC 6749 § 6). What the answer leaves out is left zero. Microsoft does not revoke a refresh
// token that was used, so a lost answer costs nothing.
func (c *Client) Refresh(ctx context.Context, app string, t mailbox.Tokens) (mailbox.Tokens, error) {
	reg, err := c.app(app)
	if err != nil {
		return mailbox.Tokens{}, err
	}
	tenant := reg.refreshTenant(t)
	from := origin{lane: refreshLane, ownTenant: tenant != reg.Tenant}
	tokens, err := c.exchange(ctx, reg, tenant, from, func(ctx context.Context, clientSecret secret.Text) error {
		_, err := reg.oauth(tenant, "", clientSecret).
			TokenSource(ctx, &oauth2.Token{RefreshToken: t.Refresh.Reveal()}).Token()
		return err // never shown: it can hold the answer
	})
	if err != nil {
		return mailbox.Tokens{}, err
	}
	if absent := reg.missing(tokens.Scope); len(tokens.Scope) > 0 && len(absent) > 0 {
		return mailbox.Tokens{}, reg.lacking(absent)
	}
	return tokens, nil
}

// refreshTenant is where the grant is renewed: at the app's shared address or, for an app of one tenant, in the
// tenant that the grant's id_token names. A mailbox may have come from another tenant than the app's.
func (a App) refreshTenant(t mailbox.Tokens) string {
	if isAlias(a.Tenant) {
		return a.Tenant
	}
	return a.tenant(unverifiedTenant(t.IDToken))
}

// exchange runs one call of the token endpoint, and again with the app's next secret only after invalid_client.
func (c *Client) exchange(
	ctx context.Context, reg *registration, tenant string, from origin, call func(context.Context, secret.Text) error,
) (mailbox.Tokens, error) {
	if !isTenant(tenant) {
		return mailbox.Tokens{}, badTenant()
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	held := reg.held.Load()
	tokens, refused, f := c.offer(ctx, reg, held, from, call)
	for now := reg.held.Load(); refused && now != held; now = reg.held.Load() { // replaced while the call was under way
		held = now
		tokens, refused, f = c.offer(ctx, reg, held, from, call)
	}
	if f != nil {
		return mailbox.Tokens{}, f
	}
	return tokens, nil
}

// offer runs one call with each of the credentials until Microsoft takes one. refused tells that it took none.
func (c *Client) offer(
	ctx context.Context, reg *registration, held *credentials, from origin, call func(context.Context, secret.Text) error,
) (tokens mailbox.Tokens, refused bool, f *fault.Fault) {
	for _, position := range held.order() {
		got, began := &answer{}, time.Now()
		err := call(context.WithValue(ctx, oauth2.HTTPClient, httpClient(c.path(reg, held, got))), held.at(position))
		from.accepted = reg.proven(c.now())
		tokens, f = c.judge(ctx, got, err, from)
		c.observe(from.call(), got, f, time.Since(began))
		if ctx.Err() == nil || !errors.Is(ctx.Err(), context.Canceled) { // our own stop says nothing about Microsoft
			leg.Asked(ctx, f != nil && f.Outage)
		}
		if f == nil {
			held.accept(position)
			if !from.ownTenant {
				reg.granted.Store(c.now().UnixNano())
			}
			return tokens, false, nil
		}
		if !clientRefused(got) {
			return mailbox.Tokens{}, false, f
		}
	}
	return mailbox.Tokens{}, true, f
}

// path is what a request goes through: its answer is recorded in got.
func (c *Client) path(reg *registration, held *credentials, got *answer) http.RoundTripper {
	end := recorder{base: c.transport, got: got}
	if held.Certificate == nil {
		return end
	}
	return asserting{base: end, certificate: held.Certificate, clientID: reg.ClientID, now: c.now}
}

// clientRefused reports whether other credentials may do better.
func clientRefused(a *answer) bool {
	if !a.failed() || a.status >= http.StatusInternalServerError {
		return false
	}
	r := parseRefusal(a.body)
	known, _, ok := r.known()
	return r.name == "invalid_client" && (known.proof || !ok)
}

// judge decides from the recorded answer alone; the library's own reading of it loses tokens to odd fields.
func (c *Client) judge(ctx context.Context, got *answer, libErr error, from origin) (mailbox.Tokens, *fault.Fault) {
	if got.status == 0 && got.err == nil {
		return mailbox.Tokens{}, &fault.Fault{
			Class: fault.Transient, Code: "microsoft_not_asked", Forecast: fault.ByConfig, Err: fmt.Errorf("no request was made: %T", libErr),
			Cause: "no request could be made of the app's settings", Remedy: "check cloud and tenant of the app",
		}
	}
	if got.failed() {
		return mailbox.Tokens{}, judged(refused(got, from, c.now()))
	}
	if f := got.broken(ctx, "microsoft"); f != nil {
		return mailbox.Tokens{}, judged(f)
	}
	return parseGrant(got, from, c.now())
}

func badTenant() *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "tenant_invalid", Forecast: fault.ByConfig,
		Cause: "the tenant is neither a GUID nor a domain nor a shared address", Remedy: "correct the tenant and import the row again",
	}
}
