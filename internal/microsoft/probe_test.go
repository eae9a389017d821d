package microsoft_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

const absentTenant = "dddddddd-bbbb-4ccc-8ddd-eeeeeeeeeeee"

// probed is a simulated Microsoft, a Prober and an app of it that is all right.
type probed struct {
	*msid.Server
	prober microsoft.Prober
	app    microsoft.App
	url    string
}

func probe(t *testing.T, change func(*msid.Config)) probed {
	t.Helper()
	cfg := msid.Config{
		SigningAlg: msid.ES256, Seed: 1, AbsentTenants: []string{absentTenant},
		Apps: []msid.App{{ClientID: clientID, Secrets: []string{"good"}, ExpiredSecrets: []string{"old"}, RedirectURIs: []string{simRedirect}}},
	}
	if change != nil {
		change(&cfg)
	}
	server := msid.New(cfg)
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return probed{
		Server: server, url: listener.URL, prober: microsoft.Prober{Transport: transport, Timeout: 5 * time.Second},
		app: microsoft.App{
			Name: "main", Cloud: "public", Tenant: "organizations", ClientID: clientID, RedirectURI: simRedirect,
			Scopes:   []string{"openid", "profile", "offline_access", "User.Read", "Mail.Send", "Mail.Read"},
			LoginURL: listener.URL, GraphURL: listener.URL,
		},
	}
}

// says checks a verdict, and that no text of the answer is in it.
func says(t *testing.T, what string, v microsoft.Verdict, code string) {
	t.Helper()
	if v.Fault == nil {
		if code != "" {
			t.Errorf("%s: all is right, want %s", what, code)
		}
		return
	}
	if v.Fault.Code != code {
		t.Errorf("%s: %v, want %q", what, v.Fault, code)
	}
	if text := v.Fault.Error() + v.Fault.Remedy; strings.Contains(text, canary) || strings.Contains(text, "Ensure the secret") {
		t.Errorf("%s shows the answer: %s", what, text)
	}
	if v.Fault.Cause == "" || v.Fault.Remedy == "" {
		t.Errorf("%s lacks words: %+v", what, v.Fault)
	}
}

func TestAProbeTellsWhatIsWrongWithAnApp(t *testing.T) {
	t.Parallel()
	disabled := func(c *msid.Config) { c.Apps[0].Disabled = true }
	single := func(c *msid.Config) { c.Apps[0].Tenant = "contoso.example" }
	for _, tt := range []struct {
		name, secret, tenant, client string
		change                       func(*msid.Config)
		code                         string
	}{
		{"good", "good", "", "", nil, ""},
		{"wrong secret", canary, "", "", nil, "AADSTS7000215"},
		{"expired secret", "old", "", "", nil, "AADSTS7000222"},
		{"no secret", "", "", "", nil, "AADSTS7000218"},
		{"unknown app", "good", "", objectID, nil, "AADSTS700016"},
		{"no such tenant", "good", absentTenant, "", nil, "AADSTS90002"},
		{"tenant that cannot be one", "good", "a/b", "", nil, "tenant_invalid"},
		{"disabled app", "good", "", "", disabled, "AADSTS7000112"},
		{"single-tenant app at a shared address", "good", "", "", single, "AADSTS50194"},
		{"single-tenant app at home", "good", "contoso.example", "", single, ""},
		{"single-tenant app elsewhere", "good", "other.example", "", single, "AADSTS700016"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := probe(t, tt.change)
			if tt.client != "" {
				p.app.ClientID = tt.client
			}
			v := p.prober.Secret(t.Context(), p.app, tt.tenant, secret.New(tt.secret))
			says(t, tt.name, v, tt.code)
			if v.Unreachable() || v.Foreign {
				t.Errorf("unreachable %t, foreign %t", v.Unreachable(), v.Foreign)
			}
			want := tt.code == "AADSTS7000215" || tt.code == "AADSTS7000222" || tt.code == "AADSTS7000218"
			if v.Refused != want {
				t.Errorf("secret refused: %t", v.Refused)
			}
			calls := 0
			for _, n := range p.Summary().Calls[msid.OpCode] {
				calls += n
			}
			if want := map[bool]int{true: 0, false: 1}[tt.code == "tenant_invalid"]; calls != want {
				t.Errorf("%d requests, want %d", calls, want)
			}
		})
	}
}

