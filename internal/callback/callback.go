// Package callback is the public edge: the pages on which a mailbox's owner consents, and the OAuth callback.
//
// It promises an owner that opening a link does nothing, that an answer of Microsoft counts only in the browser that
// pressed the button, and that "thank you" is shown only when the consent is stored durably. It promises the rest of
// Kindling that every accepted answer is one claim (by compare-and-set) and at least one event under one id, and that
// whatever is refused has changed nothing. A code is readable here from the request to its seal, and nowhere else.
//
// Whatever a browser or Microsoft sends is never shown again and never logged: texts and reasons come from closed tables.
package callback

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// The ways in which Microsoft may send its answer.
const (
	FormPost = "form_post" // keeps the code out of URLs, histories and proxies' logs; needs https
	Query    = "query"
)

// AttemptLife is the default time that an owner has between the button and the answer.
const AttemptLife = 15 * time.Minute

// storeTime bounds everything that one request asks of the stores. The edge rather says "try again" than let an
// owner wait, and the server's write deadline is 15 s.
const storeTime = 5 * time.Second

// AuthorizeParams are what one attempt adds to an app's consent URL.
type AuthorizeParams struct {
	State        secret.Text
	Nonce        secret.Text
	Verifier     secret.Text // PKCE; only its S256 challenge may enter the URL
	LoginHint    string      // the invited address
	Prompt       string
	ResponseMode string
	Tenant       string // empty: the app's
}

// App is an Azure app registration as its owners' pages need it.
type App struct {
	AuthorizeURL func(AuthorizeParams) string // where consent is asked for
	// AdminConsentURL is where a tenant's admin is asked to consent for everybody; the answer comes to RedirectURI. Nil: a
	// provider that stands in for Microsoft knows no such thing.
	AdminConsentURL func(tenant string, state secret.Text) string
	Tenant          string   // used when the invitation names none
	RedirectURI     string   // registered at Microsoft; the route of this app's callback
	LoginOrigin     string   // such as https://login.microsoftonline.com: forms may lead there
	Issuer          string   // the one that answers may name (RFC 9207); empty: Microsoft's, of any tenant at LoginOrigin
	Scopes          []string // shown in words
	Name            string   // as Microsoft shows it; empty: not shown
	Operator        string   // the organisation that asks
	Contact         string   // whom owners may ask: an address or a telephone number; empty: not shown
}

// Publisher publishes events. It returns nil only when the event is stored durably.
type Publisher interface {
	Publish(ctx context.Context, e events.Event) error
}

// Codes seals consents to token-worker. The edge cannot open what it sealed.
type Codes interface {
	Seal(plain []byte, context string) ([]byte, error)
}

// Cookies seals what browsers keep for the edge.
type Cookies interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Config is all that the edge depends on. Fields without a remark must be set.
type Config struct {
	PublicURL    string         // scheme and host under which browsers see the edge; http on loopback only
	Apps         map[string]App // by name
	Prompt       string         // what Microsoft asks first; empty: select_account, so that a signed-in operator does not consent as himself
	ResponseMode string         // FormPost or Query; empty: FormPost on https, Query on loopback
	AttemptLife  time.Duration  // 0: AttemptLife

	Invitations   handlers.Reader[mailbox.Invitation]
	Claims        handlers.Records[mailbox.Claim]
	Grants        handlers.Reader[mailbox.Grant] // tokens may be left out: the edge cannot open them, and does not ask
	Registrations handlers.Reader[mailbox.Registration]
	AdminConsents handlers.Records[mailbox.AdminConsent] // under mailbox.TenantKey
	Publisher     Publisher
	Webhooks      map[string]secret.Text // by Warmy account, what is secret in the address of its webhooks; none: no such route answers
	Hints         HintPublisher          // with Webhooks
	Codes         Codes
	Cookies       Cookies

	ParseLink      func(token string) (mailbox.ID, bool)            // tells the mailbox of a well-formed link
	ParseAdminLink func(token string) (mailbox.AdminLink, bool)     // opens a genuine link for a tenant's admin
	Refusal        func(errorCode, description string) *fault.Fault // classifies an error answer; must quote neither
	Observe        func(ctx context.Context, route, outcome string) // counts answers by closed sets; nil: not counted
	Log            *slog.Logger                                     // nil: nothing is logged
	Now            func() time.Time                                 // nil: time.Now
	Rand           io.Reader                                        // nil: crypto/rand

	PerSecond      float64        // requests with effect per client network, sustained; 0: 20
	Burst          int            // and at once; 0: 200, since a whole office may share one address
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
}

