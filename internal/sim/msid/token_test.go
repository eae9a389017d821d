package msid_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

func TestTheTokenEndpointChecksWhatIsSent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change url.Values
		status int
		number int
		word   string
	}{
		{"wrong secret", url.Values{"client_secret": {"nope"}}, 401, 7000215, "invalid_client"},
		{"expired secret", url.Values{"client_secret": {"old-secret"}}, 401, 7000222, "invalid_client"},
		{"no secret", url.Values{"client_secret": {""}}, 401, 7000218, "invalid_client"},
		{"unknown app", url.Values{"client_id": {"other"}}, 400, 700016, "unauthorized_client"},
		{"no client id", url.Values{"client_id": {""}}, 400, 900144, "invalid_request"},
		{"no grant type", url.Values{"grant_type": {""}}, 400, 900144, "invalid_request"},
		{"strange grant type", url.Values{"grant_type": {"password"}}, 400, 70003, "unsupported_grant_type"},
		{"no code", url.Values{"code": {""}}, 400, 900144, "invalid_request"},
		{"truncated code", url.Values{"code": {"1.AXkAabc"}}, 400, 9002313, "invalid_grant"},
		{"unregistered redirect", url.Values{"redirect_uri": {"http://127.0.0.1/x"}}, 400, 50011, "invalid_client"},
		{"other registered redirect", url.Values{"redirect_uri": {redirect + "/other"}}, 400, 500112, "invalid_client"},
		{"wrong verifier", url.Values{"code_verifier": {strings.Repeat("x", 43)}}, 400, 501481, "invalid_grant"},
		{"no verifier", url.Values{"code_verifier": {""}}, 400, 501491, "invalid_request"},
		{"default scope with names", url.Values{"scope": {"https://graph.microsoft.com/.default Mail.Read"}}, 400, 70011, "invalid_scope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := start(t, nil)
			code := m.code()
			status, body := m.token(codeForm(code), tt.change)
			if status != tt.status || number(t, body) != tt.number || body["error"] != tt.word {
				t.Fatalf("%d %v, want %d AADSTS%d %s", status, body, tt.status, tt.number, tt.word)
			}
			for _, name := range []string{"error_description", "timestamp", "trace_id", "correlation_id", "error_uri"} {
				text(t, body, name)
			}
			if status, body := m.token(codeForm(code), nil); status != http.StatusOK {
				t.Errorf("the code is gone: %v", body)
			}
		})
	}
}

func TestTheClientIsJudgedBeforeItsCode(t *testing.T) {
	t.Parallel()
	const absent = "11111111-0000-4000-8000-000000000000"
	m := start(t, func(c *msid.Config) {
		c.AbsentTenants = []string{absent, "gone.example"}
		c.Apps = append(c.Apps,
			msid.App{ClientID: "disabled", Secrets: []string{secret}, RedirectURIs: []string{redirect}, Disabled: true},
			msid.App{ClientID: "single", Secrets: []string{secret}, RedirectURIs: []string{redirect}, Tenant: "contoso.example"})
	})
	for _, tt := range []struct {
		name, tenant string
		change       url.Values
		number       int
		word         string
	}{
		{"good secret", "organizations", nil, 9002313, "invalid_grant"},
		{"wrong secret", "organizations", url.Values{"client_secret": {"nope"}}, 7000215, "invalid_client"},
		{"expired secret", "organizations", url.Values{"client_secret": {"old-secret"}}, 7000222, "invalid_client"},
		{"no secret", "organizations", url.Values{"client_secret": nil}, 7000218, "invalid_client"},
		{"unknown app", "organizations", url.Values{"client_id": {"other"}}, 700016, "unauthorized_client"},
		{"disabled app", "organizations", url.Values{"client_id": {"disabled"}}, 7000112, "unauthorized_client"},
		{"no tenant", absent, nil, 90002, "invalid_request"},
		{"no tenant of this domain", "Gone.example", nil, 90002, "invalid_request"},
		{"single-tenant app at home", "contoso.example", url.Values{"client_id": {"single"}}, 9002313, "invalid_grant"},
		{"single-tenant app at a shared address", "common", url.Values{"client_id": {"single"}}, 50194, "invalid_request"},
	} {
		form := codeForm("made-up")
		maps.Copy(form, tt.change)
		_, raw := m.do(http.MethodPost, "/"+tt.tenant+"/oauth2/v2.0/token", form)
		var body map[string]any
		if err := json.Unmarshal([]byte(raw), &body); err != nil {
			t.Fatal(err)
		}
		if got := number(t, body); got != tt.number || body["error"] != tt.word {
			t.Errorf("%s: AADSTS%d %v, want AADSTS%d %s", tt.name, got, body["error"], tt.number, tt.word)
		}
	}
}