func TestEveryAADSTSRowIsAVerdict(t *testing.T) {
	t.Parallel()
	p := probe(t, nil)
	for number, accepted := range map[int]bool{
		50011: false, 900971: false, 90038: false, 900439: false, 650056: false, 500011: false, 65005: false, 900144: false, 70001: false,
		50196: false, 90055: false, 9002313: true, 70000: true, 70008: true, 54005: true, 501481: true, 70002: false,
	} {
		p.ClearFaults()
		if err := p.Fault(msid.Refusal(msid.OpCode, number)); err != nil {
			t.Fatal(err)
		}
		v := p.prober.Secret(t.Context(), p.app, "", secret.New("good"))
		if (v.Fault == nil) != accepted || v.Foreign {
			t.Errorf("AADSTS%d: %+v, accepted should be %t", number, v.Fault, accepted)
		}
	}
}

func TestTheNameOfARefusalComesBeforeItsNumbers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	p := microsoft.Prober{Timeout: 5 * time.Second}
	for _, tt := range []struct {
		name  string
		error string
		codes []int
		code  string
	}{
		{"two numbers, the first of another matter", "invalid_grant", []int{70002, 70000}, ""},
		{"unknown number of a refused code", "invalid_grant", []int{123456789}, ""},
		{"unknown number of a refused client", "invalid_client", []int{123456789}, "invalid_client"},
		{"unknown error", "strange", []int{123456789}, "microsoft_unknown_error"},
		{"malformed under its older name", "invalid_request", []int{9002313}, ""},
		{"a parameter is missing", "invalid_request", []int{900144}, "AADSTS900144"},
	} {
		f.onToken(answerJSON(http.StatusBadRequest, map[string]any{
			"error": tt.error, "error_codes": tt.codes, "error_description": canary, "trace_id": tenantID, "correlation_id": objectID,
		}))
		v := p.Secret(t.Context(), f.app(), "", secret.New(canary))
		says(t, tt.name, v, tt.code)
		if v.Unreachable() || v.Foreign {
			t.Errorf("%s: unreachable %t, foreign %t", tt.name, v.Unreachable(), v.Foreign)
		}
	}
	for _, form := range f.forms {
		if form.Get("code") == "" || form.Get("code_verifier") == "" || form.Get("grant_type") != "authorization_code" || form.Get("redirect_uri") != f.app().RedirectURI {
			t.Errorf("a probe sent %v", form)
		}
		if form.Get("code") != f.forms[0].Get("code") {
			t.Error("a probe's code is not the made-up one")
		}
	}
}

func TestTheControlShowsWhetherSecretsAreLookedAt(t *testing.T) {
	t.Parallel()
	p := probe(t, nil)
	says(t, "control", p.prober.Control(t.Context(), p.app), "AADSTS7000215")
	if err := p.Fault(msid.Refusal(msid.OpCode, 9002313)); err != nil {
		t.Fatal(err)
	}
	says(t, "control of a server that looks at the code first", p.prober.Control(t.Context(), p.app), "")
}

func TestAServerThatIsNotMicrosoftIsFoundOut(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"a web site":                answerText(http.StatusNotFound, "<html>"+canary, "Content-Type", "text/html"),
		"a page for everything":     answerText(http.StatusOK, "<html>"+canary),
		"another OAuth server":      answerJSON(http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": canary}),
		"one that accepts anything": answerJSON(http.StatusOK, goodGrant()),
		"an endless page":           answerText(http.StatusBadRequest, strings.Repeat("x", 1<<17)),
		"a list":                    answerText(http.StatusBadRequest, "[]"),
	} {
		server := httptest.NewServer(answer)
		app := microsoft.App{Tenant: "organizations", ClientID: clientID, LoginURL: server.URL, GraphURL: server.URL}
		v := microsoft.Prober{}.Secret(t.Context(), app, "", secret.New(canary))
		says(t, name, v, "microsoft_foreign")
		if !v.Foreign || v.Unreachable() {
			t.Errorf("%s: foreign %t, unreachable %t", name, v.Foreign, v.Unreachable())
		}
		_, v = microsoft.Prober{}.Tenant(t.Context(), app)
		says(t, name+", of the tenant", v, "microsoft_foreign")
		server.Close()
	}
}

