package doctor_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/doctor"
	"kindling/internal/seal"
	"kindling/internal/service"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

func TestEveryProblemOfTheConfigurationIsAFinding(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.more = "policy: {retry_base: 10m, max_attempts: 0}\n"
	found := r.examine()
	found.want(t, doctor.Fail, "configuration", "policy.retry_base", "10m")
	found.want(t, doctor.Fail, "configuration", "policy.max_attempts")
	for _, area := range []string{"keys", "app", "clock", "nats", "edge", "account"} {
		found.want(t, doctor.Skipped, area, "", "the configuration cannot be read")
	}
	if exit(found) != service.ExitConfig {
		t.Errorf("exit %d", exit(found))
	}

	r = newRig(t, nil)
	r.secrets = []string{"", "1b7a5e0c-1111-4222-8333-444455556666"}
	found = r.examine()
	found.want(t, doctor.Fail, "configuration", "apps.main.client_secret_file", "empty")
	found.want(t, doctor.Warn, "configuration", "apps.main.client_secret", "secret's id")
	found.want(t, doctor.Skipped, "app", "main client secret", "area configuration")
	found.want(t, doctor.OK, "app", "main tenant") // the others are looked at all the same
	found.want(t, doctor.OK, "account", "main")
}

func TestKeysetsAreOpenedAndCompared(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for name, spoil := range map[string]func(path string) error{
		seal.GrantsFile:  os.Remove,
		seal.CookiesFile: func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		seal.IDsFile:     func(path string) error { return os.Chmod(path, 0o644) },
	} {
		if err := spoil(filepath.Join(r.keys(), name)); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(r.dir, "other")
	if err := seal.Generate(other); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(other, seal.CodesPublicFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.keys(), seal.CodesPublicFile), public, 0o600); err != nil {
		t.Fatal(err)
	}
	found := r.examine()
	found.want(t, doctor.Fail, "keys", seal.GrantsFile, "missing", "copy it")
	found.want(t, doctor.Fail, "keys", seal.CookiesFile, "not a Tink keyset")
	found.want(t, doctor.Fail, "keys", seal.IDsFile, "chmod 600")
	found.want(t, doctor.OK, "keys", seal.PeopleFile)
	found.want(t, doctor.Fail, "keys", seal.CodesPublicFile, "does not belong to codes.json")
	if exit(found) != service.ExitConfig {
		t.Errorf("exit %d", exit(found))
	}
}

func TestKeysetsThatAreNotThereYet(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := os.RemoveAll(r.keys()); err != nil {
		t.Fatal(err)
	}
	r.examine().want(t, doctor.Fail, "keys", r.keys(), "kindling key init")
	r.doctor.Data = app.Data(r.dir)
	r.examine().want(t, doctor.Skipped, "keys", r.keys(), "first start")
}

func TestBeforeAnythingRunsNeitherNATSNorTheEdgeIsAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.more = "nats: {url: nats://127.0.0.1:1}\n"
	asked := false
	r.edge = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true })
	r.doctor.Pre = true
	found := r.examine()
	found.only(t, doctor.Fail)
	found.want(t, doctor.Skipped, "nats", "", "--pre")
	found.want(t, doctor.Skipped, "edge", strings.TrimPrefix(r.public, "http://"), "--pre")
	for _, ok := range []string{"main client secret", "main redirect URI", "main scopes"} {
		found.want(t, doctor.OK, "app", ok)
	}
	found.want(t, doctor.OK, "keys", seal.GrantsFile)
	found.want(t, doctor.OK, "clock", strings.TrimPrefix(r.login, "http://"))
	if asked || exit(found) != service.ExitOK {
		t.Errorf("the edge was asked: %t; exit %d", asked, exit(found))
	}
}