func TestATenantThatDoesNotExistHasNoMetadata(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.AbsentTenants = []string{"gone.example"} })
	for _, path := range []string{"gone.example", "GONE.example"} {
		if resp, body := m.do(http.MethodGet, "/"+path+"/v2.0/.well-known/openid-configuration", nil); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "AADSTS90002") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, _ := m.do(http.MethodGet, "/there.example/v2.0/.well-known/openid-configuration", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestACodeBelongsToTheTenantPathItCameFrom(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	_, raw := m.do(http.MethodPost, "/common/oauth2/v2.0/token", codeForm(m.code()))
	if !strings.Contains(raw, "AADSTS700005") {
		t.Errorf("answer: %s", raw)
	}
}

func TestAnyOfTheValidSecretsWillDoInTheBodyOrTheHeader(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	if status, body := m.token(codeForm(m.code()), url.Values{"client_secret": {"second-secret"}}); status != http.StatusOK {
		t.Errorf("second secret: %v", body)
	}
	form := codeForm(m.code())
	form.Del("client_secret")
	form.Del("client_id")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.url+"/organizations/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, secret)
	resp, err := m.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("basic authentication: %d", resp.StatusCode)
	}
}

func TestALateCodeHasExpired(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	code := m.consent(owner, "accept_late", nil).Get("code")
	if _, body := m.token(codeForm(code), nil); number(t, body) != 70008 {
		t.Errorf("answer: %v", body)
	}
	now := time.Now()
	m = start(t, func(c *msid.Config) {
		c.Now, c.Switches.CodeLife = func() time.Time { return now }, trouble.Duration(time.Minute)
	})
	code = m.code()
	now = now.Add(time.Minute + time.Second)
	if _, body := m.token(codeForm(code), nil); number(t, body) != 70008 {
		t.Errorf("after a minute: %v", body)
	}
}

func TestAFailedAuthenticationSpendsTheCodeIfSwitched(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	sw := m.Switches()
	sw.FailedAuthSpendsCode = true
	m.Turn(sw)
	code := m.code()
	m.token(codeForm(code), url.Values{"client_secret": {"nope"}})
	if _, body := m.token(codeForm(code), nil); number(t, body) != 54005 {
		t.Errorf("answer: %v", body)
	}
}

func TestEveryRowOfTheErrorTableCanBePlayed(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	codes := msid.Codes()
	if len(codes) < 90 || !slices.Contains(codes, 7000215) {
		t.Fatalf("%d rows", len(codes))
	}
	seen := map[int]bool{}
	for _, n := range codes {
		if seen[n] {
			t.Errorf("AADSTS%d stands twice in the table", n)
		}
		seen[n] = true
		m.ClearFaults()
		if err := m.Fault(msid.Refusal(msid.OpCode, n)); err != nil {
			t.Fatal(err)
		}
		status, body := m.token(codeForm("1.AXkAx"), nil)
		description := text(t, body, "error_description")
		if status < 400 || number(t, body) != n || !strings.HasPrefix(description, "AADSTS") || !strings.Contains(description, "Trace ID: ") {
			t.Errorf("AADSTS%d: %d %v", n, status, body)
		}
		if text(t, body, "error") == "" {
			t.Errorf("AADSTS%d has no error word", n)
		}
	}
}

func TestALostAnswerHasSpentTheCode(t *testing.T) {
	t.Parallel()
	for _, kind := range []trouble.Kind{trouble.Reset, trouble.BadGateway, trouble.Truncate} {
		m := start(t, func(c *msid.Config) {
			c.Rules = []trouble.Rule{{Kind: kind, Op: msid.OpCode, Commit: true, Times: 1}}
		})
		code := m.code()
		m.lose(codeForm(code))
		if _, body := m.token(codeForm(code), nil); number(t, body) != 54005 {
			t.Errorf("%s: %v", kind, body)
		}
		c := m.Codes(owner)[0]
		if c.TokensIssued != 1 || c.Sends[0].Delivered || c.SentAfterTokens() {
			t.Errorf("%s: ledger %+v", kind, c)
		}
	}
}

