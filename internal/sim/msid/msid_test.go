package msid_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"kindling/internal/sim/msid"
)

const (
	clientID = "0c01ed67-b2ed-4b4b-93d2-c3e9ebd5f111"
	secret   = "first-secret"
	redirect = "http://127.0.0.1:8080/oauth-callback/main"
	scope    = "openid profile email offline_access User.Read Mail.Send Mail.ReadWrite"
	verifier = "0123456789012345678901234567890123456789012"
	owner    = "ann@contoso.example"
)

// microsoft is a server under test with the moves of a client.
type microsoft struct {
	*msid.Server
	t      *testing.T
	url    string
	client *http.Client
}

func start(t *testing.T, change func(*msid.Config)) *microsoft {
	t.Helper()
	cfg := msid.Config{
		SigningAlg: msid.ES256, Seed: 1,
		Apps: []msid.App{{
			ClientID: clientID, Secrets: []string{secret, "second-secret"}, ExpiredSecrets: []string{"old-secret"},
			RedirectURIs: []string{redirect, redirect + "/other"},
		}},
	}
	if change != nil {
		change(&cfg)
	}
	s := msid.New(cfg)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &microsoft{Server: s, t: t, url: server.URL, client: client}
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func query(change url.Values) url.Values {
	q := url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {scope}, "state": {"st&te"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"}, "nonce": {"n0nce"}, "login_hint": {owner},
	}
	for name, values := range change {
		q[name] = values
		if len(values) == 0 {
			q.Del(name)
		}
	}
	return q
}

// do sends a request and returns the answer with its body read.
func (m *microsoft) do(method, path string, form url.Values) (*http.Response, string) {
	m.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, body)
	if err != nil {
		m.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := m.client.Do(req)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, string(text)
}

// consent submits the consent form and returns what comes back to the redirect URI.
func (m *microsoft) consent(address, action string, change url.Values) url.Values {
	m.t.Helper()
	resp, body := m.do(http.MethodPost, "/organizations/oauth2/v2.0/authorize?"+query(change).Encode(), url.Values{"address": {address}, "action": {action}})
	if resp.StatusCode != http.StatusSeeOther {
		m.t.Fatalf("consent: status %d: %s", resp.StatusCode, body)
	}
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), redirect+"?") {
		m.t.Fatalf("consent leads to %q (%v)", to, err)
	}
	return to.Query()
}

func (m *microsoft) code() string {
	m.t.Helper()
	return m.consent(owner, "accept", nil).Get("code")
}

// token posts to the token endpoint and decodes the answer.
func (m *microsoft) token(form, change url.Values) (int, map[string]any) {
	m.t.Helper()
	maps.Copy(form, change)
	resp, body := m.do(http.MethodPost, "/organizations/oauth2/v2.0/token", form)
	var out map[string]any
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		m.t.Fatalf("token answer %q: %v", body, err)
	}
	return resp.StatusCode, out
}

func codeForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientID}, "client_secret": {secret},
		"code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "client_secret": {secret}, "refresh_token": {token}}
}

func text(t *testing.T, body map[string]any, name string) string {
	t.Helper()
	s, ok := body[name].(string)
	if !ok {
		t.Fatalf("%s is missing or no text in %v", name, body)
	}
	return s
}

// number returns the AADSTS number of an error body.
func number(t *testing.T, body map[string]any) int {
	t.Helper()
	codes, ok := body["error_codes"].([]any)
	if !ok || len(codes) != 1 {
		t.Fatalf("error_codes in %v", body)
	}
	n, ok := codes[0].(float64)
	if !ok {
		t.Fatalf("error_codes in %v", body)
	}
	return int(n)
}

func TestAConsentBecomesTokensThatGraphAccepts(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	back := m.consent(owner, "accept", nil)
	if back.Get("state") != "st&te" || back.Get("session_state") == "" {
		t.Fatalf("callback parameters: %v", back)
	}
	status, body := m.token(codeForm(back.Get("code")), nil)
	if status != http.StatusOK {
		t.Fatalf("token: %d %v", status, body)
	}
	if got, want := text(t, body, "scope"), "Mail.ReadWrite Mail.Send User.Read email openid profile"; got != want {
		t.Errorf("scope = %q, want %q", got, want)
	}
	text(t, body, "refresh_token")
	me := m.graph(text(t, body, "access_token"), "?$select=id,mail,userPrincipalName,proxyAddresses", http.StatusOK)
	if me["mail"] != owner || me["id"] != msid.ObjectOf(owner) || me["displayName"] != nil {
		t.Errorf("me = %v", me)
	}
	claims := m.verify(text(t, body, "id_token"))
	if claims["nonce"] != "n0nce" || claims["oid"] != msid.ObjectOf(owner) || claims["tid"] != msid.TenantOf("contoso.example") {
		t.Errorf("claims = %v", claims)
	}
}

func (m *microsoft) graph(bearer, query string, want int) map[string]any {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.url+"/v1.0/me"+query, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := m.client.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != want {
		m.t.Fatalf("me: status %d, want %d (%v)", resp.StatusCode, want, err)
	}
	return out
}

// verify checks the id_token with an independent library, through discovery.
func (m *microsoft) verify(raw string) map[string]any {
	m.t.Helper()
	ctx := oidc.ClientContext(m.t.Context(), m.client)
	token, err := m.verifier(ctx).Verify(ctx, raw)
	if err != nil {
		m.t.Fatalf("id_token: %v", err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		m.t.Fatal(err)
	}
	return claims
}

func (m *microsoft) verifier(ctx context.Context) *oidc.IDTokenVerifier {
	m.t.Helper()
	provider, err := oidc.NewProvider(ctx, m.url+"/"+msid.TenantOf("contoso.example")+"/v2.0")
	if err != nil {
		m.t.Fatal(err)
	}
	return provider.Verifier(&oidc.Config{ClientID: clientID})
}

func TestTheLedgerKnowsEverySendOfACode(t *testing.T) {
	t.Parallel()
	m := start(t, func(c *msid.Config) { c.Switches.RevokeOnReplay = true })
	code := m.code()
	_, body := m.token(codeForm(code), nil)
	status, again := m.token(codeForm(code), nil)
	if status != http.StatusBadRequest || number(t, again) != 54005 || again["error"] != "invalid_grant" {
		t.Fatalf("second send: %d %v", status, again)
	}
	codes := m.Codes(owner)
	if len(codes) != 1 || len(codes[0].Sends) != 2 || !codes[0].SentAfterTokens() || !codes[0].RevokedByReplay {
		t.Errorf("ledger: %+v", codes)
	}
	if _, after := m.token(refreshForm(text(t, body, "refresh_token")), nil); number(t, after) != 70000 {
		t.Errorf("refresh after the replay: %v", after)
	}
	if got := m.Summary(); got.Redeemed != 1 || got.SentTwice != 1 || got.SentAfterTokens != 1 || got.RevokedByReplay != 1 {
		t.Errorf("summary: %+v", got)
	}
}
