package console_test

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/mailbox"
)

const tenantRows = "email,tenant\nada@contoso.example,\nbob@contoso.example,\ncy@fabrikam.example,\ndan@tailspin.example,\neve@outlook.com,\nfay@other.example,tailspin.example\n"

// askedTenants is a campaign of three tenants: contoso's admin is needed, fabrikam's declined, an owner of tailspin is
// connected.
func askedTenants(t *testing.T) (*consoletest.World, string) {
	t.Helper()
	w := consoletest.New(t)
	campaign := importCSV(t, w, "Spring", tenantRows).Campaign
	w.Claims.Put(w.Links.Mailbox("main", "ada@contoso.example"), mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "x", AnsweredAt: w.Now(), Refusal: mailbox.AdminRequired}}})
	w.AdminConsents.Put(mailbox.TenantKey("main", "fabrikam.example"), mailbox.AdminConsent{App: "main", Tenant: "fabrikam.example", RefusedAt: w.Now(), Reason: mailbox.Declined})
	w.Grants.Put(w.Links.Mailbox("main", "fay@other.example"), mailbox.Grant{
		Phase: mailbox.GrantSaved, Attempt: "y", Since: w.Now(), Tokens: &mailbox.Tokens{Attempt: "y", SavedAt: w.Now()},
	})
	w.Eventually(t, "the console knows of the tenants", func() bool {
		list := tenantsOf(t, w, "/api/v1/campaigns/"+campaign+"/tenants")
		return list.Open == 2 && list.Tenants[0].Blocked == 1 && list.Tenants[1].Reason != ""
	})
	return w, campaign
}

func tenantsOf(t *testing.T, w *consoletest.World, path string) console.TenantList {
	t.Helper()
	var list console.TenantList
	a := call(t, w, console.Viewer, "GET", path, "")
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	a.decode(t, &list)
	return list
}