// lose posts to the token endpoint and does not mind what happens.
func (m *microsoft) lose(form url.Values) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.url+"/organizations/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, err := m.client.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

func TestTroubleBeforeTheCommitLeavesTheCodeAlive(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) {
		c.Rules = []trouble.Rule{{Kind: trouble.Reset, Op: msid.OpCode, Times: 1}, {Kind: trouble.Throttled, Op: msid.OpCode, Times: 1, RetryAfter: "3"}}
	})
	code := m.code()
	m.lose(codeForm(code))
	resp, body := m.do(http.MethodPost, "/organizations/oauth2/v2.0/token", codeForm(code))
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "3" || strings.HasPrefix(body, "{") {
		t.Errorf("429: %d %q", resp.StatusCode, body)
	}
	if status, body := m.token(codeForm(code), nil); status != http.StatusOK {
		t.Errorf("third send: %v", body)
	}
	var outcomes []string
	for _, s := range m.Codes(owner)[0].Sends {
		outcomes = append(outcomes, s.Outcome)
	}
	if got := strings.Join(outcomes, " "); got != "reset throttled tokens" {
		t.Errorf("sends: %s", got)
	}
}

func TestAGoodAnswerCanBeBent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		rule  trouble.Rule
		field string
		want  any
	}{
		{"no refresh token", msid.MissingRefreshToken(), "refresh_token", nil},
		{"fewer scopes", msid.GrantedScope("User.Read"), "scope", "User.Read"},
		{"expires_in as a string", msid.ExpiresIn(`"3599"`), "expires_in", "3599"},
		{"expires_in as a fraction", msid.ExpiresIn(`3599.5`), "expires_in", 3599.5},
		{"no expires_in", trouble.Rule{Kind: trouble.Bend, Drop: []string{"expires_in"}}, "expires_in", nil},
		{"other token type", trouble.Rule{Kind: trouble.Bend, Set: map[string]json.RawMessage{"token_type": json.RawMessage(`"mac"`)}}, "token_type", "mac"},
		{"no id_token", trouble.Rule{Kind: trouble.Bend, Drop: []string{"id_token"}}, "id_token", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *msid.Config) { c.Rules = []trouble.Rule{tt.rule} })
			status, body := m.token(codeForm(m.code()), nil)
			if status != http.StatusOK || body[tt.field] != tt.want {
				t.Errorf("%d, %s = %v, want %v", status, tt.field, body[tt.field], tt.want)
			}
			text(t, body, "access_token")
		})
	}
}

func TestASpoiltIDTokenDoesNotVerify(t *testing.T) {
	t.Parallel()
	tests := map[string]trouble.Rule{
		"failed to verify": {Kind: msid.KindSignature, Value: msid.FlawBroken},
		"malformed":        {Kind: msid.KindSignature, Value: msid.FlawNone},
		"unsupported":      {Kind: msid.KindSignature, Value: msid.FlawHS256},
		"unknown key":      {Kind: msid.KindSignature, Value: msid.FlawUnknownKey},
		"audience":         msid.Claim("aud", "someone-else"),
		"issuer":           msid.Claim("iss", "https://evil.example"),
		"expired":          {Kind: msid.KindClaims, Set: map[string]json.RawMessage{"exp": json.RawMessage("1000")}},
	}
	for name, rule := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *msid.Config) { c.Rules = []trouble.Rule{rule} })
			_, body := m.token(codeForm(m.code()), nil)
			if _, err := m.verifier(t.Context()).Verify(t.Context(), text(t, body, "id_token")); err == nil {
				t.Error("verified")
			}
		})
	}
}

func TestClaimsCanBeReplacedOrMissing(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) {
		c.Rules = []trouble.Rule{{Kind: msid.KindClaims, Drop: []string{"oid"}, Set: map[string]json.RawMessage{"nonce": json.RawMessage(`"other"`)}}}
	})
	_, body := m.token(codeForm(m.code()), nil)
	if claims := m.verify(text(t, body, "id_token")); claims["nonce"] != "other" || claims["oid"] != nil || claims["sub"] == nil {
		t.Errorf("claims: %v", claims)
	}
}

