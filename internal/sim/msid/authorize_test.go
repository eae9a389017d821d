package msid_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

func TestErrorsThatMicrosoftKeepsToItself(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, tenant string
		change       url.Values
		want         string
	}{
		{"unknown app", "common", url.Values{"client_id": {"x"}}, "AADSTS700016"},
		{"no redirect", "common", url.Values{"redirect_uri": {}}, "AADSTS900971"},
		{"redirect with a slash more", "common", url.Values{"redirect_uri": {redirect + "/"}}, "AADSTS50011"},
		{"misspelt tenant", "commmon", nil, "AADSTS90002"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := start(t, nil)
			resp, body := m.do(http.MethodGet, "/"+tt.tenant+"/oauth2/v2.0/authorize?"+query(tt.change).Encode(), nil)
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

func TestErrorsThatGoBackToTheRedirectURI(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change url.Values
		word   string
		number string
	}{
		{"no response type", url.Values{"response_type": {}}, "invalid_request", "AADSTS900144"},
		{"token response", url.Values{"response_type": {"token"}}, "unsupported_response_type", "AADSTS70005"},
		{"no scope", url.Values{"scope": {}}, "invalid_request", "AADSTS900144"},
		{"mixed default", url.Values{"scope": {"https://graph.microsoft.com/.default Mail.Read"}}, "invalid_scope", "AADSTS70011"},
		{"short challenge", url.Values{"code_challenge": {"x"}}, "invalid_request", "AADSTS50147"},
		{"fragment", url.Values{"response_mode": {"fragment"}}, "invalid_request", "AADSTS90023"},
		{"two prompts", url.Values{"prompt": {"login consent"}}, "invalid_request", "AADSTS90023"},
		{"silent", url.Values{"prompt": {"none"}}, "login_required", "AADSTS50058"},
		{"no challenge", url.Values{"code_challenge": {}}, "invalid_request", "AADSTS50147"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *msid.Config) { c.Switches.RequirePKCE = true })
			resp, body := m.do(http.MethodGet, "/organizations/oauth2/v2.0/authorize?"+query(tt.change).Encode(), nil)
			to, err := url.Parse(resp.Header.Get("Location"))
			if err != nil || resp.StatusCode != http.StatusFound {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			q := to.Query()
			if q.Get("error") != tt.word || !strings.HasPrefix(q.Get("error_description"), tt.number+":") || q.Get("state") != "st&te" {
				t.Errorf("back with %v", q)
			}
		})
	}
}

func TestTheConsentPageWorksWithoutAScript(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	resp, body := m.do(http.MethodGet, "/organizations/oauth2/v2.0/authorize?"+query(url.Values{"login_hint": {`"><script>alert(1)</script>@x.example`}}).Encode(), nil)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `value="accept"`) || !strings.Contains(body, `value="decline"`) || strings.Contains(body, "<script>") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = m.do(http.MethodPost, "/organizations/oauth2/v2.0/authorize?"+query(url.Values{"response_mode": {"form_post"}}).Encode(),
		url.Values{"address": {owner}, "action": {"accept"}})
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `action="`+redirect+`"`) || !strings.Contains(body, "Continue</button>") {
		t.Errorf("form_post: %d %s", resp.StatusCode, body)
	}
}

func TestADeclinedConsentComesBackAsTheSwitchHasIt(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{"": "access_denied", "consent_required": "consent_required"} {
		m := start(t, func(c *msid.Config) { c.Switches.DeclineError = set })
		back := m.consent(owner, "decline", nil)
		if back.Get("error") != want || !strings.HasPrefix(back.Get("error_description"), "AADSTS65004") || back.Get("state") != "st&te" {
			t.Errorf("back with %v", back)
		}
		if got := m.Account(owner); got.Declined != 1 || got.Codes != 0 {
			t.Errorf("ledger: %+v", got)
		}
	}
}