func TestWhoDoesNotAnswerIsUnreachable(t *testing.T) {
	t.Parallel()
	p := probe(t, nil)
	for name, rule := range map[string]trouble.Rule{
		"microsoft_5xx": {Kind: trouble.ServerError}, "microsoft_429": {Kind: trouble.Throttled},
		"microsoft_connection_lost": {Kind: trouble.Reset}, "microsoft_timeout": {Kind: trouble.Hang},
	} {
		p.ClearFaults()
		rule.Op = msid.OpCode
		if err := p.Fault(rule); err != nil {
			t.Fatal(err)
		}
		prober := p.prober
		if rule.Kind == trouble.Hang {
			prober.Timeout = 300 * time.Millisecond
		}
		v := prober.Secret(t.Context(), p.app, "", secret.New("good"))
		says(t, name, v, name)
		if !v.Unreachable() {
			t.Errorf("%s counts as an answer", name)
		}
	}
	p.ClearFaults()
	if err := p.Fault(trouble.Rule{Kind: trouble.Redirect, Op: msid.OpCode}); err != nil {
		t.Fatal(err)
	}
	says(t, "redirect", p.prober.Secret(t.Context(), p.app, "", secret.New("good")), "microsoft_redirect")
	if followed := p.Summary().Calls["trap"]; len(followed) > 0 {
		t.Errorf("a redirect was followed: %v", followed)
	}
	p.app.LoginURL = "http://127.0.0.1:1"
	v := p.prober.Secret(t.Context(), p.app, "", secret.New("good"))
	says(t, "closed port", v, "microsoft_unreachable")
	if !v.Unreachable() || v.Clock.Known() {
		t.Errorf("closed port: %+v", v)
	}
}

func TestATenantIsFoundOrNot(t *testing.T) {
	t.Parallel()
	p := probe(t, nil)
	for tenant, want := range map[string]string{
		"organizations": "", "common": "", tenantID: tenantID, "contoso.example": msid.TenantOf("contoso.example"),
	} {
		p.app.Tenant = tenant
		found, v := p.prober.Tenant(t.Context(), p.app)
		says(t, tenant, v, "")
		if found.TenantID != want || found.Cloud != "public" {
			t.Errorf("%s: %+v", tenant, found)
		}
	}
	p.app.Tenant = absentTenant
	_, v := p.prober.Tenant(t.Context(), p.app)
	says(t, "absent", v, "AADSTS90002")
	p.app.Tenant = "../.."
	_, v = p.prober.Tenant(t.Context(), p.app)
	says(t, "no tenant", v, "tenant_invalid")
}

func TestADocumentNamesItsCloud(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answerJSON(http.StatusOK, body.Load())(w, r)
	}))
	defer server.Close()
	app := microsoft.App{Tenant: tenantID, LoginURL: server.URL}
	for instance, want := range map[string]string{
		"microsoftonline.us": "usgov", "partner.microsoftonline.cn": "china", "microsoftonline.com": "public", "": "", "com": "public", "evil": "",
	} {
		body.Store(map[string]any{
			"issuer": "https://login.microsoftonline.us/" + tenantID + "/v2.0", "token_endpoint": "https://x.example/t", "cloud_instance_name": instance,
		})
		found, v := microsoft.Prober{}.Tenant(t.Context(), app)
		if v.Fault != nil || found.Cloud != want || found.TenantID != tenantID {
			t.Errorf("%q: %+v %v", instance, found, v.Fault)
		}
	}
}

