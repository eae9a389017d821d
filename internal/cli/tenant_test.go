package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

const tenantFile = "email\nada@contoso.example\nbob@contoso.example\ncy@fabrikam.example\neve@outlook.com\n"

func tenantTerminal(t *testing.T) *terminal {
	t.Helper()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "spring.csv", tenantFile), "--name", "Spring").want(t, 0)
	tm.w.AdminConsents.Put(mailbox.TenantKey("main", "fabrikam.example"), mailbox.AdminConsent{App: "main", Tenant: "fabrikam.example", GrantedAt: tm.w.Now()})
	tm.w.Eventually(t, "one admin has agreed", func() bool {
		return decode[console.TenantList](t, tm.run(t, "tenant", "list", "-o", "json").want(t, 0)).Open == 1
	})
	return tm
}

func TestTenantsAreListedForACampaignOrAnApp(t *testing.T) {
	t.Parallel()
	tm := tenantTerminal(t)
	table := tm.run(t, "tenant", "list", "--campaign", "Spring").want(t, 0)
	lines := strings.Split(table.out, "\n")
	if !strings.HasPrefix(lines[0], "APP") || !strings.Contains(lines[1], "contoso.example") || !strings.Contains(lines[1], "not_asked") || !strings.Contains(lines[2], "granted") {
		t.Errorf("table:\n%s", table.out)
	}
	if rows := tm.run(t, "tenants", "list", "-o", "jsonl").want(t, 0).out; strings.Count(rows, "\n") != 2 {
		t.Errorf("JSON lines:\n%s", rows)
	}
	if other := decode[console.TenantList](t, tm.run(t, "tenant", "list", "--app", "second", "-o", "json").want(t, 0)); len(other.Tenants) != 0 {
		t.Errorf("of another app: %+v", other)
	}
	tm.run(t, "tenant", "list", "--app", "mian").want(t, 64)
	tm.run(t, "tenant", "list", "--campaign", "none").want(t, 64)
	tm.run(t, "tenant", "list", "spring").want(t, 64)
}

func TestTheLinksOfAdminsAreHandedOut(t *testing.T) {
	t.Parallel()
	tm := tenantTerminal(t)
	link := decode[console.TenantLink](t, tm.run(t, "tenant", "link", "main", "Contoso.example", "-o", "json").want(t, 0))
	if !strings.HasPrefix(link.Link, "https://connect.example/admin-consent/") || link.Tenant != "contoso.example" || link.ExpiresAt.IsZero() {
		t.Errorf("%+v", link)
	}
	if r := tm.run(t, "tenant", "link", "main", "contoso").want(t, 64); r.out != "" || !strings.Contains(r.talk, "neither a domain nor a directory's id") {
		t.Errorf("out %q, talk %q", r.out, r.talk)
	}
	tm.run(t, "tenant", "link", "mian", "contoso.example").want(t, 64)
	tm.run(t, "tenant", "link", "main").want(t, 64)
	to := filepath.Join(tm.dir, "admins.csv")
	r := tm.run(t, "tenant", "links", "Spring", "--to", to).want(t, 0)
	data, err := os.ReadFile(to)
	if err != nil || strings.Count(string(data), "\n") != 2 || !strings.Contains(string(data), "contoso.example") || !strings.Contains(r.talk, "1 rows written") {
		t.Errorf("%v\n%s%s", err, data, r.talk)
	}
	tm.vars["KINDLING_TOKEN_FILE"] = tm.tokens[console.Viewer]
	tm.run(t, "tenant", "link", "main", "contoso.example").want(t, 77)
	tm.run(t, "tenant", "links", "Spring").want(t, 77)
	tm.run(t, "tenant", "list").want(t, 0)
}

func TestHandingOutACampaignsLinksTellsOfAdminsThatHaveNotAgreed(t *testing.T) {
	t.Parallel()
	tm := tenantTerminal(t)
	for _, verb := range []string{"links", "export"} {
		r := tm.run(t, "campaign", verb, "Spring").want(t, 0)
		if !strings.Contains(r.talk, "the admins of 1 of 2 tenants have not agreed") || strings.Contains(r.out, "agreed") {
			t.Errorf("%s: %q\n%s", verb, r.talk, r.out)
		}
	}
	tm.w.AdminConsents.Put(mailbox.TenantKey("main", "contoso.example"), mailbox.AdminConsent{App: "main", Tenant: "contoso.example", GrantedAt: tm.w.Now()})
	tm.w.Eventually(t, "both admins have agreed", func() bool {
		return !strings.Contains(tm.run(t, "campaign", "links", "Spring").want(t, 0).talk, "agreed")
	})
}