func TestWhatStandsWhereTheEdgeShouldIsNamed(t *testing.T) {
	t.Parallel()
	page := func(status int, headers ...string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
		})
	}
	for _, tt := range []struct {
		name string
		edge func(*rig) http.Handler
		at   string // path of the subject
		kind doctor.Kind
		word string
	}{
		{"a web site", func(*rig) http.Handler { return page(200) }, "", doctor.Configuration, "is not the edge"},
		{"another program", func(*rig) http.Handler { return page(404) }, "", doctor.Configuration, "lacks the edge's Content-Security-Policy"},
		{"a redirect", func(*rig) http.Handler { return page(301, "Location", "https://www.example.com/") }, "", doctor.Configuration, "redirect (301)"},
		{"a proxy alone", func(*rig) http.Handler { return page(502) }, "", doctor.Unreachable, "proxy without the edge"},
		{"too much", func(*rig) http.Handler { return page(429) }, "", doctor.Unreachable, "too many requests"},
		{"an edge without its store", func(*rig) http.Handler {
			return page(503, "Content-Security-Policy", "form-action 'self' https://x; frame-ancestors 'none'")
		}, "", doctor.Unreachable, "cannot reach its store"},
		{"a proxy with another Host", func(r *rig) http.Handler {
			edge := r.edge
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				req.Host = "edge.internal"
				edge.ServeHTTP(w, req)
			})
		}, "", doctor.Configuration, "another host than edge.public_url"},
		{"an edge of other apps", func(r *rig) http.Handler { return r.realEdge("other", r.login) }, "/oauth-callback/main", doctor.Configuration, "does not know the app main"},
		{"an edge of another cloud", func(r *rig) http.Handler { return r.realEdge("main", "https://login.microsoftonline.us") }, "/oauth-callback/main", doctor.Configuration, "do not lead to the login"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.edge = tt.edge(r)
			found := r.examine()
			if f := found.want(t, doctor.Fail, "edge", r.public+tt.at, tt.word); f.Kind != tt.kind || f.Remedy == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTheCertificateOfThePublicAddressIsJudged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.edge.ServeHTTP(w, req) }))
	t.Cleanup(secure.Close)
	r.public = secure.URL
	r.edge = r.realEdge("main", r.login)
	r.examine().want(t, doctor.Fail, "edge", r.public, "not trusted here")

	r.doctor.Transport = secure.Client().Transport // trusts the certificate
	r.examine().want(t, doctor.OK, "edge", r.public+"/oauth-callback/main")
	ends := secure.Certificate().NotAfter
	r.doctor.Now = func() time.Time { return ends.Add(-80 * time.Hour) }
	r.examine().want(t, doctor.Warn, "edge", r.public, "ends in 3 days")
}

func TestANameThatDoesNotResolveIsUnreachable(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.public = "https://no-such-host.invalid"
	found := r.examine()
	found.want(t, doctor.Fail, "edge", "no-such-host.invalid", "does not resolve")
	found.want(t, doctor.Skipped, "edge", "no-such-host.invalid", "not asked")
	if exit(found) != service.ExitUnavailable {
		t.Errorf("exit %d", exit(found))
	}
}

func TestAnAccountIsAskedOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		account string
		rule    trouble.Kind
		status  doctor.Status
		kind    doctor.Kind
		word    string
		calls   int
	}{
		{"wrong key", "    api_key: wrong", "", doctor.Fail, doctor.Configuration, "does not accept", 1},
		{"outage", "", trouble.ServerError, doctor.Fail, doctor.Unreachable, "500", 1},
		{"broken connection", "", trouble.Reset, doctor.Fail, doctor.Unreachable, "connection", 1},
		{"throttled", "", trouble.Throttled, doctor.Warn, "", "limit of calls", 1},
		{"redirect", "", trouble.Redirect, doctor.Fail, doctor.Configuration, "redirect", 1},
		{"session", "    auth: session\n    uid: u\n    client: c\n    access_token_file: %", "", doctor.Skipped, "", "access-token", 0},
		{"wrong holder", "    holder_uid: other\n    api_key_file: %", "", doctor.Fail, doctor.Configuration, "accepts the credentials, but not for this holder_uid", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			if tt.name == "wrong key" {
				tt.account = "    api_key_file: " + r.file("wrong", "wrong-"+canary)
			}
			r.account = strings.ReplaceAll(tt.account, "%", r.file("token", "key-"+canary))
			if tt.rule != "" {
				if err := r.warmy.Fault(trouble.Rule{Kind: tt.rule, Op: warmyapi.OpPlans}); err != nil {
					t.Fatal(err)
				}
			}
			found := r.examine()
			if f := found.want(t, tt.status, "account", "main", tt.word); f.Kind != tt.kind {
				t.Errorf("%+v", f)
			}
			calls := 0
			for _, n := range r.warmy.Summary().Calls[warmyapi.OpPlans] {
				calls += n
			}
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
		})
	}
}

func TestATariffPlanOfAnotherAccountIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.doctor.Load = func() (config.Config, error) {
		cfg, err := r.load()
		cfg.Defaults.TariffPlanTypeID = 7
		return cfg, err
	}
	r.examine().want(t, doctor.Warn, "account", "main tariff plan", "7 is none of this account's", "1 Starter, 41 Business")
	r.examine().want(t, doctor.OK, "account", "main tariff plans", "1 Starter, 41 Business")
	r.doctor.Load = func() (config.Config, error) {
		cfg, err := r.load()
		cfg.Defaults.TariffPlanTypeID, cfg.Defaults.Account = 7, "another"
		return cfg, err
	}
	for _, f := range r.examine() {
		if f.Subject == "main tariff plan" {
			t.Errorf("the default plan is held against an account that it is not for: %+v", f)
		}
	}
}

