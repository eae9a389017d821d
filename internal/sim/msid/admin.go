package msid

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kindling/internal/sim/trouble"
)

// adminNeeded reports whether the owners of a tenant may not consent by themselves.
func (s *Switches) adminNeeded(tid string) bool {
	return s.AdminConsentNeeded || slices.ContainsFunc(s.AdminConsentTenants, func(tenant string) bool {
		a, ok := parseAuthority(tenant)
		return ok && a.tid == tid
	})
}

// adminValues are the parameters of a refusal of admin consent. Microsoft says admin_consent=True there as well: it names
// the question.
func (s *Server) adminValues(req request, number int, tid string) url.Values {
	values := s.backValues(req, number)
	values.Set("admin_consent", "True")
	values.Set("tenant", tid)
	return values
}

func (s *Server) adminPage(w http.ResponseWriter, r *http.Request) {
	if number := s.adminError(r); number != 0 {
		s.showError(w, number)
		return
	}
	s.show(w, http.StatusOK, "admin", consentView{
		Action: r.URL.RequestURI(), ClientID: r.URL.Query().Get("client_id"), Scopes: strings.Fields(r.URL.Query().Get("scope")),
	})
}

func (s *Server) adminError(r *http.Request) int {
	q := r.URL.Query()
	app, redirect := s.apps[q.Get("client_id")], q.Get("redirect_uri")
	a, ok := parseAuthority(r.PathValue("tenant"))
	switch {
	case !ok || a.path == "common" || a.path == "consumers":
		return 90002
	case app == nil:
		return 700016
	case !slices.Contains(app.RedirectURIs, redirect):
		return 50011
	}
	return 0
}

// adminForm consents for a whole tenant: that of the authority, or else of the
// administrator's address.
func (s *Server) adminForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if number := s.adminError(r); number != 0 {
		s.showError(w, number)
		return
	}
	q := r.URL.Query()
	a, _ := parseAuthority(r.PathValue("tenant"))
	req := request{redirect: q.Get("redirect_uri"), state: q.Get("state"), mode: "query"}
	user, ok := s.people.find(r.PostFormValue("address"))
	if !ok && a.tid == "" {
		s.showError(w, 50034)
		return
	}
	tid := or(a.tid, user.TenantID)
	rule := s.troubles.Next(OpAdmin, user.Address)
	switch {
	case rule.Wire():
		s.book.total(OpAdmin, string(rule.Kind))
		rule.Play(w, r, trouble.Reply{})
		return
	case rule.Kind == KindAADSTS:
		s.sendBack(w, r, req, s.adminValues(req, rule.Code, tid))
		return
	case r.PostFormValue("action") == "decline":
		s.sendBack(w, r, req, s.adminValues(req, 65004, tid))
		return
	}
	s.book.adminConsent(tid)
	s.sendBack(w, r, req, url.Values{"admin_consent": {"True"}, "tenant": {tid}, "scope": {q.Get("scope")}, "state": {req.state}})
}
