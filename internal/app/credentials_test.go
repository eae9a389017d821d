package app

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/warmy"
)

// workerOf is a host of the workers with these apps and accounts.
func workerOf(t *testing.T, text string) Host {
	t.Helper()
	cfg, err := config.Load(config.Source{File: yaml(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	return NewHost(cfg, slog.New(slog.DiscardHandler))
}

// twice lets every follower see its files settled.
func (h Host) twice(t *testing.T, all []follower) {
	t.Helper()
	for range 2 {
		for _, f := range all {
			if f.look(t.Context(), h.Log) {
				t.Errorf("%s refuses its files", f.name())
			}
		}
	}
}

func names(all []follower) []string {
	found := []string{}
	for _, f := range all {
		found = append(found, f.name())
	}
	return found
}

func TestAChangedAPIKeySignsTheNextCallToWarmy(t *testing.T) {
	t.Parallel()
	var signed, said atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed.Store(r.Header.Get("Authorization"))
		body, _ := io.ReadAll(r.Body)
		said.Store(string(body))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	key, password := write(t, filepath.Join(dir, "key"), "old"), write(t, filepath.Join(dir, "password"), "old")
	h := workerOf(t, fmt.Sprintf(`
accounts:
  - {name: main, base_url: %q, api_key_file: %q, allow_custom_host: true}
  - {name: guide, base_url: %q, auth: session, email: op@x.example, password_file: %q, allow_custom_host: true}
`, server.URL, key, server.URL, password))
	accounts, err := warmyAccounts(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	client := warmy.New(warmy.Config{Accounts: accounts})
	files := h.keyRotations(client, accounts, nil)
	if diff := cmp.Diff([]string{"warmy/main", "warmy/guide"}, names(files)); diff != "" {
		t.Errorf("files are not followed: %s", diff)
	}
	if _, err := client.Plans(t.Context(), "guide"); err == nil || !strings.Contains(fmt.Sprint(said.Load()), `"password":"old"`) {
		t.Errorf("signed in with %v, %v", said.Load(), err)
	}
	write(t, key, "new\n")
	write(t, password, "fresh\n")
	h.twice(t, files)
	if _, _, err := client.Find(t.Context(), "main", "jane@contoso.example"); err == nil || signed.Load() != "Bearer new" {
		t.Errorf("signed with %v, %v", signed.Load(), err)
	}
	if _, err := client.Plans(t.Context(), "guide"); err == nil || !strings.Contains(fmt.Sprint(said.Load()), `"password":"fresh"`) {
		t.Errorf("signed in with %v, %v", said.Load(), err)
	}
}

// Warmy-worker hands the secret on and never sees the certificate; token-worker needs no secret beside the certificate.
func TestEachWorkerFollowsItsOwnCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	crt, key, leaf := certificate(t, 100)
	secretFile := write(t, filepath.Join(dir, "secret"), "old")
	h := workerOf(t, fmt.Sprintf("apps: [{name: main, client_secret_file: %q, client_certificate_file: %q, client_key_file: %q}]\n",
		secretFile, write(t, filepath.Join(dir, "crt"), crt), write(t, filepath.Join(dir, "key"), key)))

	token, err := proofsOf(h.Config, config.TokenWorker)
	if err != nil || len(token["main"].secrets) != 0 || !leaf.Equal(token["main"].pair.Leaf()) {
		t.Errorf("token-worker holds %d secrets, %v", len(token["main"].secrets), err)
	}
	registrar, err := proofsOf(h.Config, config.WarmyWorker)
	if err != nil || len(registrar["main"].secrets) != 1 || registrar["main"].pair.Leaf() != nil {
		t.Errorf("warmy-worker holds %d secrets, %v", len(registrar["main"].secrets), err)
	}
	apps, err := microsoftApps(h.Config, registrar)
	if err != nil {
		t.Fatal(err)
	}
	client := microsoft.New(microsoft.Config{Apps: apps})
	write(t, secretFile, "new")
	h.twice(t, h.appRotations(client, config.WarmyWorker, registrar, nil))
	if _, given, err := client.Credentials("main"); err != nil || given.Reveal() != "new" {
		t.Errorf("Warmy would be given %q, %v", given.Reveal(), err)
	}
}

func TestSecretsOfTheEnvironmentAreNotFollowed(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Source{
		File: yaml(t, "apps: [{name: main}]\naccounts: [{name: main}]\n"), Environ: []string{"KINDLING_APP_MAIN_CLIENT_SECRET=x", "KINDLING_ACCOUNT_MAIN_API_KEY=x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHost(cfg, slog.New(slog.DiscardHandler))
	proofs, err := proofsOf(cfg, config.TokenWorker)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := warmyAccounts(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := append(h.appRotations(microsoft.New(microsoft.Config{}), config.TokenWorker, proofs, nil), h.keyRotations(warmy.New(warmy.Config{}), accounts, nil)...)
	if len(all) > 0 {
		t.Errorf("followed: %v", names(all))
	}
}
