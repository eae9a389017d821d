package msid

import (
	"slices"
	"strings"
)

const graphPrefix = "https://graph.microsoft.com/"

// asked is a set of scopes, sorted out.
type asked struct {
	openid, profile, email bool
	offline, prefixed      bool
	all                    bool // .default
	graph                  []string
	foreign                []string
}

// scopesAsked sorts a list of scopes, or returns the AADSTS number of what is
// wrong with it.
func scopesAsked(scopes []string) (asked, int) {
	var a asked
	for _, scope := range scopes {
		a.add(scope)
	}
	if a.all && len(a.graph)+len(a.foreign) > 0 {
		return a, 70011
	}
	return a, 0
}

func (a *asked) add(scope string) {
	name, onGraph := cutPrefixFold(scope, graphPrefix)
	switch lower := strings.ToLower(name); {
	case lower == "openid":
		a.openid = true
	case lower == "profile":
		a.profile = true
	case lower == "email":
		a.email = true
	case lower == "offline_access":
		a.offline = a.offline || !onGraph
		a.prefixed = a.prefixed || onGraph
	case onGraph && lower == ".default":
		a.all = true
	case !onGraph && strings.Contains(scope, "://"):
		a.foreign = append(a.foreign, scope)
	case !slices.Contains(a.graph, name):
		a.graph = append(a.graph, name)
	}
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// granted returns the scopes as the token answer lists them.
func (s *Server) granted(a asked, app *App, user User) []string {
	list := append(slices.Clone(a.graph), a.foreign...)
	if a.all {
		if list = slices.Clone(app.DefaultScopes); list == nil {
			list = []string{"Mail.Read", "Mail.Send", "User.Read"}
		}
	}
	list = slices.DeleteFunc(list, func(scope string) bool {
		return slices.ContainsFunc(user.Withheld, func(w string) bool { return strings.EqualFold(w, scope) })
	})
	if s.switches.Load().PrefixScopes {
		for i, scope := range list {
			if !strings.Contains(scope, "://") {
				list[i] = graphPrefix + scope
			}
		}
	}
	for name, on := range map[string]bool{"openid": a.openid, "profile": a.profile, "email": a.email} {
		if on {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// offline reports whether a refresh token is due.
func (s *Server) offline(a asked) bool {
	return a.offline || a.prefixed && !s.switches.Load().NoPrefixedOffline
}

// holds reports whether the granted scopes contain one, in any spelling.
func holds(scopes []string, want string) bool {
	return slices.ContainsFunc(scopes, func(scope string) bool {
		name, _ := cutPrefixFold(scope, graphPrefix)
		return strings.EqualFold(name, want)
	})
}