// edge is the assembled handler.
type edge struct {
	Config
	base    *url.URL
	secure  bool // browsers reach us by https
	pages   pages
	limiter *limiter
}

// New assembles the edge's handler. Every problem of the configuration is in the error.
func New(cfg Config) (http.Handler, error) {
	e := &edge{Config: withDefaults(cfg)}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	p, err := loadPages()
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	e.pages = p
	e.limiter = newLimiter(e.PerSecond, e.Burst, e.Now)
	return e.routes(), nil
}

func withDefaults(cfg Config) Config {
	cfg.AttemptLife = orDefault(cfg.AttemptLife, AttemptLife)
	cfg.Prompt = orDefault(cfg.Prompt, "select_account")
	cfg.PerSecond = orDefault(cfg.PerSecond, 20)
	cfg.Burst = orDefault(cfg.Burst, 200)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Observe == nil {
		cfg.Observe = func(context.Context, string, string) {}
	}
	return cfg
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// check completes what follows from PublicURL, and reports everything that is missing at once.
func (e *edge) check() error {
	return errors.Join(e.checkURL(), e.checkParts(), e.checkApps())
}

func (e *edge) checkURL() error {
	base, err := url.Parse(e.PublicURL)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || (base.Path != "" && base.Path != "/") {
		return errors.New("public URL: must be a scheme and a host, such as https://connect.example.com")
	}
	e.base, e.secure = base, base.Scheme == "https"
	if !e.secure && (base.Scheme != "http" || !isLoopback(base.Hostname())) {
		return errors.New("public URL: must be https, unless the host is a loopback address")
	}
	if e.ResponseMode == "" {
		e.ResponseMode = Query
		if e.secure {
			e.ResponseMode = FormPost
		}
	}
	switch {
	case e.ResponseMode != FormPost && e.ResponseMode != Query:
		return errors.New("response mode: must be form_post or query")
	case e.ResponseMode == FormPost && !e.secure:
		return errors.New("response mode: form_post needs an https public URL, because its cookie must be Secure")
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (e *edge) checkParts() error {
	var problems []error
	for name, missing := range map[string]bool{
		"invitations": e.Invitations == nil, "claims": e.Claims == nil, "grants": e.Grants == nil,
		"registrations": e.Registrations == nil, "publisher": e.Publisher == nil, "codes": e.Codes == nil,
		"cookies": e.Cookies == nil, "parse link": e.ParseLink == nil, "parse admin link": e.ParseAdminLink == nil, "admin consents": e.AdminConsents == nil, "refusal": e.Refusal == nil,
	} {
		if missing {
			problems = append(problems, fmt.Errorf("%s: missing", name))
		}
	}
	if problem := e.checkWebhooks(); problem != "" {
		problems = append(problems, errors.New(problem))
	}
	if e.AttemptLife < time.Minute || e.AttemptLife > AttemptLife {
		problems = append(problems, fmt.Errorf("attempt life: must be between a minute and %s", AttemptLife))
	}
	return errors.Join(problems...)
}

func (e *edge) checkApps() error {
	var problems []error
	for name, app := range e.Apps {
		switch origin, err := url.Parse(app.LoginOrigin); {
		case !events.IsToken(name):
			problems = append(problems, fmt.Errorf("app %q: not a name", name))
		case app.AuthorizeURL == nil || app.AdminConsentURL == nil && app.Issuer == "" || app.RedirectURI == "" || app.Tenant == "":
			problems = append(problems, fmt.Errorf("app %s: authorize URL, admin consent URL, redirect URI or tenant is missing", name))
		case err != nil || origin.Host == "" || origin.Scheme+"://"+origin.Host != app.LoginOrigin:
			problems = append(problems, fmt.Errorf("app %s: login origin must be a scheme and a host", name))
		}
	}
	return errors.Join(problems...)
}
