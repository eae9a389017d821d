// Package msid simulates Microsoft's identity platform v2.0 (sign-in, consent,
// token endpoint, keys) and the one Graph call the product makes, so that
// everything that talks to Microsoft can be tried without an account there.
//
// It promises three things: what a client sends is checked as strictly as
// Microsoft documents it; whatever Microsoft leaves open, or does on a bad day,
// is a switch or a rule; and every code, token and call is kept in a ledger
// that a test can ask afterwards. Nothing it holds is a real secret.
package msid

import (
	"crypto/rand"
	"crypto/x509"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kindling/internal/sim/journal"
	"kindling/internal/sim/trouble"
)

// Config says what exists at the simulated Microsoft.
type Config struct {
	// Apps are the registered applications.
	Apps []App
	// AbsentTenants are GUIDs or domains that no tenant has (AADSTS90002); any
	// other one exists.
	AbsentTenants []string
	// Users overrides single accounts; any other address exists as a plain
	// work account of the tenant of its domain.
	Users []User
	// BaseURL is the outside address; empty means the one of each request.
	BaseURL string
	// SigningAlg is RS256 (default) or ES256, which costs far less per token.
	SigningAlg string
	// Switches are the first settings; Apply changes them later.
	Switches Switches
	// Rules are the first troubles.
	Rules []trouble.Rule
	// Latency and Jitter delay every answer.
	Latency, Jitter time.Duration
	// Seed makes the draws of rules and users repeatable.
	Seed uint64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Journal is the file that remembers keys, codes, grants and tokens, so
	// that a server opened with it again goes on with them; empty means memory
	// only. The private signing keys stand in it in the clear.
	Journal string
}

// App is an application registration.
type App struct {
	ClientID string
	// Secrets are all valid at once, as during a rotation.
	Secrets []string
	// ExpiredSecrets are recognised and answered with AADSTS7000222.
	ExpiredSecrets []string
	// Certificates verify client assertions (RFC 7523), which may stand in for
	// a secret. SetProofs replaces all three.
	Certificates []*x509.Certificate
	// RedirectURIs are compared character by character.
	RedirectURIs []string
	// Tenant limits the app to one tenant (GUID or domain); empty: any.
	Tenant string
	// Disabled answers everything with AADSTS7000112.
	Disabled bool
	// DefaultScopes is what `.default` grants; empty means Mail.Read,
	// Mail.Send and User.Read.
	DefaultScopes []string
}

// Switches are the points on which Microsoft is silent, or may change its mind.
// The zero value is the documented, or else the likelier, behaviour.
type Switches struct {
	// CodeLife is how long a code can be redeemed; 0 means 10 minutes.
	CodeLife trouble.Duration `json:"code_life"`
	// AccessLife is the life of access tokens; 0 means 60 to 90 minutes.
	AccessLife trouble.Duration `json:"access_life"`
	// RevokeOnReplay ends the grant when its code is sent again (RFC 6749 § 4.1.2).
	RevokeOnReplay bool `json:"revoke_on_replay"`
	// Refresh tells what a refresh does to its token: "keep" (default) returns
	// a new one and lets the old live, "single_use" ends the old one,
	// "same" returns none.
	Refresh string `json:"refresh"`
	// FailedAuthSpendsCode makes a wrong client secret consume the code.
	FailedAuthSpendsCode bool `json:"failed_auth_spends_code"`
	// RequirePKCE refuses an authorization without a challenge.
	RequirePKCE bool `json:"require_pkce"`
	// NoPrefixedOffline ignores offline_access written with Graph's prefix.
	NoPrefixedOffline bool `json:"no_prefixed_offline"`
	// PrefixScopes answers scopes as https://graph.microsoft.com/Mail.Send.
	PrefixScopes bool `json:"prefix_scopes"`
	// StrictTenants keeps accounts out of tenants other than their domain's.
	StrictTenants bool `json:"strict_tenants"`
	// DeclineError is the error of a declined consent; empty: access_denied.
	DeclineError string `json:"decline_error"`
	// AdminConsentNeeded sends every owner back with AADSTS90094 until an
	// administrator of the tenant consented.
	AdminConsentNeeded bool `json:"admin_consent_needed"`
	// AdminConsentTenants does that in these tenants alone (GUIDs or domains).
	AdminConsentTenants []string `json:"admin_consent_tenants"`
}

