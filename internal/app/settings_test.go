package app

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"kindling/internal/callback"
	"kindling/internal/config"
	"kindling/internal/microsoft"
)

// An address that could be set from outside would receive client secrets: there are four clouds and no other.
func TestTheCloudsOfTheConfigurationAreTheClosedListOfMicrosofts(t *testing.T) {
	t.Parallel()
	for cloud, want := range map[string][2]string{
		"public":    {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
		"usgov":     {"https://login.microsoftonline.us", "https://graph.microsoft.us"},
		"usgov-dod": {"https://login.microsoftonline.us", "https://dod-graph.microsoft.us"},
		"china":     {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"},
	} {
		cfg, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf("apps: [{name: main, cloud: %s}]\n", cloud))})
		if err != nil {
			t.Fatal(err)
		}
		app, err := MicrosoftApp(cfg.Apps[0])
		if err != nil || app.LoginURL != want[0] || app.GraphURL != want[1] {
			t.Errorf("%s: %s and %s, %v", cloud, app.LoginURL, app.GraphURL, err)
		}
	}
	for _, other := range []string{"germany", "https://login.example", "PUBLIC", "usgov "} {
		if _, _, err := microsoft.Cloud(other); err == nil {
			t.Errorf("cloud %q has an address", other)
		}
		_, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf("apps: [{name: main, cloud: %q}]\n", other))})
		if err == nil || !strings.Contains(err.Error(), "is not one of public, usgov, usgov-dod, china") {
			t.Errorf("cloud %q: %v", other, err)
		}
	}
	_, err := config.Load(config.Source{File: yaml(t, "apps: [{name: main, authority: \"https://a.example\", graph_url: \"https://b.example\"}]\n")})
	for _, key := range []string{"authority", "graph_url"} {
		if err == nil || !strings.Contains(err.Error(), "apps.main."+key+" = ") || !strings.Contains(err.Error(), "apps.main.allow_custom_authority: true") {
			t.Errorf("%s is not refused with its remedy: %v", key, err)
		}
	}
}

func TestAnAppOfAnotherProviderLeadsThere(t *testing.T) {
	t.Parallel()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = provider.Shutdown() }()
	cfg, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf("apps: [{name: main, client_id: Connector, issuer: %q, allow_custom_authority: true}, {name: other}]\n", provider.Issuer()))})
	if err != nil {
		t.Fatal(err)
	}
	apps, err := edgeApps(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	link := apps["main"].AuthorizeURL(callback.AuthorizeParams{ResponseMode: "form_post", Tenant: "contoso.example"})
	if !strings.HasPrefix(link, provider.AuthorizationEndpoint()+"?") || !strings.Contains(link, "client_id=Connector&") || strings.Contains(link, "Mail.Send") || strings.Contains(link, "response_mode") {
		t.Errorf("owners go to %s", link)
	}
	if a := apps["main"]; a.Issuer != provider.Issuer() || !strings.HasPrefix(provider.Issuer(), a.LoginOrigin+"/") || a.AdminConsentURL != nil {
		t.Errorf("the edge knows %+v", a)
	}
	if a := apps["other"]; a.Issuer != "" || a.LoginOrigin != "https://login.microsoftonline.com" || a.AdminConsentURL == nil {
		t.Errorf("the other app is %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg.Apps[0].Issuer = "http://127.0.0.1:1"
	if _, err := edgeApps(ctx, cfg); err == nil || !strings.Contains(err.Error(), "apps.main.issuer: nobody answers") {
		t.Errorf("nobody there: %v", err)
	}
}
