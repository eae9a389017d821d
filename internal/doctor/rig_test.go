package doctor_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kindling/internal/app"
	"kindling/internal/callback"
	"kindling/internal/config"
	"kindling/internal/doctor"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/warmyapi"
)

const (
	clientID     = "11111111-2222-4333-8444-555555555555"
	tenantID     = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	absentTenant = "dddddddd-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	canary       = "canary-3f9d"
)

// rig is a machine on which everything is right, with all that it reaches.
type rig struct {
	t         *testing.T
	dir       string
	microsoft *msid.Server
	warmy     *warmyapi.Server
	login     string // address of the simulated Microsoft
	api       string // of the simulated Warmy
	public    string // of the edge
	edge      http.Handler
	secrets   []string
	app       string // further lines of the app
	account   string // of the account
	more      string // of the file
	doctor    doctor.Doctor
}

func newRig(t *testing.T, change func(*msid.Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), secrets: []string{"good-" + canary}, warmy: warmyapi.New(warmyapi.Config{APIKeys: []string{"key-" + canary}})}
	cfg := msid.Config{
		SigningAlg: msid.ES256, Seed: 1, AbsentTenants: []string{absentTenant},
		Apps: []msid.App{{ClientID: clientID, Secrets: []string{"good-" + canary, "next-" + canary}, ExpiredSecrets: []string{"old-" + canary}}},
	}
	if change != nil {
		change(&cfg)
	}
	r.microsoft = msid.New(cfg)
	r.login, r.api = r.serve(r.microsoft), r.serve(r.warmy)
	if err := seal.Generate(r.keys()); err != nil {
		t.Fatal(err)
	}
	r.public = r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.edge.ServeHTTP(w, req) }))
	r.edge = r.realEdge("main", r.login)
	r.doctor = doctor.Doctor{Role: config.Up, Process: "up", Data: app.Data(filepath.Join(r.dir, "none"))}
	return r
}

func (r *rig) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	r.t.Cleanup(server.Close)
	return server.URL
}

func (r *rig) keys() string { return filepath.Join(r.dir, "keys") }

func (r *rig) file(name, content string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// nothing is a store without a fact.
type nothing[T any] struct{}

func (nothing[T]) Load(context.Context, mailbox.ID) (fact T, revision uint64, err error) {
	return fact, 0, nil
}

func (nothing[T]) Save(context.Context, mailbox.ID, T, uint64) (uint64, error) {
	return 0, handlers.ErrConflict
}

type nowhere struct{}

func (nowhere) Publish(context.Context, events.Event) error { return handlers.ErrConflict }

// realEdge is the edge's own handler for one app.
func (r *rig) realEdge(name, login string) http.Handler {
	r.t.Helper()
	codes, err := seal.OpenCodesPublic(r.keys())
	if err != nil {
		r.t.Fatal(err)
	}
	cookies, err := seal.OpenCookies(r.keys())
	if err != nil {
		r.t.Fatal(err)
	}
	handler, err := callback.New(callback.Config{
		PublicURL: r.public, Codes: codes, Cookies: cookies, ParseLink: seal.ParseLink, Refusal: microsoft.Refusal, Publisher: nowhere{},
		Invitations: nothing[mailbox.Invitation]{}, Claims: nothing[mailbox.Claim]{}, Grants: nothing[mailbox.Grant]{}, Registrations: nothing[mailbox.Registration]{},
		AdminConsents: nothing[mailbox.AdminConsent]{}, ParseAdminLink: func(string) (mailbox.AdminLink, bool) { return mailbox.AdminLink{}, false },
		Apps: map[string]callback.App{name: {
			AuthorizeURL: func(callback.AuthorizeParams) string { return login }, Tenant: "organizations",
			AdminConsentURL: func(string, secret.Text) string { return login },
			RedirectURI:     r.public + "/oauth-callback/" + name, LoginOrigin: login,
		}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return handler
}

// load writes the configuration and reads it as the command does.
func (r *rig) load() (config.Config, error) {
	files := make([]string, len(r.secrets))
	for i, text := range r.secrets {
		files[i] = r.file("secret-"+string(rune('a'+i)), text+"\n")
	}
	public := r.public
	if !strings.Contains(public, "://") {
		public = `""`
	}
	account := r.account
	if account == "" {
		account = "    api_key_file: " + r.file("api-key", "key-"+canary) + "\n"
	}
	secrets := ""
	if len(files) > 0 {
		secrets = "    client_secret_file: [" + strings.Join(files, ", ") + "]"
	}
	path := r.file("kindling.yaml", `
edge: {public_url: `+public+`}
keys: {dir: `+r.keys()+`}
apps:
  - name: main
    client_id: `+clientID+`
`+secrets+`
    authority: `+r.login+`
    graph_url: `+r.login+`
    allow_custom_authority: true
`+r.app+`
accounts:
  - name: main
    base_url: `+r.api+`
    allow_custom_host: true
`+account+`
defaults: {tariff_plan_type_id: 41}
`+r.more)
	return config.Load(config.Source{File: path})
}

// examine runs the doctor, and sees that no finding shows a secret or lacks words.
func (r *rig) examine() findings {
	r.t.Helper()
	if r.doctor.Load == nil {
		r.doctor.Load = r.load
	}
	found := r.doctor.Examine(r.t.Context())
	for _, f := range found {
		if strings.Contains(f.Found+f.Remedy+f.Subject, canary) {
			r.t.Errorf("a secret is shown: %+v", f)
		}
		if f.Found == "" || f.Area == "" || (f.Status == doctor.Fail) != (f.Kind != "") {
			r.t.Errorf("half a finding: %+v", f)
		}
	}
	return found
}

type findings []doctor.Finding

// want checks that a finding of this area and subject has the status, and holds the words.
func (all findings) want(t *testing.T, status doctor.Status, area, subject string, words ...string) doctor.Finding {
	t.Helper()
	for _, f := range all {
		if f.Area != area || f.Subject != subject || f.Status != status {
			continue
		}
		text := f.Found + " | " + f.Remedy
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return f
		}
	}
	t.Errorf("no finding %s, %s, %s with %q in:\n%s", status, area, subject, words, all)
	return doctor.Finding{}
}

// only checks that nothing but what is named by subject has this status.
func (all findings) only(t *testing.T, status doctor.Status, subjects ...string) {
	t.Helper()
	for _, f := range all {
		if f.Status == status && !slices.Contains(subjects, f.Subject) {
			t.Errorf("%s, though nobody expected it: %+v", status, f)
		}
	}
}

func (all findings) String() string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(string(f.Status) + " | " + f.Area + " | " + f.Subject + " | " + f.Found + " | " + f.Remedy + " | " + string(f.Kind) + "\n")
	}
	return b.String()
}
