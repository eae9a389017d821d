package config_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

// keys are two RSA keys and a short one, made once: they take their time.
var keys = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var made [3]*rsa.PrivateKey
	for i, bits := range []int{2048, 2048, 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		made[i] = key
	}
	return made
})

func certificateOf(t *testing.T, key *rsa.PrivateKey, from, until time.Time) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func pkcs1(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func pkcs8(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// certified is a configuration whose app has these two files and, if secret is not empty, a client secret.
func certified(t *testing.T, certificate, key, secret string) config.Config {
	t.Helper()
	extra := ""
	if secret != "" {
		extra = fmt.Sprintf(", client_secret_file: %q", write(t, "s", secret))
	}
	cfg, err := load(t, fmt.Sprintf(`
nats: {url: "nats://127.0.0.1:4222"}
edge: {public_url: "https://connect.example.com"}
keys: {dir: %q}
apps: [{name: main, client_id: %s, client_certificate_file: %q, client_key_file: %q%s}]
accounts: [{name: main, api_key_file: %q}]
`, t.TempDir(), clientID, certificate, key, extra, write(t, "k", "s3cret")), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestACertificateMustBeWholeValidAndStrongEnough(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good, other, short := keys()[0], keys()[1], keys()[2]
	valid := certificateOf(t, good, now.Add(-time.Hour), now.Add(365*24*time.Hour))
	for name, c := range map[string]struct{ certificate, key, want string }{
		"PKCS 1":             {valid, pkcs1(good), ""},
		"PKCS 8":             {valid, pkcs8(t, good), ""},
		"both in one file":   {valid + pkcs8(t, good), pkcs8(t, good) + valid, ""},
		"another key":        {valid, pkcs1(other), "apps.main.client_key_file: is not the key of client_certificate_file (name the key with which that certificate was made)"},
		"a short key":        {certificateOf(t, short, now.Add(-time.Hour), now.Add(time.Hour)), pkcs1(short), "apps.main.client_certificate_file: has a key of 1024 bits (make one with at least 2048)"},
		"expired":            {certificateOf(t, good, now.Add(-48*time.Hour), now.Add(-24*time.Hour)), pkcs1(good), "apps.main.client_certificate_file: expired on " + now.Add(-24*time.Hour).UTC().Format(time.DateOnly) + " (make a new certificate and upload it in Azure)"},
		"not yet valid":      {certificateOf(t, good, now.Add(24*time.Hour), now.Add(48*time.Hour)), pkcs1(good), "apps.main.client_certificate_file: is valid from " + now.Add(24*time.Hour).UTC().Format(time.DateOnly) + " only (wait, or set this machine's clock)"},
		"an elliptic one":    {certificate(t, now.Add(time.Hour)), pkcs1(good), "apps.main.client_certificate_file: is not a certificate of an RSA key (make one with an RSA key, which Microsoft asks for)"},
		"empty certificate":  {"", pkcs1(good), "apps.main.client_certificate_file: holds no PEM block CERTIFICATE (name a PEM file; a key must have no passphrase)"},
		"half a certificate": {valid[:len(valid)/2], pkcs1(good), "apps.main.client_certificate_file: holds no PEM block CERTIFICATE (name a PEM file; a key must have no passphrase)"},
		"rubbish inside":     {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", pkcs1(good), "apps.main.client_certificate_file: holds a certificate that cannot be read (export it again as PEM)"},
		"files swapped":      {pkcs1(good), valid, "apps.main.client_certificate_file: holds no PEM block CERTIFICATE (name a PEM file; a key must have no passphrase)\napps.main.client_key_file: holds no PEM block PRIVATE KEY (name a PEM file; a key must have no passphrase)"},
		"a passphrase":       {valid, strings.Replace(pkcs8(t, good), "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", 2), "apps.main.client_key_file: holds no PEM block PRIVATE KEY (name a PEM file; a key must have no passphrase)"},
		"a broken key":       {valid, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "apps.main.client_key_file: holds a key that cannot be read (export it again as PEM, without a passphrase)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := certified(t, write(t, "cert.pem", c.certificate), write(t, "key.pem", c.key), "")
			pair, err := cfg.Apps[0].Certificate.Read()
			if c.want == "" {
				if err != nil || !pair.Key().Equal(good) || pair.Leaf() == nil {
					t.Errorf("Read() = %v", err)
				}
				return
			}
			if err == nil || withoutValues(err) != c.want {
				t.Errorf("Read() = %v\nwant %s", err, c.want)
			}
			if pair.Key() != nil {
				t.Error("a refused pair is returned")
			}
			if required := cfg.Require(config.TokenWorker); required == nil || withoutValues(required) != c.want {
				t.Errorf("Require() = %v", required)
			}
		})
	}
}

// withoutValues is an error's text without the paths of this test.
func withoutValues(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		if key, rest, found := strings.Cut(line, " = "); found {
			_, rest, _ = strings.Cut(rest, "\": ")
			lines[i] = key + ": " + rest
		}
	}
	return strings.Join(lines, "\n")
}

func TestHalfACertificateIsRefused(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"client_certificate_file": "apps.main.client_key_file: is missing although client_certificate_file is set (name both files, or neither)",
		"client_key_file":         "apps.main.client_certificate_file: is missing although client_key_file is set (name both files, or neither)",
	} {
		_, err := load(t, fmt.Sprintf("apps: [{name: main, %s: x}]\n", given), nil)
		if diff := cmp.Diff([]string{want}, lines(t, err)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Token-worker has the certificate and needs no secret; warmy-worker needs the secret and must not need the key.
func TestEachWorkerNeedsItsOwnCredentialsOfAnApp(t *testing.T) {
	t.Parallel()
	now := time.Now()
	certificate := write(t, "cert.pem", certificateOf(t, keys()[0], now.Add(-time.Hour), now.Add(365*24*time.Hour)))
	key := write(t, "key.pem", pkcs1(keys()[0]))
	alone := certified(t, certificate, key, "")
	missing := "apps.main.client_secret: is missing: Warmy renews tokens with a client secret and has no field for a certificate (put it into a file and name that in apps.main.client_secret_file)"
	for role, want := range map[config.Role][]string{config.TokenWorker: nil, config.WarmyWorker: {missing}, config.Up: {missing}, config.Console: nil, config.Edge: nil} {
		var got []string
		if err := alone.Require(role); err != nil {
			got = lines(t, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("role %d (-want +got):\n%s", role, diff)
		}
	}
	unread := certified(t, "/nonexistent/cert", "/nonexistent/key", "s3cret")
	for _, role := range []config.Role{config.WarmyWorker, config.Edge, config.Console} {
		if err := unread.Require(role); err != nil {
			t.Errorf("role %d: %v", role, err)
		}
	}
}

func TestACertificateIsSeenAfterItsRotation(t *testing.T) {
	t.Parallel()
	now := time.Now()
	certificate := write(t, "cert.pem", certificateOf(t, keys()[0], now.Add(-time.Hour), now.Add(time.Hour)))
	key := write(t, "key.pem", pkcs1(keys()[0]))
	c := certified(t, certificate, key, "").Apps[0].Certificate
	first, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(certificate, []byte(certificateOf(t, keys()[1], now.Add(-time.Hour), now.Add(time.Hour))), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(); err == nil {
		t.Error("a new certificate is taken with the old key")
	}
	if err := os.WriteFile(key, []byte(pkcs1(keys()[1])), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := c.Read()
	if err != nil || second.Equal(first) || !second.Equal(second) || second.Equal(config.KeyPair{}) {
		t.Errorf("after both files: %v", err)
	}
}

func TestWhatExpiresSoonIsWarnedOf(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	day := func(n int) string { return now.AddDate(0, 0, n).Format(time.DateOnly) }
	certificate := write(t, "cert.pem", certificateOf(t, keys()[0], now.Add(-time.Hour), now.AddDate(0, 0, 20)))
	cfg, err := load(t, fmt.Sprintf(`apps: [{name: main, client_id: %s, client_secret_file: [%q, %q, %q, %q], client_secret_expires: [%s, %s, %s, %s],
  client_certificate_file: %q, client_key_file: %q}]`, clientID, write(t, "a", "a1"), write(t, "b", "b1"), write(t, "c", "c1"), write(t, "d", "d1"),
		day(31), day(30), day(0), day(-1), certificate, write(t, "key.pem", pkcs1(keys()[0]))), nil)
	if err != nil {
		t.Fatal(err)
	}
	const remedy = "make a new client secret; see docs/runbooks/client-secret-expires.md"
	secrets := []string{
		"apps.main.client_secret_expires[1] the client secret expires on " + day(30) + ", in 30 days: " + remedy,
		"apps.main.client_secret_expires[2] the client secret expires today: " + remedy,
		"apps.main.client_secret_expires[3] the client secret expired on " + day(-1) + ": " + remedy,
	}
	token := append([]string{"apps.main.client_certificate_file expires on " + day(20) + ", in 20 days: make a new certificate and upload it in Azure before that day"}, secrets...)
	for role, want := range map[config.Role][]string{config.TokenWorker: token, config.WarmyWorker: secrets, config.Console: secrets, config.Edge: nil} {
		var got []string
		for _, w := range cfg.Warnings(role) {
			got = append(got, w.Key+" "+w.Reason+": "+w.Remedy)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("role %d (-want +got):\n%s", role, diff)
		}
	}
}

func TestDatesOfSecretsAreChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"client_secret_file: [a, b], client_secret_expires: [2030-01-31]":             "apps.main.client_secret_expires: has 1 dates for 2 client secrets (write one date for each, in the order of client_secret_file)",
		"client_secret_file: a, client_secret_expires: [2030-01-31,2030-01-31]":       "apps.main.client_secret_expires: has 2 dates for 1 client secrets (write one date for each, in the order of client_secret_file)",
		"client_secret_file: a, client_secret_expires: 31.1.2030":                     `apps.main.client_secret_expires = "31.1.2030": is not a date (write as in 2027-03-31, the day on which the secret expires)`,
		"client_secret_file: a, client_secret_expires: [2030-02-30]":                  "apps.main.client_secret_expires: is not a date (write as in 2027-03-31, the day on which the secret expires)",
		"client_secret_file: a, client_secret_expires: []":                            "apps.main.client_secret_expires: is empty (leave the key out or give a value)",
		"client_secret_file: a, client_secret_expires: 2030-01-31":                    "",
		"client_secret_file: [a, b], client_secret_expires: [2030-01-31, 2031-01-31]": "",
		"client_secret_expires: [2030-01-31, 2031-01-31]":                             "", // of a process that is not given the secrets
	} {
		_, err := load(t, "apps: [{name: main, "+text+"}]\n", nil)
		var got []string
		if err != nil {
			got = lines(t, err)
		}
		if len(got) == 1 {
			_, got[0], _ = strings.Cut(got[0], "yaml:1: ")
		}
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0] != want) {
			t.Errorf("%s: problems = %q, want %q", text, got, want)
		}
	}
	cfg, err := load(t, "apps: [{name: main, client_secret_expires: 2030-01-31}]\n", []string{"KINDLING_APP_MAIN_CLIENT_SECRET=canary"})
	if err != nil || len(cfg.Apps[0].ClientSecretExpires) != 1 {
		t.Fatalf("one date for a secret of the environment: %v", err)
	}
	for _, e := range cfg.Show(false) {
		if e.Key == "apps.main.client_secret_expires" && e.Value != "2030-01-31" {
			t.Errorf("shown as %q", e.Value)
		}
	}
	if _, err := load(t, "apps: [{name: main}]\n", []string{"KINDLING_APP_MAIN_CLIENT_SECRET=canary", "KINDLING_APP_MAIN_CLIENT_SECRET_EXPIRES=2030-01-31,2031-01-31"}); err == nil {
		t.Error("two dates for one secret are taken")
	}
}