func TestTheStoreIsLookedAtAsEachProcess(t *testing.T) {
	t.Parallel()
	server, err := embed.Start(embed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	r := newRig(t, nil)
	r.more = "nats: {url: " + server.ClientURL() + "}\n"
	found := r.examine()
	found.want(t, doctor.OK, "nats", server.ClientURL(), "with JetStream")
	found.want(t, doctor.Warn, "nats", "streams", "missing: ", "CODE", "KV_grants", "store migrate")
	for _, process := range []string{"callback-ingest", "token-worker", "warmy-worker", "console"} {
		found.want(t, doctor.OK, "nats", "rights of "+process)
	}
	found.only(t, doctor.Fail)

	b := bustest.Connect(t, server)
	r.examine().want(t, doctor.OK, "nats", "streams", "all are there")
	if missing, drifts, err := b.Differences(t.Context()); err != nil || len(missing)+len(drifts) > 0 {
		t.Errorf("%v %v %v", missing, drifts, err)
	}
	r.more = "nats: {url: nats://127.0.0.1:1}\n"
	found = r.examine()
	found.want(t, doctor.Fail, "nats", "nats://127.0.0.1:1")
	if exit(found) != service.ExitUnavailable {
		t.Errorf("exit %d", exit(found))
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	conf, err := os.ReadFile("../../deployments/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	line := "          \"kindling.register.>\"\n"
	if !strings.Contains(string(conf), line) {
		t.Fatal("users.conf has no such line")
	}
	g := bustest.NewGuarded(t, []byte(strings.ReplaceAll(string(conf), line, "")))
	if _, err := g.Connect(bus.ProcessAdmin).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil)
	r.doctor.Role, r.doctor.Process = config.TokenWorker, "token-worker"
	as := func(process string) { // the seed of one process
		r.more = "nats: {url: \"" + g.ClientURL() + "\", creds_file: \"" + g.As(process).CredsFile + "\"}\n"
	}
	as(bus.ProcessTokenWorker)
	found := r.examine()
	if f := found.want(t, doctor.Fail, "nats", "rights of token-worker", `"kindling.register.>"`); f.Kind != doctor.Other {
		t.Errorf("%+v", f)
	}
	found.want(t, doctor.OK, "nats", "streams")
	if exit(found) != service.ExitFailed {
		t.Errorf("exit %d", exit(found))
	}
	as(bus.ProcessEdge) // another's seed: nothing is heard under this name
	found = r.examine()
	found.want(t, doctor.Fail, "nats", g.ClientURL(), "NATS does not let token-worker")
}

func TestTheEmbeddedStoreIsLookedAtWhileItDoesNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.doctor.Data = app.Data(r.dir)
	found := r.examine()
	found.want(t, doctor.Skipped, "nats", r.dir, "first start")

	dir := filepath.Join(r.dir, "nats")
	server, err := embed.Start(embed.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r.examine().want(t, doctor.Skipped, "nats", r.dir, "kindling up runs")
	b, err := bus.Connect(context.Background(), bus.Config{InProcess: server, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Ensure(t.Context())
	b.Close()
	if err := errors.Join(err, server.Stop()); err != nil {
		t.Fatal(err)
	}
	found = r.examine()
	found.want(t, doctor.OK, "nats", r.dir, "starts on its data")
	found.want(t, doctor.OK, "nats", "streams")
	found.only(t, doctor.Fail)
	// It is free again.
	if server, err = embed.Start(embed.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}

func TestTheVerdictTellsWhoCanHelp(t *testing.T) {
	t.Parallel()
	fail := func(kinds ...doctor.Kind) findings {
		all := findings{{Status: doctor.OK}, {Status: doctor.Warn}, {Status: doctor.Skipped}}
		for _, k := range kinds {
			all = append(all, doctor.Finding{Status: doctor.Fail, Kind: k})
		}
		return all
	}
	for _, tt := range []struct {
		found findings
		code  int
	}{
		{fail(), service.ExitOK},
		{fail(doctor.Configuration, doctor.Configuration), service.ExitConfig},
		{fail(doctor.Unreachable), service.ExitUnavailable},
		{fail(doctor.Other), service.ExitFailed},
		{fail(doctor.Configuration, doctor.Unreachable), service.ExitFailed},
		{fail(doctor.Unreachable, doctor.Other), service.ExitFailed},
	} {
		if got := exit(tt.found); got != tt.code {
			t.Errorf("%s: exit %d, want %d", tt.found, got, tt.code)
		}
	}
}
