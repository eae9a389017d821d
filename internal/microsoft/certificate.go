package microsoft

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// assertionType tells the token endpoint that the client proves itself with a signed assertion (RFC 7523 § 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLife is how long an assertion can be used. Each serves one request.
const assertionLife = 5 * time.Minute

// Certificate is a certificate with its private key. With it an app signs a fresh assertion for each request instead of
// sending a secret (private_key_jwt). The key is behind a function: no form of printing shows it.
type Certificate struct {
	sign func(jwt.Claims) (string, error)
}

// NewCertificate returns the certificate leaf with its key. Whether they belong together, and are still valid, is for the
// caller to know.
func NewCertificate(leaf *x509.Certificate, key *rsa.PrivateKey) (*Certificate, error) {
	thumbprint := sha256.Sum256(leaf.Raw)
	options := (&jose.SignerOptions{}).WithType("JWT").
		WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(thumbprint[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: key}, options)
	if err != nil {
		return nil, fmt.Errorf("signer of the certificate: %w", err)
	}
	return &Certificate{sign: func(claims jwt.Claims) (string, error) {
		return jwt.Signed(signer).Claims(claims).Serialize()
	}}, nil
}

// assertion proves to endpoint, for a few minutes, that the certificate's holder is the client.
func (c *Certificate) assertion(clientID, endpoint string, now time.Time) (string, error) {
	at := jwt.NewNumericDate(now)
	return c.sign(jwt.Claims{
		Issuer: clientID, Subject: clientID, Audience: jwt.Audience{endpoint}, ID: rand.Text(),
		NotBefore: at, IssuedAt: at, Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	})
}

// asserting is a RoundTripper that adds a fresh assertion to the form of each request. x/oauth2 lets nobody add a parameter
// to a refresh, so both exchanges take this way.
type asserting struct {
	base        http.RoundTripper
	certificate *Certificate
	clientID    string
	now         func() time.Time
}

// RoundTrip sends the request with an assertion and without a secret.
func (a asserting) RoundTrip(req *http.Request) (*http.Response, error) {
	form, err := formOf(req)
	if err != nil {
		return nil, err
	}
	signed, err := a.certificate.assertion(a.clientID, req.URL.String(), a.now())
	if err != nil {
		return nil, fmt.Errorf("sign the assertion: %w", err)
	}
	form.Del("client_secret")
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", signed)
	return a.base.RoundTrip(withForm(req, form))
}

// withForm is req with another form; the given one must not be changed.
func withForm(req *http.Request, form url.Values) *http.Request {
	body := form.Encode()
	next := req.Clone(req.Context())
	next.ContentLength = int64(len(body))
	next.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	next.Body, _ = next.GetBody()
	return next
}

// formOf reads the form of a request and closes its body, as a RoundTripper must.
func formOf(req *http.Request) (url.Values, error) {
	defer func() { _ = req.Body.Close() }()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("read the form: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("read the form: %w", err)
	}
	return form, nil
}
