package microsoft

import (
	"net/url"
	"slices"
	"strings"
)

// AsksEnough reports whether the app asks by name for all that Warmy needs. The configuration says what is missing.
func (a App) AsksEnough() bool {
	asked := a.scopes()
	return !slices.ContainsFunc(asked, isDefault) && len(a.missing(asked)) == 0
}

// SpellsOfflineAccess reports whether offline_access is configured with a resource, as Warmy's guide has it. Microsoft
// documents it without, and Kindling sends it so.
func (a App) SpellsOfflineAccess() bool {
	return slices.ContainsFunc(a.Scopes, func(scope string) bool {
		name := a.bare(scope)
		return name != scope && strings.EqualFold(name, "offline_access")
	})
}

// Shared reports whether owners of many tenants can consent where the app asks.
func (a App) Shared() bool { return isAlias(a.Tenant) }

// OwnCloud reports whether the app's login address is Microsoft's own in the app's cloud.
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