func TestUsersCanBeSpecial(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) {
		c.Users = []msid.User{
			{Address: "Upn@contoso.example", PrincipalName: "u123@corp.example", Aliases: []string{"alias@contoso.example"}},
			{Address: "home@outlook.example", Personal: true},
			{Address: "off@contoso.example", SignInError: 50057},
			{Address: "unassigned@contoso.example", ConsentError: 90094},
			{Address: "less@contoso.example", Withheld: []string{"Mail.Send"}},
		}
	})
	upn := m.redeemed("common", "upn@contoso.example")
	me := m.graph(text(t, upn, "access_token"), "?$select=userPrincipalName,mail,proxyAddresses", http.StatusOK)
	if me["userPrincipalName"] != "u123@corp.example" || me["mail"] != "Upn@contoso.example" {
		t.Errorf("me: %v", me)
	}
	if proxies, ok := me["proxyAddresses"].([]any); !ok || len(proxies) != 2 || proxies[1] != "smtp:alias@contoso.example" {
		t.Errorf("proxies: %v", me["proxyAddresses"])
	}
	home := m.redeemed("common", "home@outlook.example")
	if me := m.graph(text(t, home, "access_token"), "", http.StatusOK); me["mail"] != nil || me["userPrincipalName"] != "home@outlook.example" {
		t.Errorf("personal: %v", me)
	}
	if less := m.redeemed("common", "less@contoso.example"); strings.Contains(text(t, less, "scope"), "Mail.Send") {
		t.Errorf("scope: %v", less["scope"])
	}
	if back := m.consent("unassigned@contoso.example", "accept", nil); !strings.HasPrefix(back.Get("error_description"), "AADSTS90094") {
		t.Errorf("unassigned: %v", back)
	}
	for address, want := range map[string]string{"off@contoso.example": "AADSTS50057", "home@outlook.example": "AADSTS500208", "nobody": "AADSTS50034"} {
		_, body := m.do(http.MethodPost, "/organizations/oauth2/v2.0/authorize?"+query(nil).Encode(), url.Values{"address": {address}, "action": {"accept"}})
		if !strings.Contains(body, want) {
			t.Errorf("%s: %s", address, body)
		}
	}
}

// redeemed consents and redeems at an authority.
func (m *microsoft) redeemed(tenant, address string) map[string]any {
	m.t.Helper()
	codes := m.IssueCodes(msid.NewCode{
		ClientID: clientID, Tenant: tenant, RedirectURI: redirect, Scope: scope, Challenge: challenge(verifier), Addresses: []string{address},
	})
	_, raw := m.do(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", codeForm(codes[0]))
	var body map[string]any
	if err := json.Unmarshal([]byte(raw), &body); err != nil {
		m.t.Fatal(err)
	}
	return body
}

func TestASingleTenantAppIsRefusedElsewhere(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.Apps[0].Tenant = "contoso.example" })
	for tenant, want := range map[string]string{
		"common": "AADSTS50194", "fabrikam.example": "AADSTS700016", msid.TenantOf("contoso.example"): `id="consent"`, "contoso.example": `id="consent"`,
	} {
		if _, body := m.do(http.MethodGet, "/"+tenant+"/oauth2/v2.0/authorize?"+query(nil).Encode(), nil); !strings.Contains(body, want) {
			t.Errorf("%s: %s", tenant, body)
		}
	}
}

func TestAnAdministratorOpensATenant(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.Switches.AdminConsentNeeded = true })
	if back := m.consent(owner, "accept", nil); !strings.HasPrefix(back.Get("error_description"), "AADSTS90094") {
		t.Fatalf("before: %v", back)
	}
	q := url.Values{"client_id": {clientID}, "redirect_uri": {redirect}, "scope": {"Mail.Read"}, "state": {"s"}}
	resp, _ := m.do(http.MethodGet, "/common/v2.0/adminconsent?"+q.Encode(), nil)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("at common: %d", resp.StatusCode)
	}
	resp, body := m.do(http.MethodPost, "/organizations/v2.0/adminconsent?"+q.Encode(), url.Values{"address": {"boss@contoso.example"}, "action": {"accept"}})
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || to.Query().Get("admin_consent") != "True" || to.Query().Get("tenant") != msid.TenantOf("contoso.example") || to.Query().Has("code") {
		t.Fatalf("%d %s: %v", resp.StatusCode, body, to)
	}
	if back := m.consent(owner, "accept", nil); back.Get("code") == "" {
		t.Errorf("after: %v", back)
	}
}

func TestOneTenantMayWantItsAdministrator(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) {
		c.Switches.AdminConsentTenants = []string{"contoso.example", "not a tenant"}
		c.Rules = []trouble.Rule{{Kind: msid.KindAADSTS, Op: msid.OpAdmin, Code: 90094, Times: 1}}
	})
	if back := m.consent(owner, "accept", nil); !strings.HasPrefix(back.Get("error_description"), "AADSTS90094") {
		t.Errorf("in the tenant: %v", back)
	}
	if back := m.consent("jane@fabrikam.example", "accept", nil); back.Get("code") == "" {
		t.Errorf("elsewhere: %v", back)
	}
	q := url.Values{"client_id": {clientID}, "redirect_uri": {redirect}, "scope": {"Mail.Read"}, "state": {"s"}}
	ask := func(action string) url.Values {
		t.Helper()
		resp, body := m.do(http.MethodPost, "/contoso.example/v2.0/adminconsent?"+q.Encode(), url.Values{"address": {"boss@contoso.example"}, "action": {action}})
		to, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || resp.StatusCode != http.StatusSeeOther || to.Query().Get("state") != "s" || to.Query().Get("admin_consent") != "True" {
			t.Fatalf("%s: %d %s: %v", action, resp.StatusCode, body, to)
		}
		return to.Query()
	}
	for _, want := range []string{"AADSTS90094", "AADSTS65004"} { // no administrator, then one who declines
		if back := ask(map[bool]string{true: "accept", false: "decline"}[want == "AADSTS90094"]); !strings.HasPrefix(back.Get("error_description"), want) || back.Get("error") == "" {
			t.Errorf("want %s: %v", want, back)
		}
	}
	if back := m.consent(owner, "accept", nil); back.Get("code") != "" {
		t.Error("an owner gets in though no administrator agreed")
	}
	if back := ask("accept"); back.Has("error") || back.Get("tenant") != msid.TenantOf("contoso.example") {
		t.Errorf("agreed: %v", back)
	}
	if back := m.consent(owner, "accept", nil); back.Get("code") == "" {
		t.Errorf("afterwards: %v", back)
	}
}

