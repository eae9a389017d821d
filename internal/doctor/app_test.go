package doctor_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kindling/internal/config"
	"kindling/internal/doctor"
	"kindling/internal/service"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

func exit(found findings) int { return service.ExitCode(doctor.Verdict(found)) }

func TestWhereAllIsRightNothingFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	found := r.examine()
	found.only(t, doctor.Fail)
	found.only(t, doctor.Warn, "apps.main.allow_custom_authority", "accounts.main.allow_custom_host", r.public)
	found.only(t, doctor.Skipped, string(r.doctor.Data))
	found.want(t, doctor.OK, "configuration", "up")
	found.want(t, doctor.OK, "keys", "codes.pub.json")
	found.want(t, doctor.OK, "app", "main client secret", "Microsoft accepts it")
	found.want(t, doctor.OK, "app", "main tenant", "no personal ones")
	found.want(t, doctor.OK, "app", "main redirect URI", r.public+"/oauth-callback/main must stand so")
	found.want(t, doctor.OK, "clock", strings.TrimPrefix(r.login, "http://"))
	found.want(t, doctor.OK, "edge", r.public, "the edge answers")
	found.want(t, doctor.OK, "edge", r.public+"/oauth-callback/main")
	found.want(t, doctor.OK, "account", "main")
	found.want(t, doctor.OK, "account", "main tariff plan")
	if exit(found) != service.ExitOK {
		t.Errorf("exit %d", exit(found))
	}
	if plans := r.warmy.Summary().Calls["plans"]; len(plans) != 1 {
		t.Errorf("calls at Warmy: %v", plans)
	}
	if n := r.microsoft.Summary().Calls[msid.OpCode]; n["AADSTS9002313"] != 1 || n["AADSTS7000215"] != 1 || len(n) != 2 {
		t.Errorf("calls of the token endpoint: %v", n)
	}
}

func TestAnAppsFaultIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*msid.Config)
		secrets []string
		app     string
		subject string
		words   []string
	}{
		{"wrong secret", nil, []string{"wrong-" + canary}, "", "main client secret", []string{"the client secret is wrong", "AADSTS7000215"}},
		{"expired secret", nil, []string{"old-" + canary}, "", "main client secret", []string{"expired", "AADSTS7000222"}},
		{"no secret fits", nil, []string{"wrong-" + canary, "old-" + canary}, "", "main client secret 2 of 2", []string{"expired", "AADSTS7000222"}},
		{"disabled app", func(c *msid.Config) { c.Apps[0].Disabled = true }, nil, "", "main", []string{"disabled", "AADSTS7000112"}},
		{"unknown app", func(c *msid.Config) { c.Apps = nil }, nil, "", "main", []string{"not known in this directory", "AADSTS700016", "client_id"}},
		{"app of another tenant", func(c *msid.Config) { c.Apps[0].Tenant = "other.example" }, nil, "    tenant: contoso.example", "main", []string{"AADSTS700016"}},
		{"single-tenant app at a shared address", func(c *msid.Config) { c.Apps[0].Tenant = "contoso.example" }, nil, "", "main", []string{"AADSTS50194", "multi-tenant"}},
		{"absent tenant", nil, nil, "    tenant: " + absentTenant, "main tenant", []string{"does not exist", "AADSTS90002"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tt.change)
			r.app = tt.app
			if tt.secrets != nil {
				r.secrets = tt.secrets
			}
			found := r.examine()
			found.want(t, doctor.Fail, "app", tt.subject, tt.words...)
			found.only(t, doctor.Fail, tt.subject, "main client secret 1 of 2")
			if exit(found) != service.ExitConfig {
				t.Errorf("exit %d\n%s", exit(found), found)
			}
		})
	}
}

func TestAnOldSecretInTheListIsSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.secrets = []string{"old-" + canary, "good-" + canary, "next-" + canary}
	found := r.examine()
	found.want(t, doctor.Warn, "app", "main client secret 1 of 3", "expired", "AADSTS7000222", "take it out")
	found.want(t, doctor.OK, "app", "main client secret 2 of 3")
	found.want(t, doctor.OK, "app", "main client secret 3 of 3")
	found.only(t, doctor.Fail)
	if n := r.microsoft.Summary().Calls[msid.OpCode]; n["AADSTS9002313"] != 2 || n["AADSTS7000222"] != 1 || len(n) != 2 {
		t.Errorf("calls of the token endpoint: %v", n)
	}
}

func TestASecretThatCannotBeJudgedIsNotCalledRight(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := r.microsoft.Fault(msid.Refusal(msid.OpCode, 9002313)); err != nil { // to whatever secret
		t.Fatal(err)
	}
	found := r.examine()
	found.want(t, doctor.Warn, "app", "main client secret", "made-up secret pass", "one mailbox")
	found.only(t, doctor.Fail)
}

func TestASingleTenantRegistrationIsATrapAtWarmy(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *msid.Config) { c.Apps[0].Tenant = "contoso.example" })
	r.app = "    tenant: contoso.example"
	found := r.examine()
	found.want(t, doctor.OK, "app", "main tenant", "contoso.example exists", msid.TenantOf("contoso.example"))
	found.want(t, doctor.OK, "app", "main client secret")
	found.want(t, doctor.Warn, "app", "main multi-tenant", "AADSTS50194", "inference", "any organizational directory")
	found.only(t, doctor.Fail)

	r = newRig(t, nil)
	r.app = "    tenant: " + tenantID
	r.examine().want(t, doctor.OK, "app", "main multi-tenant", "organizations")
	r = newRig(t, nil)
	r.app = "    tenant: consumers"
	found = r.examine()
	found.want(t, doctor.OK, "app", "main multi-tenant", "common")
	found.want(t, doctor.OK, "app", "main tenant", "personal accounts only")
}

func TestSettingsThatMicrosoftAcceptsAndOwnersRegretAreWarnings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		app, area, subject string
		words              []string
	}{
		{"    tenant: common", "app", "main tenant", []string{"personal accounts can consent"}},
		{"    cloud: usgov", "app", "main cloud", []string{"usgov", "inference"}},
		{"    scopes: [openid, profile, offline_access, User.Read]", "configuration", "apps.main.scopes", []string{"lacks one of", "Mail.Send"}},
		{"    scopes: [openid, profile, offline_access, https://graph.microsoft.com/.default]", "configuration", "apps.main.scopes", []string{".default", "name the permissions"}},
		{"    scopes: [openid, profile, https://graph.microsoft.com/offline_access, User.Read, Mail.Send, Mail.Read]", "app", "main scopes", []string{"spelled with a resource"}},
	} {
		r := newRig(t, nil)
		r.app = tt.app
		found := r.examine()
		found.want(t, doctor.Warn, tt.area, tt.subject, tt.words...)
		found.only(t, doctor.Fail)
	}
}

func TestAnAppThatDoesNotAnswerLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.app = `
  - name: second
    client_id: ` + clientID + `
    client_secret_file: ` + r.file("second", "good-"+canary) + `
    authority: http://127.0.0.1:1
    graph_url: http://127.0.0.1:1
    allow_custom_authority: true
`
	r.more = "" // two apps: campaigns name theirs
	found := r.examine()
	found.want(t, doctor.OK, "app", "main client secret")
	found.want(t, doctor.Fail, "app", "second tenant", "127.0.0.1:1", "no connection")
	found.want(t, doctor.Skipped, "app", "second client secret", "not sent")
	found.want(t, doctor.Fail, "edge", r.public+"/oauth-callback/second", "does not know the app second")
	if exit(found) != service.ExitFailed { // one of each kind
		t.Errorf("exit %d", exit(found))
	}
	r = newRig(t, nil)
	r.login = "http://127.0.0.1:1"
	r.edge = r.realEdge("main", r.login)
	found = r.examine()
	found.want(t, doctor.Skipped, "clock", "")
	if exit(found) != service.ExitUnavailable {
		t.Errorf("exit %d\n%s", exit(found), found)
	}
}