// Server is the simulated Microsoft; it is an http.Handler, safe for
// concurrent use.
type Server struct {
	cfg      Config
	apps     map[string]*App
	troubles *trouble.Book
	switches atomic.Pointer[Switches]
	keys     *keyring
	people   *directory
	book     *ledger
	pages    *template.Template
	mux      *http.ServeMux
	guarded  http.Handler
	mintKey  []byte

	proofsMu sync.RWMutex
	proofs   map[string]Proofs // by client id
}

// New is Open for a configuration that cannot be wrong, and panics if it is:
// for a server without a journal, which need not be closed.
func New(cfg Config) *Server {
	s, err := Open(cfg)
	if err != nil {
		panic("msid: " + err.Error())
	}
	return s
}

// Open returns a server for the configuration. It is an error when a rule or
// the signing algorithm is unknown, and when the journal cannot be read.
func Open(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	keys, err := newKeyring(cfg.SigningAlg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, apps: map[string]*App{}, proofs: map[string]Proofs{},
		troubles: trouble.NewBook(cfg.Seed, kinds(), ops()),
		keys:     keys, people: newDirectory(cfg.Users),
		book: newLedger(), pages: pages(), mux: http.NewServeMux(),
		mintKey: []byte(rand.Text()),
	}
	for _, app := range cfg.Apps {
		s.apps[app.ClientID] = &app
		s.proofs[app.ClientID] = Proofs{app.Secrets, app.ExpiredSecrets, app.Certificates}
	}
	s.switches.Store(&cfg.Switches)
	s.troubles.Pace(cfg.Latency, cfg.Jitter)
	if err := s.troubles.Set(cfg.Rules); err != nil {
		return nil, err
	}
	s.routes()
	return s, s.remember(cfg.Journal)
}

// remember reads the journal and goes on with it.
func (s *Server) remember(path string) error {
	memory, err := journal.Open(path, s.apply, s.remains)
	s.keys.journal, s.book.journal, s.guarded = memory, memory, memory.Guard(s.mux)
	return err
}

// Close releases the journal; the server must not be used afterwards. It
// returns the error that stopped the journal, if any.
func (s *Server) Close() error { return s.book.journal.Close() }

func (s *Server) routes() {
	s.mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.lagged(s.authorizePage))
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/authorize", s.lagged(s.authorizeForm))
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.lagged(s.token))
	s.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.lagged(s.metadata))
	s.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.lagged(s.keySet))
	s.mux.HandleFunc("GET /{tenant}/v2.0/adminconsent", s.lagged(s.adminPage))
	s.mux.HandleFunc("POST /{tenant}/v2.0/adminconsent", s.lagged(s.adminForm))
	s.mux.HandleFunc("GET /v1.0/me", s.lagged(s.me))
	s.mux.HandleFunc("GET /_sim/ledger", s.serveLedger)
	s.mux.HandleFunc("GET /_sim/faults", trouble.Serve(s.troubles, &s.switches))
	s.mux.HandleFunc("POST /_sim/faults", trouble.Serve(s.troubles, &s.switches))
	s.mux.HandleFunc("POST /_sim/codes", s.serveCodes)
	s.mux.HandleFunc("POST /_sim/end", s.serveEnd)
	s.mux.HandleFunc("POST /_sim/keys", s.serveRotate)
	s.mux.HandleFunc(trouble.TrapPath, s.trap)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.guarded.ServeHTTP(w, r) }

func (s *Server) lagged(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.troubles.Lag(r.Context())
		next(w, r)
	}
}

func (s *Server) trap(w http.ResponseWriter, _ *http.Request) {
	s.book.total("trap", "followed")
	trouble.Text(http.StatusTeapot, "a redirect was followed that must not be").Write(w)
}

func (s *Server) base(r *http.Request) string {
	if s.cfg.BaseURL != "" {
		return strings.TrimSuffix(s.cfg.BaseURL, "/")
	}
	return "http://" + r.Host
}

func (s *Server) now() time.Time { return s.cfg.Now() }
