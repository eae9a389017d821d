package msid

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"kindling/internal/sim/trouble"
)

// tokenBody is a successful answer of the token endpoint.
type tokenBody struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	ExtExpiresIn int    `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

// exchange is one call to the token endpoint.
type exchange struct {
	op        string
	base      string
	form      url.Values
	authority authority
	app       *App
	code      *code
	refresh   token
	refreshID string
	rule      trouble.Rule
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		refusal(9002313).reply(s.now()).Write(w)
		return
	}
	x := s.exchange(r)
	x.rule = s.troubles.Next(x.op, x.address())
	if x.rule.Kind == trouble.Delay {
		trouble.Wait(r.Context(), time.Duration(x.rule.Delay))
	}
	if x.rule.Wire() && !x.rule.Commit {
		s.note(x, string(x.rule.Kind), false)
		x.rule.Play(w, r, trouble.Reply{})
		return
	}
	reply, outcome := s.answer(x)
	s.note(x, outcome, !x.rule.Lost())
	x.rule.Play(w, r, reply)
}

// exchange finds out whose code or token was sent, before any check.
func (s *Server) exchange(r *http.Request) exchange {
	x := exchange{op: OpCode, base: s.base(r), form: r.PostForm}
	x.authority, _ = s.authority(r.PathValue("tenant"))
	if id, secret, ok := r.BasicAuth(); ok {
		x.form.Set("client_id", unescape(id))
		x.form.Set("client_secret", unescape(secret))
	}
	x.app = s.apps[x.form.Get("client_id")]
	if x.form.Get("grant_type") == "refresh_token" {
		x.op = OpRefresh
		if id, ok := s.identify(refreshPrefix, refreshLength, x.form.Get("refresh_token")); ok {
			x.refreshID = id
			x.refresh, _ = s.book.token(s.book.refresh, id)
		}
		return x
	}
	if id, ok := s.identify(codePrefix, codeLength, x.form.Get("code")); ok {
		x.code = s.book.code(id)
	}
	return x
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func (x exchange) address() string {
	switch {
	case x.code != nil:
		return x.code.Address
	case x.refresh.grant != nil:
		return x.refresh.grant.user.Address
	}
	return ""
}

// note writes the call into the ledger.
func (s *Server) note(x exchange, outcome string, delivered bool) {
	send := Send{At: s.now(), Outcome: outcome, Delivered: delivered}
	if x.op == OpRefresh {
		s.book.refreshSent(x.refresh.grant, send)
		return
	}
	s.book.codeSent(x.code, send)
}

// answer does what was asked, and returns the reply and its name in the ledger.
func (s *Server) answer(x exchange) (trouble.Reply, string) {
	if x.rule.Kind == KindAADSTS && !x.rule.Commit {
		return s.refuse(x.rule.Code)
	}
	number := s.clientError(x)
	if number != 0 {
		if x.code != nil && s.switches.Load().FailedAuthSpendsCode {
			s.book.spend(x.code)
		}
		return s.refuse(number)
	}
	var g *grant
	if x.op == OpRefresh {
		g, number = s.renew(x)
	} else {
		g, number = s.redeem(x)
	}
	if number != 0 {
		return s.refuse(number)
	}
	if x.rule.Kind == KindAADSTS {
		return s.refuse(x.rule.Code)
	}
	return trouble.JSON(http.StatusOK, s.issue(x, g)), outcomeTokens
}

func (s *Server) refuse(number int) (trouble.Reply, string) {
	row := refusal(number)
	return row.reply(s.now()), row.outcome()
}

// clientError checks who is calling and whether the request is whole. It comes
// before any look at the code (RFC 6749 § 4.1.3 names this order; Microsoft
// does not document its own).
func (s *Server) clientError(x exchange) int {
	switch {
	case x.authority.path == "":
		return 90002
	case x.form.Get("grant_type") == "" || x.form.Get("client_id") == "":
		return 900144
	case x.app == nil:
		return 700016
	case x.authority.serves(x.app) != 0:
		return x.authority.serves(x.app)
	}
	if number := s.proofError(x); number != 0 {
		return number
	}
	if _, number := scopesAsked(strings.Fields(x.form.Get("scope"))); number != 0 {
		return number
	}
	return s.grantTypeError(x)
}

func (s *Server) grantTypeError(x exchange) int {
	switch x.form.Get("grant_type") {
	case "authorization_code":
		if x.form.Get("code") == "" || x.form.Get("redirect_uri") == "" {
			return 900144
		}
	case "refresh_token":
		if x.form.Get("refresh_token") == "" {
			return 900144
		}
	default:
		return 70003
	}
	return 0
}

// redeem trades a code for a grant.
func (s *Server) redeem(x exchange) (*grant, int) {
	c := x.code
	if c == nil {
		return nil, 9002313
	}
	switch redirect := x.form.Get("redirect_uri"); {
	case c.request.app != x.app:
		return nil, 70000
	case c.request.authority.path != x.authority.path:
		return nil, 700005
	case !slices.Contains(x.app.RedirectURIs, redirect):
		return nil, 50011
	case redirect != c.request.redirect:
		return nil, 500112
	}
	if number := c.request.verify(x.form.Get("code_verifier")); number != 0 {
		return nil, number
	}
	g := &grant{
		id: c.id, app: x.app, user: c.user, tenant: x.authority, nonce: c.request.nonce, scopes: c.request.scopes,
	}
	return g, s.book.redeem(c, g, s.now(), s.switches.Load().RevokeOnReplay)
}

// verify checks the PKCE verifier (RFC 7636 § 4.6).
func (req request) verify(verifier string) int {
	if req.challenge == "" {
		return 0
	}
	got := verifier
	if req.method == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		got = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	switch {
	case len(verifier) < 43 || len(verifier) > 128:
		return 501491
	case got != req.challenge:
		return 501481
	}
	return 0
}

// renew checks a refresh token.
func (s *Server) renew(x exchange) (*grant, int) {
	g := x.refresh.grant
	switch {
	case g == nil:
		return nil, 9002313
	case g.app != x.app:
		return nil, 70000
	case g.tenant.tid != "" && x.authority.tid != "" && g.tenant.tid != x.authority.tid:
		return nil, 7000012
	case x.refresh.spent:
		return nil, 70000
	case s.now().After(x.refresh.expires):
		return nil, 700082
	}
	if number := s.book.ended(g); number != 0 {
		return nil, number
	}
	for scope := range strings.FieldsSeq(x.form.Get("scope")) {
		name, _ := cutPrefixFold(scope, graphPrefix)
		if name != ".default" && !holds(g.scopes, name) && !holds(g.scopes, ".default") {
			return nil, 65001
		}
	}
	return g, 0
}

// issue mints the tokens of a grant.
func (s *Server) issue(x exchange, g *grant) tokenBody {
	a, _ := scopesAsked(g.scopes)
	scopes := s.granted(a, g.app, g.user)
	life, now := s.accessLife(g.user.Address), s.now()
	access, id := s.mint(accessPrefix, accessLength)
	s.book.keepAccess(id, &token{grant: g, expires: now.Add(life)})
	body := tokenBody{
		TokenType: "Bearer", Scope: strings.Join(scopes, " "), AccessToken: access,
		ExpiresIn: int(life / time.Second), ExtExpiresIn: int(life / time.Second),
	}
	if s.offline(a) {
		body.RefreshToken = s.refreshToken(x, g, now)
	}
	if a.openid {
		body.IDToken = s.keys.idToken(x, g, a, now)
	}
	return body
}

// refreshLife is how long an unused refresh token lives.
const refreshLife = 90 * 24 * time.Hour

// refreshToken returns the next refresh token, or "" when the old one stays.
func (s *Server) refreshToken(x exchange, g *grant, now time.Time) string {
	mode := s.switches.Load().Refresh
	if x.op == OpRefresh && mode == "same" {
		return ""
	}
	text, id := s.mint(refreshPrefix, refreshLength)
	s.book.keepRefresh(id, &token{grant: g, expires: now.Add(refreshLife)})
	if x.op == OpRefresh && mode == "single_use" {
		s.book.spendRefresh(x.refreshID) // after the next one is there: a process killed between must not lose both
	}
	return text
}

// accessLife is Microsoft's 60 to 90 minutes, chosen by the address.
func (s *Server) accessLife(address string) time.Duration {
	if life := time.Duration(s.switches.Load().AccessLife); life > 0 {
		return life
	}
	return time.Hour + time.Duration(trouble.Share(s.cfg.Seed, address)*float64(30*time.Minute)).Truncate(time.Second)
}
