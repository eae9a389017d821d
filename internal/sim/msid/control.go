package msid

import (
	"encoding/json"
	"strings"

	"kindling/internal/sim/trouble"
)

// The operations that a rule can be limited to.
const (
	OpAuthorize = "authorize"
	OpConsent   = "consent"
	OpAdmin     = "admin_consent"
	OpCode      = "code"
	OpRefresh   = "refresh"
	OpMe        = "me"
	OpKeys      = "keys"
	OpMetadata  = "metadata"
)

func ops() []string {
	return []string{OpAuthorize, OpConsent, OpAdmin, OpCode, OpRefresh, OpMe, OpKeys, OpMetadata}
}

// The kinds of trouble that only Microsoft makes.
const (
	// KindAADSTS refuses with the AADSTS number in Code; with Commit, the code
	// is consumed all the same.
	KindAADSTS trouble.Kind = "aadsts"
	// KindClaims changes the id_token's claims, as Set and Drop say.
	KindClaims trouble.Kind = "claims"
	// KindSignature spoils the id_token's signature; Value is a flaw.
	KindSignature trouble.Kind = "signature"
)

// The flaws of KindSignature.
const (
	FlawBroken     = "broken"
	FlawNone       = "none"
	FlawHS256      = "hs256"
	FlawUnknownKey = "unknown_kid"
)

func kinds() []trouble.Kind { return []trouble.Kind{KindAADSTS, KindClaims, KindSignature} }

// MissingRefreshToken is an answer to a code without a refresh token.
func MissingRefreshToken() trouble.Rule {
	return trouble.Rule{Kind: trouble.Bend, Op: OpCode, Drop: []string{"refresh_token"}}
}

// GrantedScope is an answer to a code that grants other scopes than asked for.
func GrantedScope(scope string) trouble.Rule {
	return field("scope", scope)
}

// ExpiresIn is an answer to a code with this JSON value as its expires_in.
func ExpiresIn(raw string) trouble.Rule {
	return trouble.Rule{Kind: trouble.Bend, Op: OpCode, Set: map[string]json.RawMessage{"expires_in": json.RawMessage(raw)}}
}

func field(name, value string) trouble.Rule {
	raw, _ := json.Marshal(value) //nolint:errchkjson // a string always marshals
	return trouble.Rule{Kind: trouble.Bend, Op: OpCode, Set: map[string]json.RawMessage{name: raw}}
}

// Claim is an id_token that says something else in one claim.
func Claim(name, value string) trouble.Rule {
	rule := field(name, value)
	rule.Kind = KindClaims
	return rule
}

// Refusal is a call refused with an AADSTS number.
func Refusal(op string, number int) trouble.Rule {
	return trouble.Rule{Kind: KindAADSTS, Op: op, Code: number}
}

// Apply changes what is in force; on an error nothing after the faulty part is
// changed.
func (s *Server) Apply(c trouble.Control) error { return trouble.Apply(s.troubles, &s.switches, c) }

// Turn replaces all switches.
func (s *Server) Turn(next Switches) { s.switches.Store(&next) }

// Switches returns the settings in force.
func (s *Server) Switches() Switches { return *s.switches.Load() }

// Fault appends rules.
func (s *Server) Fault(rules ...trouble.Rule) error { return s.troubles.Add(rules...) }

// ClearFaults removes all rules.
func (s *Server) ClearFaults() { _ = s.troubles.Set(nil) }

// EndGrants ends all grants of an address; its refreshes then get this AADSTS
// number (50173 revoked, 700082 expired), its access tokens a 401. It returns
// how many grants there were.
func (s *Server) EndGrants(address string, number int) int { return s.book.end(address, number) }

// NewCode issues codes without a visit to the sign-in page.
type NewCode struct {
	ClientID    string `json:"client_id"`
	Tenant      string `json:"tenant"`
	RedirectURI string `json:"redirect_uri"`
	Scope       string `json:"scope"`
	Nonce       string `json:"nonce"`
	// Challenge is a PKCE challenge by S256; empty means none.
	Challenge string `json:"code_challenge"`
	// Expired issues a code whose life is over.
	Expired bool `json:"expired"`
	// Addresses are the owners, one code each.
	Addresses []string `json:"addresses"`
}

// IssueCodes returns one code for each address, as if each owner had accepted;
// an address that cannot exist gets "".
func (s *Server) IssueCodes(n NewCode) []string {
	app := s.apps[n.ClientID]
	a, ok := parseAuthority(or(n.Tenant, "organizations"))
	out := make([]string, len(n.Addresses))
	if app == nil || !ok {
		return out
	}
	req := request{
		app: app, authority: a, redirect: n.RedirectURI, nonce: n.Nonce, challenge: n.Challenge,
		method: "S256", scopes: strings.Fields(n.Scope),
	}
	for i, address := range n.Addresses {
		if user, ok := s.people.find(address); ok {
			user, _ = a.admit(user, false)
			out[i] = s.newCode(req, user, n.Expired)
		}
	}
	return out
}