func TestStrictTenantsKeepStrangersOut(t *testing.T) {
	t.Parallel()
	post := func(m *microsoft) string {
		_, body := m.do(http.MethodPost, "/fabrikam.example/oauth2/v2.0/authorize?"+query(url.Values{"response_mode": {"form_post"}}).Encode(),
			url.Values{"address": {owner}, "action": {"accept"}})
		return body
	}
	if body := post(start(t, nil)); !strings.Contains(body, `id="continue"`) {
		t.Errorf("lenient: %s", body)
	}
	if body := post(start(t, func(c *msid.Config) { c.Switches.StrictTenants = true })); !strings.Contains(body, "AADSTS50020") {
		t.Errorf("strict: %s", body)
	}
}

func TestTroubleOnTheSignInPages(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) {
		c.Rules = []trouble.Rule{{Kind: trouble.BadGateway, Op: msid.OpAuthorize}, msid.Refusal(msid.OpConsent, 90094)}
	})
	if resp, _ := m.do(http.MethodGet, "/common/oauth2/v2.0/authorize?"+query(nil).Encode(), nil); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("authorize: %d", resp.StatusCode)
	}
	if back := m.consent(owner, "accept", nil); back.Get("error") != "access_denied" {
		t.Errorf("consent: %v", back)
	}
}

func TestAnotherProcessCanSteerAndAsk(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	post := func(path, body string, into any) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := m.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	var issued struct{ Codes []string }
	in, err := json.Marshal(msid.NewCode{ClientID: clientID, RedirectURI: redirect, Scope: scope, Addresses: []string{owner, "no address"}, Challenge: challenge(verifier)})
	if err != nil {
		t.Fatal(err)
	}
	if post("/_sim/codes", string(in), &issued); len(issued.Codes) != 2 || issued.Codes[1] != "" {
		t.Fatalf("codes: %v", issued)
	}
	var state map[string]any
	if status := post("/_sim/faults", `{"add":[{"kind":"aadsts","op":"code","code":90033,"times":1}],"switches":{"revoke_on_replay":true}}`, &state); status != http.StatusOK {
		t.Fatalf("faults: %d %v", status, state)
	}
	for i, n := range []int{90033, 0} {
		if _, body := m.token(codeForm(issued.Codes[0]), nil); n != 0 && number(t, body) != n || n == 0 && body["access_token"] == nil {
			t.Errorf("send %d: %v", i, body)
		}
	}
	if post("/_sim/end", `{"address":"`+owner+`","code":50173}`, &state); state["ended"] != 1.0 {
		t.Errorf("end: %v", state)
	}
	if post("/_sim/keys?forget=true", "", &state); state["keys"] != 1.0 {
		t.Errorf("keys: %v", state)
	}
	_, raw := m.do(http.MethodGet, "/_sim/ledger?address="+owner, nil)
	var ledger struct {
		Summary msid.Summary `json:"summary"`
		Account msid.Account `json:"account"`
		Codes   []msid.Code  `json:"codes"`
	}
	if err := json.Unmarshal([]byte(raw), &ledger); err != nil || ledger.Summary.Redeemed != 1 || ledger.Account.Redeemed != 1 || len(ledger.Codes[0].Sends) != 2 {
		t.Errorf("ledger: %s (%v)", raw, err)
	}
	if strings.Contains(raw, issued.Codes[0]) {
		t.Error("the ledger shows a code")
	}
}

func TestAFollowedRedirectIsNoticed(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.Rules = []trouble.Rule{{Kind: trouble.Redirect, Op: msid.OpCode}} })
	code := m.code()
	m.client.CheckRedirect = nil
	resp, _ := m.do(http.MethodPost, "/organizations/oauth2/v2.0/token", codeForm(code))
	if resp.StatusCode != http.StatusTeapot || m.Summary().Calls["trap"]["followed"] != 1 {
		t.Errorf("%d, ledger %v", resp.StatusCode, m.Summary().Calls)
	}
}