func TestRS256IsTheDefaultAndKeysRotate(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.SigningAlg = "" })
	_, body := m.token(codeForm(m.code()), nil)
	old := text(t, body, "id_token")
	if claims := m.verify(old); claims["aud"] != clientID {
		t.Errorf("claims: %v", claims)
	}
	m.RotateKeys(false)
	_, body = m.token(codeForm(m.code()), nil)
	m.verify(text(t, body, "id_token"))
	m.verify(old)
	m.RotateKeys(true)
	if _, err := m.verifier(t.Context()).Verify(t.Context(), old); err == nil {
		t.Error("verified by a forgotten key")
	}
}

func TestRefreshTokensLiveAsTheSwitchHasIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode string
		next bool // a new token comes
		old  int  // AADSTS number for the old one, 0 if alive
	}{{"", true, 0}, {"keep", true, 0}, {"single_use", true, 70000}, {"same", false, 0}}
	for _, tt := range tests {
		t.Run("mode "+tt.mode, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *msid.Config) { c.Switches.Refresh = tt.mode })
			_, body := m.token(codeForm(m.code()), nil)
			old := text(t, body, "refresh_token")
			_, renewed := m.token(refreshForm(old), nil)
			if next, ok := renewed["refresh_token"].(string); ok != tt.next || next == old {
				t.Errorf("renewed: %v", renewed)
			}
			m.graph(text(t, renewed, "access_token"), "", http.StatusOK)
			status, again := m.token(refreshForm(old), nil)
			if tt.old == 0 && status != http.StatusOK || tt.old != 0 && number(t, again) != tt.old {
				t.Errorf("old token: %d %v", status, again)
			}
			if got := len(m.Account(owner).Refreshes); got != 2 {
				t.Errorf("%d refreshes in the ledger", got)
			}
		})
	}
}

func TestARevokedGrantRefusesRefreshAndGraph(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	_, body := m.token(codeForm(m.code()), nil)
	access := text(t, body, "access_token")
	if address, alive := m.Owner(access); address != owner || !alive {
		t.Errorf("owner %q, %v", address, alive)
	}
	if n := m.EndGrants(strings.ToUpper(owner), 50173); n != 1 {
		t.Errorf("%d grants ended", n)
	}
	if _, body := m.token(refreshForm(text(t, body, "refresh_token")), nil); number(t, body) != 50173 || body["suberror"] != "bad_token" {
		t.Errorf("refresh: %v", body)
	}
	m.graph(access, "", http.StatusUnauthorized)
	if _, alive := m.Owner(access); alive {
		t.Error("still alive")
	}
}

func TestTokensComeOnlyWithTheirScopes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		scope            string
		offline, openid  bool
		granted          string
		prefixIgnored    bool
		meStatus, answer int
	}{
		{scope: "offline_access Mail.Send", offline: true, granted: "Mail.Send", meStatus: 403},
		{scope: "User.Read", granted: "User.Read", meStatus: 200},
		{scope: "https://graph.microsoft.com/offline_access User.Read", offline: true, granted: "User.Read", meStatus: 200},
		{scope: "https://graph.microsoft.com/offline_access User.Read", prefixIgnored: true, granted: "User.Read", meStatus: 200},
		{scope: "offline_access https://graph.microsoft.com/.default", offline: true, granted: "Mail.Read Mail.Send User.Read", meStatus: 200},
		{scope: "openid https://graph.microsoft.com/user.read", openid: true, granted: "openid user.read", meStatus: 200},
	}
	for _, tt := range tests {
		t.Run(tt.scope, func(t *testing.T) {
			t.Parallel()
			m := start(t, func(c *msid.Config) { c.Switches.NoPrefixedOffline = tt.prefixIgnored })
			code := m.consent(owner, "accept", url.Values{"scope": {tt.scope}}).Get("code")
			_, body := m.token(codeForm(code), nil)
			if _, ok := body["refresh_token"]; ok != tt.offline {
				t.Errorf("refresh token: %v", ok)
			}
			if _, ok := body["id_token"]; ok != tt.openid {
				t.Errorf("id_token: %v", ok)
			}
			if body["scope"] != tt.granted {
				t.Errorf("scope %q, want %q", body["scope"], tt.granted)
			}
			m.graph(text(t, body, "access_token"), "", tt.meStatus)
		})
	}
}
