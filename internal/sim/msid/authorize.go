package msid

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"kindling/internal/sim/trouble"
)

// request is an authorization request that passed all checks.
type request struct {
	app       *App
	authority authority
	redirect  string
	state     string
	nonce     string
	challenge string
	method    string
	mode      string
	hint      string
	scopes    []string
}

// parse checks the query. page is the AADSTS number of an error that stays on
// Microsoft's own page, because the redirect URI cannot be trusted; back is one
// that is sent to the redirect URI.
func (s *Server) parse(r *http.Request) (req request, page, back int) {
	q := r.URL.Query()
	var ok bool
	if req.authority, ok = s.authority(r.PathValue("tenant")); !ok {
		return req, 90002, 0
	}
	if req.app = s.apps[q.Get("client_id")]; req.app == nil {
		return req, 700016, 0
	}
	if number := req.authority.serves(req.app); number != 0 {
		return req, number, 0
	}
	req.redirect = q.Get("redirect_uri")
	switch {
	case req.redirect == "":
		return req, 900971, 0
	case !slices.Contains(req.app.RedirectURIs, req.redirect):
		return req, 50011, 0
	}
	req.state, req.nonce, req.hint = q.Get("state"), q.Get("nonce"), q.Get("login_hint")
	req.challenge, req.method = q.Get("code_challenge"), q.Get("code_challenge_method")
	req.mode, req.scopes = or(q.Get("response_mode"), "query"), strings.Fields(q.Get("scope"))
	return req, 0, s.backError(req, q)
}

// backError returns the first error that goes back to the redirect URI.
func (s *Server) backError(req request, q url.Values) int {
	required := s.switches.Load().RequirePKCE
	prompts := []string{"", "login", "none", "consent", "select_account"}
	switch {
	case q.Get("response_type") == "" || len(req.scopes) == 0:
		return 900144
	case q.Get("response_type") != "code":
		return 70005
	case req.mode != "query" && req.mode != "form_post", !slices.Contains(prompts, q.Get("prompt")):
		return 90023
	case req.challenge == "" && required, req.challenge != "" && (len(req.challenge) < 43 || len(req.challenge) > 128):
		return 50147
	case req.challenge != "" && req.method != "" && req.method != "plain" && req.method != "S256":
		return 90023
	case q.Get("prompt") == "none":
		return 50058
	}
	_, number := scopesAsked(req.scopes)
	return number
}

// serves reports whether the app may be used at this authority.
func (a authority) serves(app *App) int {
	switch {
	case app.Disabled:
		return 7000112
	case app.Tenant == "":
		return 0
	}
	own, _ := parseAuthority(app.Tenant)
	switch a.tid {
	case own.tid:
		return 0
	case "":
		return 50194
	default:
		return 700016
	}
}

func (s *Server) authorizePage(w http.ResponseWriter, r *http.Request) {
	req, page, back := s.parse(r)
	rule := s.troubles.Next(OpAuthorize, req.hint)
	switch {
	case rule.Wire():
		s.book.total(OpAuthorize, string(rule.Kind))
		rule.Play(w, r, trouble.Reply{})
	case page != 0:
		s.showError(w, page)
	case back != 0:
		s.sendBack(w, r, req, s.backValues(req, back))
	default:
		s.book.total(OpAuthorize, "page")
		s.show(w, http.StatusOK, "consent", consentView{
			Action: r.URL.RequestURI(), Address: req.hint, ClientID: req.app.ClientID, Scopes: req.scopes,
		})
	}
}

func (s *Server) authorizeForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	action, address := r.PostFormValue("action"), strings.TrimSpace(r.PostFormValue("address"))
	req, page, back := s.parse(r)
	rule := s.troubles.Next(OpConsent, address)
	switch {
	case rule.Wire():
		s.book.total(OpConsent, string(rule.Kind))
		rule.Play(w, r, trouble.Reply{})
	case page != 0:
		s.showError(w, page)
	case back != 0:
		s.sendBack(w, r, req, s.backValues(req, back))
	case rule.Kind == KindAADSTS:
		s.sendBack(w, r, req, s.backValues(req, rule.Code))
	case action == "decline":
		s.book.declined(address)
		s.sendBack(w, r, req, s.backValues(req, 65004))
	default:
		s.accept(w, r, req, address, action == "accept_late")
	}
}

// accept lets the account in and sends a code back; a late one has expired
// before it arrives.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, req request, address string, late bool) {
	sw := s.switches.Load()
	user, ok := s.people.find(address)
	if !ok {
		s.showError(w, 50034)
		return
	}
	user, number := req.authority.admit(user, sw.StrictTenants)
	if number != 0 {
		s.showError(w, number)
		return
	}
	if number = user.ConsentError; number == 0 && sw.adminNeeded(user.TenantID) && !s.book.consented(user.TenantID) {
		number = 90094
	}
	if number != 0 {
		s.sendBack(w, r, req, s.backValues(req, number))
		return
	}
	values := url.Values{"code": {s.newCode(req, user, late)}, "session_state": {guid(req.state + address)}}
	if req.state != "" {
		values.Set("state", req.state)
	}
	s.sendBack(w, r, req, values)
}

// newCode issues a code and notes it.
func (s *Server) newCode(req request, user User, late bool) string {
	life, now := time.Duration(s.switches.Load().CodeLife), s.now()
	if life == 0 {
		life = 10 * time.Minute
	}
	if late {
		now = now.Add(-life - time.Second)
	}
	text, id := s.mint(codePrefix, codeLength)
	s.book.issued(&code{
		id: id,
		Code: Code{
			Hash: hash(text), Address: strings.ToLower(user.Address), ClientID: req.app.ClientID,
			Tenant: req.authority.path, Issued: now, Expires: now.Add(life),
		},
		request: req, user: user,
	})
	return text
}

// backValues are the parameters of an error redirect.
func (s *Server) backValues(req request, number int) url.Values {
	row := refusal(number)
	word := row.Error
	if number == 65004 {
		word = or(s.switches.Load().DeclineError, word)
	}
	s.book.total(OpAuthorize, row.outcome())
	stamp := s.now().UTC().Format("2006-01-02 15:04:05Z")
	values := url.Values{"error": {word}, "error_uri": {row.uri()}, "error_description": {fmt.Sprintf(
		"%s Trace ID: %s Correlation ID: %s Timestamp: %s", row.describe(), guid(stamp+req.state), guid(req.state), stamp)}}
	if req.state != "" {
		values.Set("state", req.state)
	}
	return values
}

// sendBack delivers values to the redirect URI by a redirect or by a page that
// posts itself.
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, req request, values url.Values) {
	if req.mode == "form_post" {
		s.show(w, http.StatusOK, "continue", continueView{Action: req.redirect, Values: values})
		return
	}
	separator := "?"
	if strings.Contains(req.redirect, "?") {
		separator = "&"
	}
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", req.redirect+separator+values.Encode()+"#")
	w.WriteHeader(status)
}
