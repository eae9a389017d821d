package microsoft

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Advice is something in an app's settings that Microsoft may accept and that an operator should know before a
// thousand owners are asked.
type Advice struct{ What, Remedy string }

// ScopeAdvice looks at what the app asks for. It asks nobody.
func (a App) ScopeAdvice() []Advice {
	var all []Advice
	asked := a.scopes()
	for _, scope := range a.Scopes {
		name := a.bare(scope)
		switch {
		case name != scope && strings.EqualFold(name, "offline_access"):
			all = append(all, Advice{
				"offline_access is spelled with a resource; Microsoft documents it without, and Kindling sends it so", "write offline_access alone",
			})
		case strings.Contains(name, "/"):
			all = append(all, Advice{
				fmt.Sprintf("%.80q belongs to another resource than Graph; Microsoft refuses two resources in one request", scope),
				"name permissions of Graph only, for example Mail.Send; Warmy's guide needs no others",
			})
		}
	}
	if slices.ContainsFunc(asked, isDefault) {
		return append(all, Advice{
			".default: an owner who consented to anything of this app before sees no question, and grants only what was granted then",
			"name the scopes: openid profile email offline_access User.Read Mail.Send Mail.ReadWrite",
		})
	}
	if absent := a.missing(asked); len(absent) > 0 {
		all = append(all, Advice{
			"what Warmy needs is not asked for: " + strings.Join(absent, ", ") + "; every grant would end as a dead letter (incomplete_grant)",
			"add the permission to scopes and, in the Azure portal, to API permissions",
		})
	}
	return all
}

// Shared tells whether owners of many tenants can consent where the app asks.
func (a App) Shared() bool { return isAlias(a.Tenant) }

// OwnCloud tells whether the app's login address is Microsoft's own in the app's cloud.
func (a App) OwnCloud() bool {
	login, _, err := Cloud(a.Cloud)
	return err == nil && login == strings.TrimRight(a.LoginURL, "/")
}

// LoginHost is the host at which owners sign in.
func (a App) LoginHost() string {
	login, err := url.Parse(a.LoginURL)
	if err != nil {
		return ""
	}
	return login.Host
}