func TestACampaignsTenantsAreShownWithWhatToDo(t *testing.T) {
	t.Parallel()
	w, campaign := askedTenants(t)
	list := tenantsOf(t, w, "/api/v1/campaigns/"+campaign+"/tenants")
	for i := range list.Tenants {
		if one := &list.Tenants[i]; one.Remedy == "" || !one.Since.Equal(w.Now()) {
			t.Errorf("%s: since %v, to do %q", one.Tenant, one.Since, one.Remedy)
		} else {
			one.Remedy, one.Since = "", time.Time{}
		}
	}
	want := console.TenantList{Open: 2, Personal: 1, Tenants: []console.TenantView{
		{App: "main", Tenant: "contoso.example", Mailboxes: 2, Blocked: 1, Consent: mailbox.AdminNeeded},
		{App: "main", Tenant: "fabrikam.example", Mailboxes: 1, Consent: mailbox.AdminRefused, Reason: mailbox.Declined},
		{App: "main", Tenant: "tailspin.example", Mailboxes: 2, Connected: 1, Consent: mailbox.AdminProven},
	}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	importCSV(t, w, "Summer", "email,app\ngus@contoso.example,second\n")
	if n := len(tenantsOf(t, w, "/api/v1/tenants").Tenants); n != 4 {
		t.Errorf("%d tenants of all campaigns", n)
	}
	if second := tenantsOf(t, w, "/api/v1/tenants?app=second"); len(second.Tenants) != 1 || second.Open != 1 || second.Tenants[0].Consent != mailbox.AdminNotAsked {
		t.Errorf("of one app: %+v", second)
	}
	if named := tenantsOf(t, w, "/api/v1/tenants?campaign=Spring"); len(named.Tenants) != 3 {
		t.Errorf("of a campaign by its name: %+v", named)
	}
	for path, code := range map[string]string{
		"/api/v1/tenants?app=mian": "unknown_app", "/api/v1/tenants?campaign=none": "unknown_campaign", "/api/v1/tenants?apps=main": "bad_parameter",
		"/api/v1/campaigns/none/tenants": "not_found", "/api/v1/campaigns/none/tenants/links": "not_found", "/api/v1/campaigns/" + campaign + "/tenants/links?format=xml": "bad_parameter",
	} {
		if p := call(t, w, console.Worker, "GET", path, "").problem(t); p.Code != code || p.Remedy == "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

func TestATenantsLinkIsHandedOutAndWrittenDown(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	var link console.TenantLink
	call(t, w, console.Worker, "POST", "/api/v1/tenants/link", `{"app":"main","tenant":" Contoso.Example "}`).decode(t, &link)
	token, err := w.Links.Token(mailbox.AdminLink{App: "main", Tenant: "contoso.example", Expires: link.ExpiresAt})
	if err != nil || link.Link != "https://connect.example/admin-consent/"+token || link.Tenant != "contoso.example" || link.ExpiresAt.Sub(w.Now()) != 14*24*time.Hour {
		t.Errorf("%+v, %v", link, err)
	}
	trail := w.Audit.Entries()
	if len(trail) != 2 || trail[0].Action != "tenant.link" || trail[0].Target != "main/contoso.example" || trail[1].Outcome != "done" {
		t.Errorf("trail = %+v", trail)
	}
	for body, code := range map[string]string{
		`{"app":"mian","tenant":"contoso.example"}`: "unknown_app", `{"app":"main","tenant":"contoso"}`: "bad_tenant", `{"app":"main"}`: "bad_tenant",
		`{"app":"main","tenant":"organizations"}`: "bad_tenant", `{"app":"main","tenant":"a@contoso.example"}`: "bad_tenant",
		`{"app":"main","tenant":"../contoso.example"}`: "bad_tenant", `{"tenant":"contoso.example"}`: "unknown_app",
	} {
		if p := call(t, w, console.Worker, "POST", "/api/v1/tenants/link", body).problem(t); p.Code != code || p.Remedy == "" {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if n := len(w.Audit.Entries()); n != 2 {
		t.Errorf("refused requests left %d entries", n-2)
	}
	w.Audit.SetDown(true)
	if p := call(t, w, console.Worker, "POST", "/api/v1/tenants/link", `{"app":"main","tenant":"contoso.example"}`).problem(t); p.Code != "audit_unavailable" {
		t.Errorf("without a trail: %+v", p)
	}
}

func TestTheLinksOfTheOpenTenantsComeAsAFile(t *testing.T) {
	t.Parallel()
	w, campaign := askedTenants(t)
	path := "/api/v1/campaigns/" + campaign + "/tenants/links"
	if p := call(t, w, console.Viewer, "GET", path, "").problem(t); p.Status != http.StatusForbidden {
		t.Errorf("a viewer gets %d", p.Status)
	}
	a := call(t, w, console.Worker, "GET", path, "")
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][1] != "contoso.example" || rows[2][1] != "fabrikam.example" || !strings.HasPrefix(rows[2][4], "https://connect.example/admin-consent/") {
		t.Errorf("%v, %v", rows, err)
	}
	if lines := call(t, w, console.Worker, "GET", path+"?format=jsonl", ""); strings.Count(lines.body, "\n") != 2 || !strings.Contains(lines.body, `"admin_consent":"needed"`) {
		t.Errorf("as JSON lines:\n%s", lines.body)
	}
	trail := w.Audit.Entries()
	if last := trail[len(trail)-1]; last.Action != "campaign.tenant_links" || last.Count != 2 || last.Outcome != "done" {
		t.Errorf("trail = %+v", trail)
	}
}

func TestTheCampaignsPageShowsTheTenantsAboveTheLinks(t *testing.T) {
	t.Parallel()
	w, campaign := askedTenants(t)
	b := newBrowser(t, w, console.Worker)
	text := b.open(t, "/campaigns/"+campaign).body
	admins, links := strings.Index(text, "Tenants and their admins"), strings.Index(text, "Links to send (CSV)")
	if admins < 0 || links < admins || !strings.Contains(text, "2 of these organisations have not agreed") || strings.Contains(text, "/admin-consent/") {
		t.Errorf("tenants at %d, links at %d:\n%s", admins, links, text)
	}
	before := len(w.Audit.Entries())
	with := b.send(t, "/campaigns/"+campaign+"/tenant-link", url.Values{"app": {"main"}, "tenant": {"contoso.example"}})
	if with.status != http.StatusOK || !strings.Contains(with.body, "https://connect.example/admin-consent/") || len(w.Audit.Entries()) != before+2 {
		t.Errorf("%d, %d entries in the trail:\n%s", with.status, len(w.Audit.Entries())-before, with.body)
	}
	for _, form := range []url.Values{{"app": {"main"}, "tenant": {"<script>"}}, {"tenant": {"contoso.example"}}} {
		if a := b.send(t, "/campaigns/"+campaign+"/tenant-link", form); a.status != http.StatusBadRequest || strings.Contains(a.body, "<script>") {
			t.Errorf("%v: %d", form, a.status)
		}
	}
	viewer := newBrowser(t, w, console.Viewer)
	if a := viewer.send(t, "/campaigns/"+campaign+"/tenant-link", url.Values{"app": {"main"}, "tenant": {"contoso.example"}}); a.status != http.StatusForbidden {
		t.Errorf("a viewer gets %d", a.status)
	}
	if text := viewer.open(t, "/campaigns/"+campaign).body; strings.Contains(text, "tenant-link") || !strings.Contains(text, "Tenants and their admins") {
		t.Errorf("a viewer sees:\n%s", text)
	}
}
