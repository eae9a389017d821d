package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

const clientID = "6731de76-14a6-49ae-97bc-6eba6914391e"

// write puts text into a file of its own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads text as the configuration file, with environ around it.
func load(t *testing.T, text string, environ []string) (config.Config, error) {
	t.Helper()
	return config.Load(config.Source{File: write(t, "kindling.yaml", text), Environ: environ})
}

// lines are the problems of err, one line each, without the directory of the test's files.
func lines(t *testing.T, err error) []string {
	t.Helper()
	var invalid *config.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("error %v is no *Invalid", err)
	}
	if invalid.ExitCode() != 78 {
		t.Errorf("ExitCode() = %d, want 78", invalid.ExitCode())
	}
	var found []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "/") {
			path, rest, _ := strings.Cut(line, ":")
			line = filepath.Base(path) + ":" + rest
		}
		found = append(found, line)
	}
	return found
}

const small = `
edge: {public_url: "https://connect.example.com"}
keys: {dir: keys}
apps:
  - {name: main, client_id: ` + clientID + `}
  - {name: us-gov, client_id: ` + clientID + `, cloud: usgov, tenant: example.com, scopes: [openid, profile, offline_access, Mail.Send]}
accounts:
  - {name: main, calls_per_minute: 60}
`

func TestDefaultsFillWhatTheFileLeavesOut(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, small, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.EdgeSettings{
		Listen: ":8080", PublicURL: "https://connect.example.com", MetricsListen: "127.0.0.1:9101",
		LinkLife: 168 * time.Hour, StartPrompt: "select_account", RequestsPerSecond: 20,
	}, cfg.Edge); diff != "" {
		t.Errorf("edge (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config.Policy{
		ReconcileAfter: time.Minute, RefreshMargin: 10 * time.Minute, RetryBase: 2 * time.Second, RetryCap: 5 * time.Minute,
		MaxAttempts: 10, HoldFor: 30 * time.Second, Refresh: "keepalive", KeepAliveAfter: 25 * 24 * time.Hour, RefreshesPerMinute: 600,
	}, cfg.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	gov, _ := cfg.App("us-gov")
	if gov.Cloud != "usgov" || gov.Tenant != "example.com" || len(gov.Scopes) != 4 || gov.RedirectURI != "https://connect.example.com/oauth-callback/us-gov" {
		t.Errorf("app us-gov = %+v", gov)
	}
	account, _ := cfg.Account("main")
	if account.BaseURL != "https://api.warmy.io" || account.Auth != config.AuthBearer || account.CallsPerMinute != 60 ||
		account.HolderUID != "a66a9a755fe16f24fcb99dc8b5f25a50" {
		t.Errorf("account main = %+v", account)
	}
	if cfg.Defaults.Account != "main" || cfg.Defaults.App != "" {
		t.Errorf("defaults = %+v, want the only account and no app of two", cfg.Defaults)
	}
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, "kindling.yaml", "edge: {listen: \":1\", link_life: 1h, response_mode: query}\nconsole: {listen: \"127.0.0.1:2\"}\n")
	cfg, err := config.Load(config.Source{
		File: path, Environ: []string{"KINDLING_EDGE_LISTEN=:11", "KINDLING_EDGE_LINK_LIFE=11h", "HOME=/x", "KINDLING_EDGE_RESPONSE_MODE="},
		Flags: map[string]string{"edge.listen": ":111"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Edge.Listen != ":111" || cfg.Edge.LinkLife != 11*time.Hour || cfg.Edge.ResponseMode != "query" || cfg.Console.Listen != "127.0.0.1:2" {
		t.Errorf("edge = %+v, console = %+v", cfg.Edge, cfg.Console)
	}
	got := map[string]string{}
	for _, e := range cfg.Show(true) {
		got[e.Key] = e.Value + " from " + filepath.Base(e.Origin)
	}
	for key, want := range map[string]string{
		"edge.listen": ":111 from flag", "edge.link_life": "11h from KINDLING_EDGE_LINK_LIFE", "edge.response_mode": "query from kindling.yaml:1",
		"console.listen": "127.0.0.1:2 from kindling.yaml:2", "policy.max_attempts": "10 from default",
	} {
		if got[key] != want {
			t.Errorf("%s = %s, want %s", key, got[key], want)
		}
	}
}

func TestShowWithoutOriginLeavesOriginsOut(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, small, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cfg.Show(false) {
		if e.Origin != "" {
			t.Fatalf("%s has origin %s", e.Key, e.Origin)
		}
	}
}

func TestTheEnvironmentNamesItemsByTheirNames(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, small, []string{
		"KINDLING_APP_US_GOV_CLIENT_ID=" + strings.ToUpper(clientID), "KINDLING_APP_MAIN_CLIENT_SECRET_FILE=/a,/b",
		"KINDLING_ACCOUNT_MAIN_HOLDER_UID=abc", "KINDLING_APP_MAIN_SCOPES=openid profile offline_access",
		"KINDLING_APP_US_GOV_CLIENT_SECRET=canary-value",
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Apps[1].ClientID != clientID {
		t.Errorf("client_id = %s, want it in lower case", cfg.Apps[1].ClientID)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, cfg.Apps[0].ClientSecrets.Files()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"openid", "profile", "offline_access"}, cfg.Apps[0].Scopes); diff != "" {
		t.Error(diff)
	}
	if cfg.Accounts[0].HolderUID != "abc" {
		t.Errorf("holder_uid = %s", cfg.Accounts[0].HolderUID)
	}
	if text, err := cfg.Apps[1].ClientSecrets.One(); err != nil || text.Reveal() != "canary-value" {
		t.Errorf("client secret not read from the environment: %v", err)
	}
}

func TestTheEnvironmentAloneIsEnough(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Source{Environ: []string{
		"KINDLING_EDGE_PUBLIC_URL=http://localhost:8080/", "KINDLING_KEYS_DIR=keys",
		"KINDLING_APP_EAST_1_CLIENT_ID=" + clientID, "KINDLING_APP_EAST_1_ALLOW_CUSTOM_AUTHORITY=true", "KINDLING_APP_EAST_1_AUTHORITY=http://sim:1/",
		"KINDLING_ACCOUNT_MAIN_AUTH=session", "KINDLING_ACCOUNT_MAIN_UID=op@x.example", "KINDLING_ACCOUNT_MAIN_CLIENT=c",
		"KINDLING_ACCOUNT_MAIN_ACCESS_TOKEN=t", "KINDLING_LOG=debug", "KINDLING_LOG_FORMAT=json",
	}})
	if err != nil {
		t.Fatal(err)
	}
	app, found := cfg.App("east-1")
	if !found || app.Authority != "http://sim:1" || app.RedirectURI != "http://localhost:8080/oauth-callback/east-1" {
		t.Errorf("app = %+v, %v", app, found)
	}
	if cfg.Accounts[0].UID != "op@x.example" || cfg.Accounts[0].Client != "c" || !cfg.Accounts[0].AccessToken.Given() {
		t.Errorf("account = %+v", cfg.Accounts[0])
	}
}

func TestTheFileCanBeNamedByTheEnvironment(t *testing.T) {
	t.Parallel()
	path := write(t, "other.yaml", "metrics: {listen: \":1\"}\n")
	cfg, err := config.Load(config.Source{Environ: []string{"KINDLING_CONFIG=" + path}})
	if err != nil || cfg.Metrics.Listen != ":1" {
		t.Errorf("metrics = %+v, %v", cfg.Metrics, err)
	}
	cfg, err = config.Load(config.Source{File: write(t, "flag.yaml", "metrics: {listen: \":2\"}\n"), Environ: []string{"KINDLING_CONFIG=" + path}})
	if err != nil || cfg.Metrics.Listen != ":2" {
		t.Errorf("metrics = %+v, %v, want the flag's file", cfg.Metrics, err)
	}
}

// Kubernetes sets these for a Service called kindling; refusing them would keep every pod from starting.
func TestAddressesThatAnOrchestratorSetsAreNoSettings(t *testing.T) {
	t.Parallel()
	_, err := load(t, small, []string{
		"KINDLING_SERVICE_HOST=10.0.0.1", "KINDLING_SERVICE_PORT=8080", "KINDLING_SERVICE_PORT_HTTP=8080", "KINDLING_PORT=tcp://10.0.0.1:8080",
		"KINDLING_PORT_8080_TCP=tcp://10.0.0.1:8080", "KINDLING_PORT_8080_TCP_PROTO=tcp", "KINDLING_PORT_8080_TCP_ADDR=10.0.0.1",
		"KINDLING_EDGE_SERVICE_HOST=10.0.0.2", "KINDLING_EDGE_PORT=tcp://10.0.0.2:80", "KINDLING_EDGE_PORT_80_TCP_PORT=80",
	})
	if err != nil {
		t.Error(err)
	}
}

func TestVariablesOfOthersCanBeDeclared(t *testing.T) {
	t.Parallel()
	src := config.Source{File: write(t, "kindling.yaml", small), Environ: []string{"KINDLING_TOKEN=x"}}
	if _, err := config.Load(src); err == nil || !strings.Contains(err.Error(), "KINDLING_TOKEN: is no known variable") {
		t.Errorf("error = %v", err)
	}
	src.Known = []string{"KINDLING_TOKEN"}
	if _, err := config.Load(src); err != nil {
		t.Error(err)
	}
}

func TestAFileMayBeginWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	if _, err := load(t, "\xef\xbb\xbf"+small, nil); err != nil {
		t.Error(err)
	}
}

func TestEmptyValuesInTheFileCountAsLeftOut(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, "edge:\n  listen:\n  metrics_listen: \"\"\nconsole:\napps: ~\n", nil)
	if err != nil || cfg.Edge.Listen != ":8080" {
		t.Errorf("edge = %+v, %v", cfg.Edge, err)
	}
	if cfg.Edge.MetricsListen != "" {
		t.Errorf("metrics_listen = %q, want none: an empty text is a value", cfg.Edge.MetricsListen)
	}
}

func TestRefreshByPolicyCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, small+"policy: {refresh: off, keepalive_after: 48h}\n", nil) // YAML 1.1 would read "off" as false
	if err != nil || cfg.Policy.Refresh != "off" || cfg.Policy.KeepAliveAfter != 48*time.Hour {
		t.Errorf("%+v, %v", cfg.Policy, err)
	}
}