func TestATroubledMicrosoftIsUnreachable(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := r.microsoft.Fault(trouble.Rule{Kind: trouble.ServerError, Op: msid.OpCode}); err != nil {
		t.Fatal(err)
	}
	found := r.examine()
	found.want(t, doctor.Fail, "app", "main client secret", "passing fault")
	if exit(found) != service.ExitUnavailable {
		t.Errorf("exit %d", exit(found))
	}
}

func TestWhoIsNotMicrosoftIsToldNoSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	var told strings.Builder
	r.login = r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(&told, req.Body)
		told.WriteString(req.URL.String())
		_, _ = io.WriteString(w, "<html>a web site "+canary)
	}))
	r.edge = r.realEdge("main", r.login)
	found := r.examine()
	found.want(t, doctor.Fail, "app", "main tenant", "not Microsoft's token service")
	found.want(t, doctor.Skipped, "app", "main client secret", "not sent")
	if told.Len() == 0 || strings.Contains(told.String(), canary) {
		t.Errorf("it was told %q", told.String())
	}
	if exit(found) != service.ExitConfig {
		t.Errorf("exit %d\n%s", exit(found), found)
	}
}

func TestAClockThatIsOffIsFound(t *testing.T) {
	t.Parallel()
	for by, status := range map[time.Duration]doctor.Status{
		-time.Hour: doctor.Fail, -45 * time.Second: doctor.Warn, 45 * time.Second: doctor.Warn, time.Hour: doctor.Fail,
	} {
		r := newRig(t, nil)
		r.doctor.Now = func() time.Time { return time.Now().Add(by) }
		found := r.examine()
		words := "ahead"
		if by < 0 {
			words = "behind"
		}
		found.want(t, status, "clock", strings.TrimPrefix(r.login, "http://"), words, "NTP")
		if want := map[doctor.Status]int{doctor.Fail: service.ExitFailed, doctor.Warn: service.ExitOK}[status]; exit(found) != want {
			t.Errorf("%s: exit %d", by, exit(found))
		}
	}
}

// detour sends what is meant for Microsoft's own login to the simulator.
type detour struct{ to string }

func (d detour) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "login.") {
		to, err := url.Parse(d.to)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.URL.Scheme, req.URL.Host = to.Scheme, to.Host
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
}

func TestATenantOfAnotherCloudIsFound(t *testing.T) {
	t.Parallel()
	for cloud, status := range map[string]doctor.Status{"public": doctor.OK, "usgov": doctor.Fail} {
		r := newRig(t, nil)
		r.doctor.Transport = detour{r.login}
		r.doctor.Load = func() (config.Config, error) {
			cfg, err := r.load()
			cfg.Apps[0].Authority, cfg.Apps[0].GraphURL, cfg.Apps[0].Cloud = "", "", cloud
			return cfg, err
		}
		found := r.examine()
		found.want(t, status, "app", "main tenant")
		if status == doctor.Fail {
			found.want(t, status, "app", "main tenant", "the cloud public, and the app's cloud is usgov")
			found.want(t, doctor.Skipped, "app", "main client secret")
		}
	}
}

func TestAProcessWithoutSecretsTriesNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.doctor.Role, r.doctor.Process = config.Edge, "edge"
	found := r.examine()
	found.want(t, doctor.Skipped, "app", "main client secret", "token-worker")
	found.want(t, doctor.Skipped, "account", "main", "warmy-worker")
	found.want(t, doctor.OK, "app", "main tenant")
	found.want(t, doctor.OK, "clock", strings.TrimPrefix(r.login, "http://"))
	found.want(t, doctor.Warn, "keys", "codes.json", "does not need")
	found.want(t, doctor.Warn, "keys", "grants.json", "remove it")
	found.want(t, doctor.OK, "keys", "cookies.json")
	found.want(t, doctor.Fail, "configuration", "nats.url", "is missing")
	found.only(t, doctor.Fail, "nats.url")
	if n := r.microsoft.Summary().Calls[msid.OpCode]; len(n) != 0 {
		t.Errorf("calls of the token endpoint: %v", n)
	}
}
