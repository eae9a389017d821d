package microsoft_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"
	"golang.org/x/oauth2"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

// owner is an account at another provider than Microsoft.
type owner struct {
	mockoidc.MockUser

	verified any // email_verified in the answer; nil: not said
}

// Userinfo is the provider's word on the account.
func (o *owner) Userinfo([]string) ([]byte, error) {
	info := map[string]any{"sub": o.Subject, "email": o.Email}
	if o.verified != nil {
		info["email_verified"] = o.verified
	}
	return json.Marshal(info)
}

// standIn is somebody else's OpenID provider, and an app that knows it by its discovery document alone.
type standIn struct {
	*mockoidc.MockOIDC

	app    microsoft.App
	client *microsoft.Client
}

func newStandIn(t *testing.T) standIn {
	t.Helper()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	found, err := microsoft.Discover(t.Context(), nil, provider.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	app := microsoft.App{
		Name: "main", Tenant: "organizations", ClientID: provider.ClientID, Secrets: []secret.Text{secret.New(provider.ClientSecret)},
		RedirectURI: "https://connect.example/oauth-callback/main", Scopes: []string{"openid", "groups"}, OpenID: found,
	}
	return standIn{provider, app, microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Timeout: patience})}
}

// consent lets the owner sign in, and returns what the edge would publish.
func (s standIn) consent(t *testing.T, o *owner) mailbox.Consent {
	t.Helper()
	s.QueueUser(o)
	c := mailbox.Consent{Nonce: secret.New(nonce), Verifier: secret.New(oauth2.GenerateVerifier()), RedirectURI: s.app.RedirectURI, Tenant: "contoso.example"}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	link := s.app.AuthorizeURL(microsoft.AuthorizeParams{
		State: secret.New("state"), Nonce: c.Nonce, Verifier: c.Verifier, LoginHint: address, Prompt: "select_account", ResponseMode: "form_post",
	})
	resp, err := browser.Get(strings.Replace(link, "offline_access+", "", 1)) // this provider gives refresh tokens unasked, and refuses to be asked
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("state") != "state" {
		t.Fatalf("status %d, to %v: %v", resp.StatusCode, back, err)
	}
	c.Code = secret.New(back.Query().Get("code"))
	return c
}

func jane(verified any) *owner {
	return &owner{mockoidc.MockUser{Subject: "jane", Email: strings.ToUpper(address[:1]) + address[1:]}, verified}
}

func TestAnOpenIDProviderStandsInForMicrosoft(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	consent := s.consent(t, jane(true))
	tokens, err := s.client.Redeem(t.Context(), "main", consent)
	if err != nil {
		t.Fatal(err)
	}
	if want := "openid profile email offline_access groups"; strings.Join(tokens.Scope, " ") != want {
		t.Errorf("granted %q, want what was asked for, %q", tokens.Scope, want)
	}
	proof, err := s.client.Prove(t.Context(), "main", tokens, address)
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Whose != proof {
		t.Errorf("before the proof they are %+v's", tokens.Whose)
	}
	if len(proof.TenantID) != 36 || len(proof.ObjectID) != 36 || proof.TenantID == proof.ObjectID {
		t.Errorf("proof %+v, want two GUIDs", proof)
	}
	if _, err := s.client.Redeem(t.Context(), "main", consent); !fault.Is(err, fault.NeedsConsent) {
		t.Errorf("the code once more: %v, want a new consent asked for", err)
	}
	renewed, err := s.client.Refresh(t.Context(), "main", tokens)
	if err != nil || renewed.Access.Empty() {
		t.Errorf("refresh: %v", err)
	}
	again, err := s.client.Redeem(t.Context(), "main", s.consent(t, jane("true")))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := s.client.Prove(t.Context(), "main", again, address); err != nil || same != proof {
		t.Errorf("the same account proves %+v later, %v; want %+v", same, err, proof)
	}
}

func TestAnotherProvidersWordIsNotEnough(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	stranger := jane(true)
	stranger.Email = "john@contoso.example"
	for name, o := range map[string]*owner{
		"someone else": stranger, "address not vouched for": jane(false), "address not spoken of": jane(nil), "vouched for in other words": jane("yes"),
	} {
		tokens, err := s.client.Redeem(t.Context(), "main", s.consent(t, o))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.client.Prove(t.Context(), "main", tokens, address)
		if f := fault.Of(err); err == nil || f.Code != handlers.CodeMismatch {
			t.Errorf("%s: %v, want a mismatch", name, err)
		}
		_, known := errors.AsType[*handlers.MismatchError](err)
		if known != (o == stranger) {
			t.Errorf("%s: the account is told: %v", name, known)
		}
	}
	tokens, err := s.client.Redeem(t.Context(), "main", s.consent(t, jane(true)))
	if err != nil {
		t.Fatal(err)
	}
	tokens.Nonce = secret.New("of another attempt")
	if _, err = s.client.Prove(t.Context(), "main", tokens, address); fault.Of(err).Code != handlers.CodeMismatch {
		t.Errorf("another attempt's nonce: %v", err)
	}
}

