package mailbox_test

import (
	"strings"
	"testing"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

const directory = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"

func TestTheTenantOfAMailboxIsTheRowsThenTheAppsThenTheDomains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ row, app, address, want string }{
		{directory, "organizations", "a@contoso.example", directory},
		{strings.ToUpper(directory), "organizations", "a@contoso.example", directory},
		{"Fabrikam.example", directory, "a@contoso.example", "fabrikam.example"},
		{"", directory, "a@contoso.example", directory},
		{"", directory, "a@outlook.com", directory}, // a guest in the app's own directory
		{"", "contoso.onmicrosoft.com", "a@contoso.example", "contoso.onmicrosoft.com"},
		{"", "organizations", "A@Contoso.Example", "contoso.example"},
		{"", "common", "a@contoso.example", "contoso.example"},
		{"", "", "a@contoso.example", "contoso.example"},
		{"organizations", directory, "a@contoso.example", "contoso.example"}, // the row is what the sign-in uses
		{"common", directory, "a@contoso.example", "contoso.example"},
		{"consumers", directory, "a@contoso.example", ""},
		{"", "consumers", "a@contoso.example", ""},
		{"", "organizations", "a@xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"", "organizations", "a@live.contoso.example", "live.contoso.example"},
		{"", "organizations", "a@outlook.contoso.com", "outlook.contoso.com"},
		{"", "organizations", "a@notoutlook.com", "notoutlook.com"},
		{"", "organizations", "no address", ""},
		{"", "organizations", "a@localhost", ""},
		{"", "organizations", "a@", ""},
		{"", "organizations", "", ""},
	} {
		if got := mailbox.TenantOf(c.row, c.app, c.address); got != c.want {
			t.Errorf("row %q, app %q, address %q: %q, want %q", c.row, c.app, c.address, got, c.want)
		}
	}
	for _, domain := range []string{
		"outlook.com", "OUTLOOK.de", "outlook.com.br", "outlook.co.id", "hotmail.com", "hotmail.co.uk", "hotmail.fr", "live.com", "live.nl",
		"live.com.mx", "msn.com", "passport.com", "windowslive.com",
	} {
		if got := mailbox.TenantOf("", "organizations", "a@"+domain); got != "" {
			t.Errorf("%s: a personal account has the tenant %q", domain, got)
		}
	}
}

func TestOnlyADomainOrAGUIDNamesATenant(t *testing.T) {
	t.Parallel()
	for _, name := range []string{directory, "contoso.example", "a-b.c1.example", strings.Repeat("a", 63) + ".example"} {
		if !mailbox.NamesTenant(name) {
			t.Errorf("%q names none", name)
		}
	}
	for _, name := range []string{
		"", "organizations", "common", "consumers", "contoso", "Contoso.example", "contoso..example", ".example", "example.", "-a.example",
		"a-.example", "a_b.example", "a b.example", "a/b.example", "../x.example", "a.example/oauth2", "a.example?x", "a.example#", "a.example\n", "é.example",
		directory[:35], directory + "0", strings.Repeat("a", 64) + ".example", strings.Repeat("abcd.", 51) + "e", "%2e%2e.example", "a@b.example",
	} {
		if mailbox.NamesTenant(name) {
			t.Errorf("%q names a tenant", name)
		}
	}
}

func TestTheKeyOfATenantIsMadeOfTokensWhateverItsName(t *testing.T) {
	t.Parallel()
	key := mailbox.TenantKey("main", "contoso.example")
	app, hash, _ := strings.Cut(key, ".")
	if app != "main" || !events.IsToken(hash) || strings.Contains(key, "contoso") {
		t.Errorf("key %q", key)
	}
	if key != mailbox.TenantKey("main", "Contoso.EXAMPLE") {
		t.Error("the key depends on letter case")
	}
	for _, other := range []string{mailbox.TenantKey("other", "contoso.example"), mailbox.TenantKey("main", "fabrikam.example")} {
		if other == key {
			t.Errorf("two tenants have the key %q", key)
		}
	}
}