func TestAClockIsOnlyBlamedForWhatItCertainlyIsOff(t *testing.T) {
	t.Parallel()
	server := clock()
	at := func(d time.Duration) time.Time { return server.Add(d) }
	for _, tt := range []struct {
		name        string
		sent, heard time.Duration
		want        time.Duration
	}{
		{"right", 0, 300 * time.Millisecond, 0},
		{"right, end of the second", 900 * time.Millisecond, 950 * time.Millisecond, 0},
		{"right, slow answer", -10 * time.Second, 5 * time.Second, 0},
		{"ahead", 41 * time.Second, 43 * time.Second, 40 * time.Second},
		{"behind", -43 * time.Second, -40 * time.Second, -40 * time.Second},
	} {
		c := microsoft.Clock{Server: server, Sent: at(tt.sent), Heard: at(tt.heard)}
		if got := c.Offset(); got != tt.want || !c.Known() {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	ahead := microsoft.Prober{Now: func() time.Time { return time.Now().Add(time.Hour) }}
	f := newFake(t)
	v := ahead.Secret(t.Context(), f.app(), "", secret.New("x"))
	if got := v.Clock.Offset(); got < 59*time.Minute || got > time.Hour {
		t.Errorf("a clock that is an hour ahead is off by %s", got)
	}
	f.onToken(answerText(http.StatusOK, "{}", "Age", "100"))
	if v := ahead.Secret(t.Context(), f.app(), "", secret.New("x")); v.Clock.Known() {
		t.Error("a cache's answer tells the time")
	}
}

func TestScopesAreJudgedWithoutAsking(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, scopes    string
		enough, spelled bool
	}{
		{"default", "openid profile email offline_access User.Read Mail.Send Mail.ReadWrite Mail.Read", true, false},
		{"spelled out", "openid profile offline_access https://graph.microsoft.com/User.Read https://graph.microsoft.com/Mail.Send mail.readwrite", true, false},
		{"the guide's", "openid profile https://graph.microsoft.com/offline_access User.Read Mail.Send Mail.Read", true, true},
		{"no reading", "openid profile offline_access User.Read Mail.Send", false, false},
		{"nothing", "openid profile offline_access", false, false},
		{"everything", "openid offline_access https://graph.microsoft.com/.default", false, false},
		{"IMAP alone", "openid https://outlook.office.com/SMTP.Send", false, false},
	} {
		app := microsoft.App{Cloud: "public", GraphURL: "https://graph.microsoft.com", Scopes: strings.Fields(tt.scopes)}
		if app.AsksEnough() != tt.enough || app.SpellsOfflineAccess() != tt.spelled {
			t.Errorf("%s: enough %t, spelled %t", tt.name, app.AsksEnough(), app.SpellsOfflineAccess())
		}
	}
}

func TestAnAppKnowsItsLogin(t *testing.T) {
	t.Parallel()
	own := microsoft.App{Cloud: "usgov", LoginURL: "https://login.microsoftonline.us/", Tenant: "common"}
	other := microsoft.App{Cloud: "usgov", LoginURL: "https://login.microsoftonline.com", Tenant: tenantID}
	if !own.OwnCloud() || other.OwnCloud() || !own.Shared() || other.Shared() || own.LoginHost() != "login.microsoftonline.us" {
		t.Errorf("%t %t %t %t %s", own.OwnCloud(), other.OwnCloud(), own.Shared(), other.Shared(), own.LoginHost())
	}
}

func TestAProbesFaultHoldsNoAnswer(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.onToken(answerJSON(http.StatusUnauthorized, map[string]any{
		"error": "invalid_client", "error_codes": []int{7000215}, "error_description": canary, "trace_id": tenantID, "correlation_id": canary,
	}))
	v := microsoft.Prober{}.Secret(t.Context(), f.app(), "", secret.New(canary))
	says(t, "wrong secret", v, "AADSTS7000215")
	if v.Fault.Class != fault.LegDown {
		t.Errorf("class %s", v.Fault.Class)
	}
}