func TestAProbeTellsAWrongSecretOfAnotherProvider(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	prober := microsoft.Prober{Timeout: patience}
	if v := prober.Secret(t.Context(), s.app, "", s.app.Secrets[0]); v.Fault != nil {
		t.Errorf("the right secret: %v", v.Fault)
	}
	if v := prober.Control(t.Context(), s.app); v.Fault == nil || !v.Refused {
		t.Errorf("a made-up secret: %+v, want it refused", v)
	}
}

// A provider that takes the secret in the header alone, which is what the standard says when the document is silent.
func TestTheSecretGoesWhereTheDiscoveryDocumentSays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		methods []string
		header  bool
	}{
		{nil, true}, {[]string{"client_secret_basic"}, true}, {[]string{"client_secret_basic", "client_secret_post"}, false}, {[]string{"private_key_jwt"}, false},
	} {
		got := make(chan bool, 1)
		server := documented(t, func(d map[string]any) {
			if test.methods != nil {
				d["token_endpoint_auth_methods_supported"] = test.methods
			}
		}, func(w http.ResponseWriter, r *http.Request) {
			id, password, basic := r.BasicAuth()
			got <- basic && id == "a" && password == "s%3Acret" && r.PostFormValue("client_secret") == ""
			w.WriteHeader(http.StatusBadRequest)
		})
		provider, err := microsoft.Discover(t.Context(), nil, server)
		if err != nil {
			t.Fatal(err)
		}
		app := microsoft.App{Name: "main", Tenant: "organizations", ClientID: "a", Secrets: []secret.Text{secret.New("s:cret")}, OpenID: provider}
		_, err = microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Timeout: patience}).
			Redeem(t.Context(), "main", mailbox.Consent{Code: secret.New("code"), Verifier: secret.New("verifier")})
		if err == nil {
			t.Error("a refused code was redeemed")
		}
		if header := <-got; header != test.header {
			t.Errorf("%v: in the header: %v, want %v", test.methods, header, test.header)
		}
	}
}

// documented serves a discovery document, changed by edit, and a token endpoint. It returns the issuer.
func documented(t *testing.T, edit func(map[string]any), token http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	document := map[string]any{
		"issuer": server.URL, "authorization_endpoint": server.URL + "/a", "token_endpoint": server.URL + "/t",
		"jwks_uri": server.URL + "/k", "userinfo_endpoint": server.URL + "/u",
	}
	edit(document)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document)
	})
	mux.HandleFunc("/t", token)
	return server.URL
}

func TestABadDiscoveryDocumentIsRefusedInOurWords(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, test := range map[string]struct {
		edit func(map[string]any)
		want string
	}{
		"another issuer":       {func(d map[string]any) { d["issuer"] = "https://" + canary + ".example" }, "is not the discovery document of this issuer"},
		"no issuer":            {func(d map[string]any) { delete(d, "issuer") }, "is not the discovery document of this issuer"},
		"no token endpoint":    {func(d map[string]any) { delete(d, "token_endpoint") }, "names no token_endpoint"},
		"no keys":              {func(d map[string]any) { delete(d, "jwks_uri") }, "names no jwks_uri"},
		"no userinfo":          {func(d map[string]any) { d["userinfo_endpoint"] = "" }, "names no userinfo_endpoint"},
		"relative endpoint":    {func(d map[string]any) { d["authorization_endpoint"] = "/a" }, "names no authorization_endpoint"},
		"endpoint of a file":   {func(d map[string]any) { d["token_endpoint"] = "file://host/etc" }, "token_endpoint is not https"},
		"modes are no list":    {func(d map[string]any) { d["response_modes_supported"] = canary }, "cannot be read"},
		"larger than any such": {func(d map[string]any) { d["x"] = strings.Repeat("x", 1<<17) }, "is not the discovery document of this issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := microsoft.Discover(t.Context(), nil, documented(t, test.edit, http.NotFound))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	if _, err := microsoft.Discover(t.Context(), nil, gone.URL); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("nobody there: %v", err)
	}
}

// A redirect could lead the secrets to come to another host.
func TestDiscoveryFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	good := documented(t, func(map[string]any) {}, http.NotFound)
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, good+r.URL.Path, http.StatusFound)
	}))
	defer moved.Close()
	if _, err := microsoft.Discover(t.Context(), nil, moved.URL); err == nil {
		t.Error("the redirect was followed")
	}
}

func TestAwaitingAProviderEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	if _, err := microsoft.Await(ctx, nowhere.String()); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("%v, want the reason", err)
	}
}
