package msid_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"kindling/internal/sim/msid"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// holder has a certificate that is registered with the app.
type holder struct {
	t    *testing.T
	key  *rsa.PrivateKey
	leaf *x509.Certificate
}

func newHolder(t *testing.T) holder {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return holder{t, key, leaf}
}

func (h holder) sign(key *rsa.PrivateKey, alg jose.SignatureAlgorithm, claims jwt.Claims) string {
	h.t.Helper()
	sum := sha256.Sum256(h.leaf.Raw)
	options := (&jose.SignerOptions{}).WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(sum[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		h.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func TestAClientAssertionIsCheckedAsStrictlyAsASecret(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	m := start(t, func(c *msid.Config) { c.Apps[0].Certificates = []*x509.Certificate{h.leaf} })
	now := time.Now()
	good := func(change func(*jwt.Claims)) jwt.Claims {
		c := jwt.Claims{
			Issuer: clientID, Subject: clientID, Audience: jwt.Audience{m.url + "/organizations/oauth2/v2.0/token"}, ID: rand.Text(),
			NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
		}
		if change != nil {
			change(&c)
		}
		return c
	}
	signed := func(change func(*jwt.Claims)) url.Values {
		return url.Values{
			"client_secret": {""}, "client_assertion_type": {assertionType}, "client_assertion": {h.sign(h.key, jose.PS256, good(change))},
		}
	}
	with := func(form url.Values, name, value string) url.Values {
		form.Set(name, value)
		return form
	}
	for name, c := range map[string]struct {
		form   url.Values
		number int
	}{
		"good":              {signed(nil), 0},
		"with RS256":        {with(signed(nil), "client_assertion", h.sign(h.key, jose.RS256, good(nil))), 0},
		"with PS512":        {with(signed(nil), "client_assertion", h.sign(h.key, jose.PS512, good(nil))), 700027},
		"another key":       {with(signed(nil), "client_assertion", h.sign(newHolder(t).key, jose.PS256, good(nil))), 700027},
		"no JWT":            {with(signed(nil), "client_assertion", "x"), 700027},
		"no type":           {with(signed(nil), "client_assertion_type", ""), 900144},
		"with a secret too": {with(signed(nil), "client_secret", secret), 90023},
		"neither":           {url.Values{"client_secret": {""}}, 7000218},
		"another subject":   {signed(func(c *jwt.Claims) { c.Subject = "other" }), 700021},
		"another issuer":    {signed(func(c *jwt.Claims) { c.Issuer = "other" }), 700021},
		"another tenant":    {signed(func(c *jwt.Claims) { c.Audience = jwt.Audience{m.url + "/common/oauth2/v2.0/token"} }), 700023},
		"another host":      {signed(func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://evil.example/organizations/oauth2/v2.0/token"} }), 700023},
		"no jti":            {signed(func(c *jwt.Claims) { c.ID = "" }), 700027},
		"no end":            {signed(func(c *jwt.Claims) { c.Expiry = nil }), 700027},
		"expired":           {signed(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(-6 * time.Minute)) }), 700024},
		"not yet":           {signed(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(now.Add(6 * time.Minute)) }), 700024},
	} {
		code := m.code()
		status, body := m.token(codeForm(code), c.form)
		if c.number == 0 && status != http.StatusOK || c.number != 0 && (status == http.StatusOK || number(t, body) != c.number) {
			t.Errorf("%s: %d %v, want AADSTS%d", name, status, body, c.number)
		}
	}
}

func TestProofsCanBeReplacedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	m := start(t, nil)
	if !m.SetProofs(clientID, msid.Proofs{Secrets: []string{"third"}, ExpiredSecrets: []string{secret}}) || m.SetProofs("other", msid.Proofs{}) {
		t.Error("the app is not known, or another one is")
	}
	if _, body := m.token(codeForm(m.code()), nil); number(t, body) != 7000222 {
		t.Errorf("the old secret: %v", body)
	}
	if status, body := m.token(codeForm(m.code()), url.Values{"client_secret": {"third"}}); status != http.StatusOK {
		t.Errorf("the new secret: %v", body)
	}
}
