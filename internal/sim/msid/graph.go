package msid

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/sim/trouble"
)

// me answers Graph's GET /v1.0/me.
func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g, status := s.bearer(bearer)
	address := ""
	if g != nil {
		address = g.user.Address
	}
	rule := s.troubles.Next(OpMe, address)
	if rule.Kind == trouble.Delay {
		trouble.Wait(r.Context(), time.Duration(rule.Delay))
	}
	reply := graphError(status)
	if status == http.StatusOK {
		reply = trouble.JSON(status, profile(s.base(r), g.user, r.URL.Query().Get("$select")))
	}
	outcome := http.StatusText(status)
	if rule.Wire() {
		outcome = string(rule.Kind)
	}
	s.book.meCalled(address, outcome)
	rule.Play(w, r, reply)
}

// bearer finds the grant of an access token and the status of the call.
func (s *Server) bearer(text string) (*grant, int) {
	id, ok := s.identify(accessPrefix, accessLength, text)
	if !ok {
		return nil, http.StatusUnauthorized
	}
	t, ok := s.book.token(s.book.access, id)
	switch {
	case !ok:
		return nil, http.StatusUnauthorized
	case s.now().After(t.expires) || s.book.ended(t.grant) != 0:
		return t.grant, http.StatusUnauthorized
	}
	a, _ := scopesAsked(t.grant.scopes)
	if !holds(s.granted(a, t.grant.app, t.grant.user), "User.Read") {
		return t.grant, http.StatusForbidden
	}
	return t.grant, http.StatusOK
}

// Owner returns the address that an access token was issued to, and whether it
// is alive: what Warmy finds out when it tries a mailbox.
func (s *Server) Owner(accessToken string) (address string, alive bool) {
	g, status := s.bearer(accessToken)
	if g == nil {
		return "", false
	}
	return strings.ToLower(g.user.Address), status != http.StatusUnauthorized
}

func graphError(status int) trouble.Reply {
	name, text := "InvalidAuthenticationToken", "Access token is empty, invalid or has expired."
	if status == http.StatusForbidden {
		name, text = "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
	}
	reply := trouble.JSON(status, map[string]any{"error": map[string]any{
		"code": name, "message": text,
		"innerError": map[string]string{"request-id": guid(name), "client-request-id": guid(text)},
	}})
	if status == http.StatusUnauthorized {
		reply.Header.Set("WWW-Authenticate", `Bearer realm="", error="invalid_token"`)
	}
	return reply
}

// profile is the user resource, limited to the selected properties.
func profile(base string, u User, selected string) map[string]any {
	all := map[string]any{
		"id": u.ObjectID, "userPrincipalName": u.PrincipalName, "displayName": u.Name, "mail": nil,
		"businessPhones": []string{}, "givenName": nil, "surname": nil, "jobTitle": nil,
	}
	if !u.NoMail {
		all["mail"] = u.Mail
	}
	if selected == "" {
		return all
	}
	proxies := []string{}
	if !u.NoMail {
		proxies = append(proxies, "SMTP:"+u.Mail)
	}
	for _, alias := range u.Aliases {
		proxies = append(proxies, "smtp:"+alias)
	}
	all["proxyAddresses"] = proxies
	names := strings.Split(selected, ",")
	out := map[string]any{"@odata.context": base + "/v1.0/$metadata#users(" + selected + ")/$entity"}
	for name, value := range all {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) }) {
			out[name] = value
		}
	}
	return out
}
