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

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/sim/msid"
)

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
