package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
)

// rotated is a rotation of one secret in a file, with all that it does.
type rotated struct {
	t    *testing.T
	path string
	log  bytes.Buffer
	used []string
	*rotation[[]secret.Text]
}

func rotate(t *testing.T, first string) *rotated {
	t.Helper()
	r := &rotated{t: t, path: filepath.Join(t.TempDir(), "secret")}
	r.write(first)
	cfg, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf("apps: [{name: main, client_secret_file: %q}]\n", r.path))})
	if err != nil {
		t.Fatal(err)
	}
	held, err := cfg.Apps[0].ClientSecrets.Read()
	if err != nil {
		t.Fatal(err)
	}
	r.rotation = &rotation[[]secret.Text]{
		leg: "microsoft/main", read: cfg.Apps[0].ClientSecrets.Read, held: held,
		equal: func(a, b []secret.Text) bool { return proof{secrets: a}.equal(proof{secrets: b}) },
		use: func(_ context.Context, fresh []secret.Text) error {
			r.used = append(r.used, fresh[0].Reveal())
			return nil
		},
	}
	return r
}

func yaml(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kindling.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *rotated) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// looks looks n times and tells what the last look found.
func (r *rotated) looks(n int) (refused bool) {
	for range n {
		refused = r.look(r.t.Context(), slog.New(slog.NewTextHandler(&r.log, nil)))
	}
	return refused
}

func (r *rotated) said(word string) int { return strings.Count(r.log.String(), word) }

func TestAChangedSecretIsUsedOnceItHasSettled(t *testing.T) {
	t.Parallel()
	r := rotate(t, "canary-old\n")
	r.looks(3)
	r.write("canary-n")
	r.looks(1) // while it is being written
	r.write("canary-new\n")
	r.looks(1)
	if len(r.used) != 0 {
		t.Fatalf("half a secret is used: %q", r.used)
	}
	r.looks(5)
	if diff := cmp.Diff([]string{"canary-new"}, r.used); diff != "" {
		t.Error(diff)
	}
	if r.said("secret_reloaded") != 1 || r.said("level=WARN") != 0 || strings.Contains(r.log.String(), "canary") {
		t.Errorf("log: %s", r.log.String())
	}
	r.write("canary-old\n")
	r.looks(2)
	if diff := cmp.Diff([]string{"canary-new", "canary-old"}, r.used); diff != "" {
		t.Error("a rotation back is not taken over", diff)
	}
}

func TestWhatIsNoSecretKeepsTheOldOneAndIsToldOncePerChange(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(r *rotated){
		"emptied":   func(r *rotated) { r.write("") },
		"two lines": func(r *rotated) { r.write("canary\ncanary\n") },
		"quoted":    func(r *rotated) { r.write(`"canary"`) },
		"gone":      func(r *rotated) { _ = os.Remove(r.path) },
		"a directory": func(r *rotated) {
			_ = os.Remove(r.path)
			_ = os.Mkdir(r.path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rotate(t, "old")
			r.looks(2)
			spoil(r)
			if r.looks(1) {
				t.Error("one look is enough to call it spoilt")
			}
			if !r.looks(4) || len(r.used) != 0 {
				t.Errorf("it is not called spoilt, or was used: %q", r.used)
			}
			if r.said("secret_reload_failed") != 1 || strings.Contains(r.log.String(), "canary") {
				t.Errorf("log: %s", r.log.String())
			}
			_ = os.RemoveAll(r.path)
			r.write("old")
			if r.looks(2) || len(r.used) != 0 {
				t.Error("the old content is not taken for what is in use")
			}
			spoil(r)
			r.looks(2)
			if r.said("secret_reload_failed") != 2 {
				t.Errorf("the second time it is not told: %s", r.log.String())
			}
			_ = os.RemoveAll(r.path)
			r.write("new")
			if r.looks(2) || len(r.used) != 1 {
				t.Errorf("after that a good one is not used: %q", r.used)
			}
		})
	}
}

// Kubernetes swaps a symlink: the file's own time and place say nothing.
func TestASwappedSymlinkIsAChange(t *testing.T) {
	t.Parallel()
	r := rotate(t, "old")
	target := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(target, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, r.path); err != nil {
		t.Fatal(err)
	}
	r.looks(2)
	if diff := cmp.Diff([]string{"new"}, r.used); diff != "" {
		t.Error(diff)
	}
}

// consentsAt is consents with a code that this Microsoft knows.
func (v *visitor) consentsAt(server *msid.Server, clientID string) {
	v.t.Helper()
	_, location, _ := v.try("POST", v.base+"/c/"+v.link+"/start")
	to, err := url.Parse(location)
	if err != nil {
		v.t.Fatal(err)
	}
	q := to.Query()
	code := server.IssueCodes(msid.NewCode{
		ClientID: clientID, Tenant: "organizations", RedirectURI: q.Get("redirect_uri"), Scope: "openid profile offline_access User.Read Mail.Send Mail.ReadWrite", Nonce: q.Get("nonce"),
		Challenge: q.Get("code_challenge"), Addresses: []string{"jane@contoso.example"},
	})[0]
	v.callbacks = v.base + "/oauth-callback/main?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	within(v.t, "the answer is taken", func() bool {
		status, _, _ := v.try("GET", v.callbacks)
		return status == 303
	})
}

