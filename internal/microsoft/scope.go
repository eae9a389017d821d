package microsoft

import (
	"slices"
	"strings"
)

// need is a permission that Warmy's work rests on, and what else includes it.
type need struct {
	name      string
	satisfied []string // lower case, without resource
}

// needs lists what a grant must hold before it may be handed to Warmy: sending, reading, and the proof of identity
// (the API permissions of Warmy's guide).
func needs() []need {
	return []need{
		{"Mail.Send", []string{"mail.send"}},
		{"Mail.Read", []string{"mail.read", "mail.readwrite"}},
		{"User.Read", []string{"user.read", "user.readwrite", "user.read.all", "user.readwrite.all"}},
	}
}

// graphHosts are the resources under which Graph's permissions may be spelled.
func graphHosts() []string {
	return []string{
		"https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
		"https://microsoftgraph.chinacloudapi.cn", "00000003-0000-0000-c000-000000000000",
	}
}

// bare takes Graph's resource off a scope. A scope of another resource stays as it is: it is another permission.
func (a App) bare(scope string) string {
	for _, host := range append(graphHosts(), strings.TrimRight(a.GraphURL, "/")) {
		if n := len(host); n > 0 && len(scope) > n && scope[n] == '/' && strings.EqualFold(scope[:n], host) {
			return strings.TrimLeft(scope[n:], "/")
		}
	}
	return scope
}

// isOIDC reports whether a scope is one of OpenID Connect's, whatever resource was written before it: they belong to none, and
// Microsoft refuses them under another than Graph (AADSTS65005).
func isOIDC(scope string) bool {
	scope = scope[strings.LastIndex(scope, "/")+1:]
	switch strings.ToLower(scope) {
	case "openid", "profile", "email", "offline_access":
		return true
	}
	return false
}

// scopes returns what the app asks for, as Microsoft documents the spelling: OIDC scopes bare, each scope once,
// offline_access always (without it there is no refresh token), profile with openid (without it there is no oid).
// Named permissions beside .default are an error at Microsoft, so .default drops them.
func (a App) scopes() []string {
	var oidcScopes, resource []string
	add := func(list *[]string, scope string) {
		if !slices.ContainsFunc(*list, func(s string) bool { return strings.EqualFold(s, scope) }) {
			*list = append(*list, scope)
		}
	}
	for _, scope := range a.Scopes {
		switch name := a.bare(strings.TrimSpace(scope)); {
		case name == "":
		case isOIDC(name):
			add(&oidcScopes, strings.ToLower(name[strings.LastIndex(name, "/")+1:]))
		default:
			add(&resource, a.spelled(strings.TrimSpace(scope), name))
		}
	}
	if slices.Contains(oidcScopes, "openid") {
		add(&oidcScopes, "profile")
	}
	if a.OpenID != nil {
		add(&oidcScopes, "email") // without it there is no address to prove
	}
	add(&oidcScopes, "offline_access")
	if slices.ContainsFunc(resource, isDefault) {
		resource = slices.DeleteFunc(resource, func(s string) bool { return !isDefault(s) })
	}
	return append(oidcScopes, resource...)
}

// spelled names the resource where the bare name would mean the Graph of another cloud.
func (a App) spelled(scope, name string) string {
	national := a.OpenID == nil && a.Cloud != "" && a.Cloud != "public"
	if national && scope == name && !strings.Contains(scope, "://") {
		return strings.TrimRight(a.GraphURL, "/") + "/" + scope
	}
	return scope
}

func isDefault(scope string) bool {
	return scope == ".default" || strings.HasSuffix(strings.ToLower(scope), "/.default")
}

// asksIdentity reports whether the app asks for an id_token.
func (a App) asksIdentity() bool { return slices.Contains(a.scopes(), "openid") }

// missing names what Warmy needs and granted lacks.
func (a App) missing(granted []string) []string {
	if a.OpenID != nil {
		return a.ungranted(granted)
	}
	var absent []string
	for _, n := range needs() {
		held := slices.ContainsFunc(granted, func(scope string) bool {
			return slices.Contains(n.satisfied, strings.ToLower(a.bare(scope)))
		})
		if !held {
			absent = append(absent, n.name)
		}
	}
	return absent
}
