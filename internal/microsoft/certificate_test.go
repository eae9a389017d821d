package microsoft_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
)

// pair is a certificate as an operator has it.
func pair(t *testing.T, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func otherKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func credential(t *testing.T, leaf *x509.Certificate, key *rsa.PrivateKey) *microsoft.Certificate {
	t.Helper()
	c, err := microsoft.NewCertificate(leaf, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAppWithACertificateSendsAFreshAssertionAndNoSecret(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	leaf := pair(t, signer())
	client := server.client(t, func(a *microsoft.App) { a.Certificate = credential(t, leaf, signer()) })
	if err := redeem(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)}); err != nil {
		t.Fatal(err)
	}
	if len(server.forms) != 2 {
		t.Fatalf("%d requests for two exchanges", len(server.forms))
	}
	ids := map[string]bool{}
	for i, form := range server.forms {
		if form.Has("client_secret") || form.Get("client_id") != clientID || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("form %d proves the app otherwise: %v", i, form)
		}
		token, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.PS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := token.Claims(&signer().PublicKey, &claims); err != nil {
			t.Fatal(err)
		}
		ids[claims.ID] = true
		claims.ID = ""
		at := jwt.NewNumericDate(clock())
		want := jwt.Claims{
			Issuer: clientID, Subject: clientID, Audience: jwt.Audience{server.URL + "/organizations/oauth2/v2.0/token"},
			NotBefore: at, IssuedAt: at, Expiry: jwt.NewNumericDate(clock().Add(5 * time.Minute)),
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Error(diff)
		}
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("ids of assertions: %v", ids)
	}
	if code, refresh := server.forms[0].Get("code"), server.forms[1].Get("refresh_token"); code != "code-"+canary || refresh != "refresh-"+canary {
		t.Error("the rest of the form was lost")
	}
	if _, used, err := client.Credentials("main"); err != nil || used.Reveal() != "secret-"+canary {
		t.Errorf("Warmy is not given the secret: %v", err)
	}
}

func TestACertificateIsRefusedOnceAndNeverFallsBackOnTheSecret(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	server.onToken(errorAnswer("invalid_client", 700027))
	leaf := pair(t, signer())
	client := server.client(t, func(a *microsoft.App) { a.Certificate = credential(t, leaf, signer()) })
	f := wants(t, redeem(t.Context(), client), fault.LegDown, "AADSTS700027", "")
	if got := server.hits.Load(); got != 1 {
		t.Errorf("%d requests", got)
	}
	if !microsoft.RefusedCredentials(f.Code) {
		t.Error("a new certificate would not be tried at once")
	}
}

func TestTheSimulatorTakesGoodAssertionsAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	registered := pair(t, signer())
	stranger := otherKey(t)
	for name, c := range map[string]struct {
		certificate *microsoft.Certificate
		clock       func() time.Time
		code        string
	}{
		"good":                     {credential(t, registered, signer()), time.Now, ""},
		"a clock a minute behind":  {credential(t, registered, signer()), shifted(-time.Minute), ""},
		"another key":              {credential(t, registered, stranger), time.Now, "AADSTS700027"},
		"a certificate not known":  {credential(t, pair(t, stranger), stranger), time.Now, "AADSTS700027"},
		"expired":                  {credential(t, registered, signer()), shifted(-time.Hour), "AADSTS700024"},
		"from tomorrow's machine":  {credential(t, registered, signer()), shifted(24 * time.Hour), "AADSTS700024"},
		"none where one is needed": {nil, time.Now, "AADSTS7000218"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := patient(t, msid.App{Certificates: []*x509.Certificate{registered}}, microsoft.App{Certificate: c.certificate}, c.clock)
			tokens, err := s.client.Redeem(t.Context(), "main", s.consentOf(address))
			if err == nil {
				_, err = s.client.Refresh(t.Context(), "main", tokens)
			}
			if c.code != "" {
				wants(t, err, fault.LegDown, c.code, "")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// patient is a simulated Microsoft with this app, and a client of it that waits as long as the real one.
func patient(t *testing.T, registered msid.App, app microsoft.App, now func() time.Time) simulated {
	t.Helper()
	registered.ClientID, registered.RedirectURIs = clientID, []string{simRedirect}
	server := msid.New(msid.Config{SigningAlg: msid.ES256, Seed: 1, Apps: []msid.App{registered}})
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	app.Name, app.Tenant, app.ClientID, app.RedirectURI = "main", "organizations", clientID, simRedirect
	app.Scopes, app.LoginURL, app.GraphURL = strings.Fields(simScope), listener.URL, listener.URL
	return simulated{server, microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Transport: transport, Now: now})}
}

func shifted(by time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(by) }
}

// An assertion for one tenant must not do at another's token endpoint.
func TestAnAssertionIsForTheEndpointThatItIsSentTo(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	leaf := pair(t, signer())
	client := server.client(t, func(a *microsoft.App) { a.Certificate = credential(t, leaf, signer()) })
	own := consent()
	own.Tenant = tenantID
	if _, err := client.Redeem(t.Context(), "main", own); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(server.forms[0].Get("client_assertion"), []jose.SignatureAlgorithm{jose.PS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	if want := server.URL + server.paths[0]; !claims.Audience.Contains(want) || !strings.Contains(want, tenantID) {
		t.Errorf("audience %v, sent to %s", claims.Audience, want)
	}
}

func TestNoFormOfAnAppShowsTheKeyOfItsCertificate(t *testing.T) {
	t.Parallel()
	app := microsoft.App{Name: "main", Certificate: credential(t, pair(t, signer()), signer())}
	encoded, err := json.Marshal(any(app))
	if err == nil && strings.Contains(string(encoded), `"D"`) {
		t.Error("JSON shows the key")
	}
	printed := fmt.Sprintf("%v %+v %#v %+v %#v", app, app, app, *app.Certificate, *app.Certificate)
	if d := signer().D; strings.Contains(printed, d.String()) || strings.Contains(printed, fmt.Sprintf("%x", d)) {
		t.Error("a printed form shows the key")
	}
}

func TestAnAssertionThatCannotBeSignedSendsNothing(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	small := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(15), E: 3}, D: big.NewInt(3), Primes: []*big.Int{big.NewInt(3), big.NewInt(5)}}
	client := server.client(t, func(a *microsoft.App) { a.Certificate = credential(t, pair(t, signer()), small) })
	err := redeem(t.Context(), client)
	wants(t, err, fault.Transient, "microsoft_not_asked", "")
	if server.hits.Load() != 0 {
		t.Error("a request went out without a proof of the app")
	}
}
