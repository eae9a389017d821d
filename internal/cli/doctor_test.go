package cli_test

import (
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kindling/internal/doctor"
	"kindling/internal/seal"
	"kindling/internal/service"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/warmyapi"
)

const doctorsApp = "11111111-2222-4333-8444-555555555555"

// patient is a machine on which nothing runs yet, and where all is right.
func patient(t *testing.T) *terminal {
	t.Helper()
	tm := &terminal{dir: t.TempDir(), vars: map[string]string{}}
	login := httptest.NewServer(msid.New(msid.Config{
		SigningAlg: msid.ES256, Apps: []msid.App{{ClientID: doctorsApp, Secrets: []string{"good"}, ExpiredSecrets: []string{"old"}}},
	}))
	t.Cleanup(login.Close)
	api := httptest.NewServer(warmyapi.New(warmyapi.Config{APIKeys: []string{"key"}}))
	t.Cleanup(api.Close)
	keys := filepath.Join(tm.dir, "keys")
	if err := seal.Generate(keys); err != nil {
		t.Fatal(err)
	}
	tm.vars["KINDLING_CONFIG"] = tm.file(t, "kindling.yaml", `
edge: {public_url: "http://127.0.0.1:1"}
keys: {dir: "`+keys+`"}
apps:
  - name: main
    client_id: `+doctorsApp+`
    client_secret_file: "`+tm.file(t, "client-secret", "good\n")+`"
    authority: "`+login.URL+`"
    graph_url: "`+login.URL+`"
    allow_custom_authority: true
accounts: [{name: main, base_url: "`+api.URL+`", allow_custom_host: true, api_key_file: "`+tm.file(t, "api-key", "key\n")+`"}]
defaults: {tariff_plan_type_id: 41}
`)
	return tm
}

// doctor runs the command on a data directory that does not exist.
func (tm *terminal) doctor(t *testing.T, args ...string) result {
	t.Helper()
	return tm.run(t, append([]string{"doctor", "--data", filepath.Join(tm.dir, "none")}, args...)...)
}

func statusOf(all []doctor.Finding, area, subject string) doctor.Status {
	i := slices.IndexFunc(all, func(f doctor.Finding) bool { return f.Area == area && f.Subject == subject })
	if i < 0 {
		return ""
	}
	return all[i].Status
}

func TestTheDoctorReportsInEveryForm(t *testing.T) {
	t.Parallel()
	tm := patient(t)
	r := tm.doctor(t, "--pre").want(t, service.ExitOK)
	if !strings.HasPrefix(r.out, "STATUS ") || !strings.Contains(r.out, "http://127.0.0.1:1/oauth-callback/main") {
		t.Errorf("out:\n%s", r.out)
	}
	if !strings.Contains(r.talk, "examining what up stands on") || !strings.Contains(r.talk, " 0 failed, 2 skipped") {
		t.Errorf("talk: %s", r.talk)
	}
	whole := decode[[]doctor.Finding](t, tm.doctor(t, "--pre", "-o", "json").want(t, service.ExitOK))
	for _, f := range whole {
		if f.Status == "" || f.Area == "" || f.Found == "" {
			t.Errorf("half a finding: %+v", f)
		}
	}
	if statusOf(whole, "app", "main client secret") != doctor.OK || statusOf(whole, "nats", "") != doctor.Skipped {
		t.Errorf("%+v", whole)
	}
	lines := strings.Split(strings.TrimSpace(tm.doctor(t, "--pre", "-o", "jsonl").want(t, service.ExitOK).out), "\n")
	if len(lines) != len(whole) {
		t.Errorf("%d lines, want %d", len(lines), len(whole))
	}
	for _, line := range lines {
		var f doctor.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Found == "" {
			t.Errorf("%v: %s", err, line)
		}
	}
	if r := tm.doctor(t, "--pre", "-o", "csv").want(t, service.ExitOK); !strings.HasPrefix(r.out, "status,area,subject,found,remedy\n") {
		t.Errorf("out: %s", r.out)
	}
}

func TestTheDoctorsExitCodeTellsWhoCanHelp(t *testing.T) {
	t.Parallel()
	tm := patient(t)
	found := decode[[]doctor.Finding](t, tm.doctor(t, "-o", "json").want(t, service.ExitUnavailable)) // no edge
	if statusOf(found, "app", "main client secret") != doctor.OK || statusOf(found, "account", "main") != doctor.OK {
		t.Errorf("%+v", found)
	}
	tm.file(t, "client-secret", "old\n")
	r := tm.doctor(t, "--pre").want(t, service.ExitConfig)
	if !strings.Contains(r.talk, "findings are failures") || !strings.Contains(r.out, "AADSTS7000222") || !strings.Contains(r.out, "Warmy accepts the credentials") {
		t.Errorf("out:\n%s\ntalk: %s", r.out, r.talk)
	}
	tm.doctor(t).want(t, service.ExitFailed) // both
	tm.vars["KINDLING_EDGE_PUBLIC_URL"] = "http://connect.example"
	r = tm.doctor(t, "-o", "json").want(t, service.ExitConfig)
	if all := decode[[]doctor.Finding](t, r); statusOf(all, "configuration", "edge.public_url") != doctor.Fail || statusOf(all, "app", "") != doctor.Skipped {
		t.Errorf("%s", r.out)
	}
	tm.vars["KINDLING_EDGE_PUBLIC_URL"] = ""
	for _, wrong := range [][]string{{"--for", "nobody"}, {"now"}, {"--pre=maybe"}, {"-o", "xml"}} {
		if r := tm.doctor(t, wrong...).want(t, service.ExitUsage); r.out != "" {
			t.Errorf("%v: %s", wrong, r.out)
		}
	}
	r = tm.doctor(t, "--config", filepath.Join(tm.dir, "absent.yaml")).want(t, service.ExitConfig)
	if !strings.Contains(r.out, "absent.yaml") {
		t.Errorf("out:\n%s", r.out)
	}
}

func TestTheDoctorLooksAtOneProcess(t *testing.T) {
	t.Parallel()
	tm := patient(t)
	r := tm.doctor(t, "--for", "edge", "--pre", "-o", "json").want(t, service.ExitConfig) // it needs NATS
	found := decode[[]doctor.Finding](t, r)
	if statusOf(found, "configuration", "nats.url") != doctor.Fail || statusOf(found, "keys", seal.GrantsFile) != doctor.Warn ||
		statusOf(found, "keys", seal.CookiesFile) != doctor.OK || statusOf(found, "app", "main client secret") != doctor.Skipped {
		t.Errorf("%s", r.out)
	}
}
