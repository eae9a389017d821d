package microsoft_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

func publicApp(scopes ...string) microsoft.App {
	login, graph, _ := microsoft.Cloud("public")
	return microsoft.App{
		Name: "main", Cloud: "public", Tenant: "organizations", ClientID: clientID,
		RedirectURI: "https://connect.example/oauth-callback/main", Scopes: scopes, LoginURL: login, GraphURL: graph,
	}
}

func TestTheAuthorizeURLCarriesAllThatAnAttemptNeeds(t *testing.T) {
	t.Parallel()
	app := publicApp("openid", "https://graph.microsoft.com/offline_access", "User.Read", "user.read", "https://graph.microsoft.com/Mail.Send")
	challenge := sha256.Sum256([]byte("verifier"))
	link, err := url.Parse(app.AuthorizeURL(microsoft.AuthorizeParams{
		State: secret.New("the-state"), Nonce: secret.New("the-nonce"), Verifier: secret.New("verifier"),
		LoginHint: address, Prompt: "select_account", ResponseMode: "form_post",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := link.Scheme + "://" + link.Host + link.Path; got != "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize" {
		t.Errorf("address = %s", got)
	}
	want := url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "redirect_uri": {app.RedirectURI},
		"scope": {"openid offline_access profile User.Read https://graph.microsoft.com/Mail.Send"},
		"state": {"the-state"}, "nonce": {"the-nonce"}, "login_hint": {address}, "prompt": {"select_account"}, "response_mode": {"form_post"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	if diff := cmp.Diff(want, link.Query()); diff != "" {
		t.Error(diff)
	}
}

func TestAnAuthorizeURLLeavesOutWhatIsEmptyAndTakesTheRowsTenant(t *testing.T) {
	t.Parallel()
	link, err := url.Parse(publicApp().AuthorizeURL(microsoft.AuthorizeParams{Tenant: "contoso.example"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"prompt", "login_hint", "response_mode", "nonce"} {
		if link.Query().Has(key) {
			t.Errorf("has an empty %s", key)
		}
	}
	if link.Path != "/contoso.example/oauth2/v2.0/authorize" {
		t.Errorf("path = %s", link.Path)
	}
}

func TestScopesAreNormalised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cloud  string
		scopes []string
		want   string
	}{
		"offline_access is always asked for": {"public", []string{"User.Read"}, "offline_access User.Read"},
		"default drops named permissions":    {"public", []string{"offline_access", "https://graph.microsoft.com/.default", "Mail.Read"}, "offline_access https://graph.microsoft.com/.default"},
		"prefixed OIDC scopes become bare":   {"public", []string{"https://graph.microsoft.com/openid", "Mail.Send"}, "openid profile offline_access Mail.Send"},
		"whatever their prefix":              {"public", []string{"https://outlook.office.com/Offline_Access", "HTTPS://GRAPH.microsoft.com//OpenID", "Mail.Send"}, "offline_access openid profile Mail.Send"},
		"by Graph's id":                      {"public", []string{"00000003-0000-0000-c000-000000000000/offline_access", "OFFLINE_ACCESS", "Mail.Send"}, "offline_access Mail.Send"},
		"another resource stays":             {"public", []string{"https://outlook.office.com/SMTP.Send"}, "offline_access https://outlook.office.com/SMTP.Send"},
		"a national cloud is spelled out":    {"usgov", []string{"Mail.Send"}, "offline_access https://graph.microsoft.us/Mail.Send"},
		"blanks and doubles go":              {"public", []string{" Mail.Send", "", "mail.send"}, "offline_access Mail.Send"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := publicApp(c.scopes...)
			app.Cloud = c.cloud
			app.LoginURL, app.GraphURL, _ = microsoft.Cloud(c.cloud)
			link, err := url.Parse(app.AuthorizeURL(microsoft.AuthorizeParams{}))
			if err != nil {
				t.Fatal(err)
			}
			if got := link.Query().Get("scope"); got != c.want {
				t.Errorf("scope = %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheAdminConsentURLNeverUsesCommon(t *testing.T) {
	t.Parallel()
	for tenant, want := range map[string]string{
		"common": "/organizations/v2.0/adminconsent", "": "/organizations/v2.0/adminconsent", tenantID: "/" + tenantID + "/v2.0/adminconsent",
	} {
		link, err := url.Parse(publicApp("openid", "Mail.Send").AdminConsentURL(tenant, "https://connect.example/admin", secret.New("s")))
		if err != nil {
			t.Fatal(err)
		}
		wantQuery := url.Values{"client_id": {clientID}, "scope": {"Mail.Send"}, "redirect_uri": {"https://connect.example/admin"}, "state": {"s"}}
		if diff := cmp.Diff(wantQuery, link.Query()); diff != "" || link.Path != want {
			t.Errorf("tenant %q: path %s, query %s", tenant, link.Path, diff)
		}
	}
}

func TestOnlyTheListedCloudsExist(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"public": "https://login.microsoftonline.com https://graph.microsoft.com", "usgov": "https://login.microsoftonline.us https://graph.microsoft.us",
		"usgov-dod": "https://login.microsoftonline.us https://dod-graph.microsoft.us",
		"china":     "https://login.partner.microsoftonline.cn https://microsoftgraph.chinacloudapi.cn",
	} {
		login, graph, err := microsoft.Cloud(name)
		if err != nil || login+" "+graph != want {
			t.Errorf("Cloud(%s) = %s %s, %v", name, login, graph, err)
		}
	}
	if _, _, err := microsoft.Cloud("https://evil.example"); err == nil {
		t.Error("a free address was taken for a cloud")
	}
}
