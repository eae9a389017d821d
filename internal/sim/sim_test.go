package sim_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"kindling/internal/sim"
	"kindling/internal/sim/msid"
)

// run starts the simulators and returns their addresses.
func run(t *testing.T, args ...string) sim.Running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := sim.Run(ctx, args, in, io.Discard)
		_ = in.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var at sim.Running
	if err := json.Unmarshal([]byte(line), &at); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return at
}

func post(t *testing.T, to, kind, body string, header map[string]string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	var client http.Client
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

const redirect = "http://127.0.0.1:8080/oauth-callback/main"

// tokens gets a code over the control path and redeems it.
func tokens(t *testing.T, at sim.Running) (int, map[string]any) {
	t.Helper()
	ask, err := json.Marshal(msid.NewCode{ClientID: "app", RedirectURI: redirect, Scope: "offline_access User.Read", Addresses: []string{"ann@contoso.example"}})
	if err != nil {
		t.Fatal(err)
	}
	var issued struct{ Codes []string }
	post(t, at.Microsoft+"/_sim/codes", "application/json", string(ask), nil, &issued)
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"app"}, "client_secret": {"s"}, "code": issued.Codes, "redirect_uri": {redirect}}
	var body map[string]any
	status := post(t, at.Microsoft+"/organizations/oauth2/v2.0/token", "application/x-www-form-urlencoded", form.Encode(), nil, &body)
	return status, body
}

func TestWarmyKnowsTheTokensThatMicrosoftIssued(t *testing.T) {
	t.Parallel()
	at := run(t, "--client-id", "app", "--client-secret", "s", "--redirect-uri", redirect, "--api-key", "k", "--signing-alg", "ES256")
	_, body := tokens(t, at)
	header := map[string]string{"Authorization": "Bearer k", "holder-uid": "a66a9a755fe16f24fcb99dc8b5f25a50"}
	for token, want := range map[any]int{body["access_token"]: http.StatusOK, "made up": http.StatusBadRequest} {
		mailbox, err := json.Marshal(map[string]any{"mailbox": map[string]any{
			"provider": "oauth_outlook", "from_name": "Ann", "email": "ann@contoso.example", "client_id": "app", "client_secret": "s",
			"access_token": token, "refresh_token": body["refresh_token"], "tariff_plan_type_id": 41,
		}})
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if got := post(t, at.Warmy+"/api/v2/mailboxes", "application/json", string(mailbox), header, &out); got != want {
			t.Errorf("status %d, want %d: %v", got, want, out)
		}
	}
}

func TestAFileOfFaultsIsInForceFromTheStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "faults.json")
	if err := os.WriteFile(file, []byte(`{"microsoft":{"add":[{"kind":"aadsts","code":90033,"times":1}]},"warmy":{"switches":{"outage":502}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	at := run(t, "--client-id", "app", "--client-secret", "s", "--redirect-uri", redirect, "--faults", file)
	if status, body := tokens(t, at); status != http.StatusServiceUnavailable {
		t.Errorf("first: %d %v", status, body)
	}
	if status, body := tokens(t, at); status != http.StatusOK {
		t.Errorf("second: %d %v", status, body)
	}
}

func TestACertificateOfTheCommandLineProvesTheApp(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	at := run(t, "--client-id", "app", "--client-certificate", file, "--signing-alg", "ES256")
	endpoint := at.Microsoft + "/organizations/oauth2/v2.0/token"
	sum := sha256.Sum256(der)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: key},
		(&jose.SignerOptions{}).WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(sum[:])))
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "app", Subject: "app", Audience: jwt.Audience{endpoint}, ID: "1", Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {"none"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	for assertion, want := range map[string]string{assertion: "AADSTS9002313", assertion + "x": "AADSTS700027"} {
		form.Set("client_assertion", assertion)
		var body map[string]any
		post(t, endpoint, "application/x-www-form-urlencoded", form.Encode(), nil, &body)
		if text, _ := body["error_description"].(string); !strings.HasPrefix(text, want) {
			t.Errorf("answer %v, want %s", body, want)
		}
	}
}

func TestAWrongCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"warmy":{"rules":[{"kind":"nope"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"not defined":      {"--nope"},
		"unexpected":       {"extra"},
		"RS256":            {"--signing-alg", "none"},
		"loopback":         {"--warmy-listen", "0.0.0.0:0"},
		"listen address":   {"--microsoft-listen", "x"},
		"no such file":     {"--faults", "/nonexistent.json"},
		"rule 1: unknown":  {"--faults", bad},
		"invalid value \"": {"--latency", "soon"},
		"is no PEM file":   {"--client-certificate", bad},
	} {
		err := sim.Run(t.Context(), args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	if err := sim.Run(t.Context(), []string{"--help"}, io.Discard, io.Discard); err != nil {
		t.Errorf("--help: %v", err)
	}
}