// words is a log that a test may read while a process writes it.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) count(word string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.text.String(), word)
}

// gathered are all gauges, by name and labels.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = m.GetGauge().GetValue()
		}
	}
	return all
}

// tokenWorkerWith runs the edge and token-worker for one owner, who has consented at server. The app's credentials are these
// settings; the probe of a hold is an hour away.
func tokenWorkerWith(t *testing.T, proofs msid.Proofs, settings string) (v *visitor, b *bus.Bus, h Host, log *words) {
	t.Helper()
	const clientID = "11111111-2222-3333-4444-555555555555"
	s := newStore(t)
	v = invite(t, s, s.opts.Listen)
	server := msid.New(msid.Config{SigningAlg: msid.ES256, Seed: 1, Apps: []msid.App{{
		ClientID: clientID, Secrets: proofs.Secrets, Certificates: proofs.Certificates, RedirectURIs: []string{v.base + "/oauth-callback/main"},
	}}})
	microsoft := httptest.NewServer(server)
	t.Cleanup(microsoft.Close)
	cfg, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf(`
nats: {url: "nats://%s"}
edge: {public_url: %q}
keys: {dir: %q}
policy: {hold_for: 1h}
metrics: {listen: ""}
apps: [{name: main, client_id: %s, allow_custom_authority: true, authority: %q, graph_url: %q, %s}]
`, s.opts.Listen, v.base, v.keys, clientID, microsoft.URL, microsoft.URL, settings))})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Require(config.TokenWorker); err != nil {
		t.Fatal(err)
	}
	log = &words{}
	h = NewHost(cfg, slog.New(slog.NewTextHandler(log, nil)))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- TokenWorker(ctx, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("token-worker ended with %v", err)
		}
	})
	v.consentsAt(server, clientID)
	return v, v.bus(s), h, log
}

func awaitHeld(t *testing.T, b *bus.Bus, code string) {
	t.Helper()
	within(t, "the leg is held for "+code, func() bool {
		legs, err := b.Legs().List(t.Context())
		return err == nil && slices.ContainsFunc(legs, func(l leg.Leg) bool {
			return l.Name == "microsoft/main" && l.State == leg.Held && l.Code == code
		})
	})
}

func awaitSaved(t *testing.T, b *bus.Bus, id mailbox.ID) {
	t.Helper()
	within(t, "the code is redeemed", func() bool {
		g, _, err := b.Grants(nil).Load(t.Context(), id)
		return err == nil && g.Phase == mailbox.GrantSaved
	})
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACorrectedSecretFileOpensTheHeldLegAndSavesTheCode(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "secret"), "canary-wrong\n")
	expires := time.Now().UTC().AddDate(0, 0, 500).Format(time.DateOnly)
	v, b, h, log := tokenWorkerWith(t, msid.Proofs{Secrets: []string{"good"}}, fmt.Sprintf("client_secret_file: %q, client_secret_expires: %s", file, expires))
	awaitHeld(t, b, "AADSTS7000215")
	write(t, file, "good\n")
	awaitSaved(t, b, v.mailbox)
	within(t, "the change is told once", func() bool { return log.count("secret_reloaded") == 1 })
	if log.count("canary") != 0 {
		t.Error("the log shows the secret")
	}
	figures := gathered(t, h.Registry)
	if got, known := figures["kindling_secret_reload_failed microsoft/main token-worker"]; !known || got != 0 {
		t.Errorf("figures = %v", figures)
	}
	if got := figures["kindling_client_secret_days_left main 1"]; got < 499 || got > 500 {
		t.Errorf("figures = %v", figures)
	}
}

// No client secret is given to this token-worker at all.
func TestANewCertificateOpensTheHeldLegAndSavesTheCode(t *testing.T) {
	t.Parallel()
	unknown, unknownKey, _ := certificate(t, 20)
	known, knownKey, leaf := certificate(t, 700)
	dir := t.TempDir()
	certFile, keyFile := write(t, filepath.Join(dir, "crt"), unknown), write(t, filepath.Join(dir, "key"), unknownKey)
	v, b, h, log := tokenWorkerWith(t, msid.Proofs{Certificates: []*x509.Certificate{leaf}},
		fmt.Sprintf("client_certificate_file: %q, client_key_file: %q", certFile, keyFile))
	awaitHeld(t, b, "AADSTS700027")
	const figure = "kindling_client_secret_days_left main certificate"
	if got := gathered(t, h.Registry)[figure]; got < 19 || got > 20 {
		t.Errorf("%s = %v", figure, got)
	}
	write(t, keyFile, knownKey)
	write(t, certFile, known)
	awaitSaved(t, b, v.mailbox)
	within(t, "the change is told once", func() bool { return log.count("secret_reloaded") == 1 })
	if got := gathered(t, h.Registry)[figure]; got < 699 || got > 700 {
		t.Errorf("%s = %v", figure, got)
	}
}

// certificate makes a pair that is valid for so many days.
func certificate(t *testing.T, days int) (certPEM, keyPEM string, leaf *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, days)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return certPEM, keyPEM, leaf
}
