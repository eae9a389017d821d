package config

import (
	"net/url"
	"slices"
	"strings"
)

// graph is how all spellings of Microsoft Graph are called here: a permission without a resource is Graph's.
const graph = "Microsoft Graph"

// otherResource stands for what is written in a form that is not fit to be shown.
const otherResource = "another resource"

// splitScope parts a scope into its resource and the permission's name in small letters. The scopes of OpenID Connect
// belong to no resource, whatever was written before them.
func splitScope(scope, graphURL string) (resource, name string) {
	i := strings.LastIndex(scope, "/")
	name = strings.ToLower(scope[i+1:])
	resource = strings.ToLower(strings.TrimRight(scope[:max(i, 0)], "/"))
	switch name {
	case "openid", "profile", "email", "offline_access":
		return "", name
	}
	switch resource {
	case "https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
		"https://microsoftgraph.chinacloudapi.cn", "00000003-0000-0000-c000-000000000000", strings.ToLower(graphURL):
		return graph, name
	}
	if u, err := url.Parse(resource); err == nil && u.Scheme == "https" && u.User == nil && baseURL("https://"+u.Host) == nil {
		return "https://" + u.Host, name
	}
	if i < 0 {
		return graph, name
	}
	return otherResource, name
}

// checkScopes refuses sets with which no usable grant can come.
func (l *loader) checkScopes(a *App, key string) {
	var names, permissions, resources []string
	for _, scope := range a.Scopes {
		resource, name := splitScope(scope, a.GraphURL)
		names = append(names, name)
		if resource == "" {
			continue
		}
		permissions = append(permissions, name)
		if !slices.Contains(resources, resource) {
			resources = append(resources, resource)
		}
	}
	const keep = "keep those of Microsoft Graph: User.Read Mail.Send Mail.ReadWrite, beside openid profile offline_access"
	switch {
	case !slices.Contains(names, "offline_access"):
		l.tell(key, "lacks offline_access, without which there is no refresh token", "add it")
	case !slices.Contains(names, "openid") || !slices.Contains(names, "profile"):
		l.tell(key, "lacks openid or profile, without which nobody knows who consented", "add both")
	case a.Issuer != "": // what else a scope means there is not ours to know
	case len(resources) > 1:
		l.tell(key, "asks for permissions of several resources ("+strings.Join(resources, ", ")+"), which Microsoft refuses in one request", keep)
	case len(resources) == 1 && resources[0] != graph:
		l.tell(key, "asks for permissions of "+resources[0]+", with which neither Warmy nor the proof of identity can work", keep)
	case slices.Contains(permissions, ".default") && len(permissions) > 1:
		l.tell(key, "mixes .default with named scopes, which Microsoft refuses", "name the scopes and leave .default out")
	}
}

// warnOfScopes warns of sets with which grants come, but incomplete ones.
func warnOfScopes(a App, key string, warn *problems) {
	var names []string
	for _, scope := range a.Scopes {
		_, name := splitScope(scope, a.GraphURL)
		names = append(names, name)
	}
	if slices.Contains(names, ".default") {
		warn.add(Problem{
			Key: key, Reason: "asks for .default: whoever consented to anything of this app before is not asked, and grants only what he granted then",
			Remedy: "name the permissions: User.Read Mail.Send Mail.ReadWrite",
		})
		return
	}
	reads := slices.Contains(names, "mail.read") || slices.Contains(names, "mail.readwrite")
	if !reads || !slices.Contains(names, "mail.send") || !slices.Contains(names, "user.read") {
		warn.add(Problem{
			Key: key, Reason: "lacks one of User.Read, Mail.Send and Mail.Read (or Mail.ReadWrite), without which no grant gets to Warmy", Remedy: "add what is missing",
		})
	}
}
