package msid

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// assertionType is the only kind of client assertion there is (RFC 7523 § 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionSkew is how far a client's clock may be off.
const assertionSkew = 5 * time.Minute

// Proofs are what an app may prove itself with at one moment.
type Proofs struct {
	// Secrets are all valid at once, as during a rotation.
	Secrets []string
	// ExpiredSecrets are recognised and answered with AADSTS7000222.
	ExpiredSecrets []string
	// Certificates verify client assertions; their validity is not looked at.
	Certificates []*x509.Certificate
}

// SetProofs replaces what an app may prove itself with, as an administrator
// does in the portal. It reports whether there is such an app.
func (s *Server) SetProofs(clientID string, p Proofs) bool {
	s.proofsMu.Lock()
	defer s.proofsMu.Unlock()
	_, known := s.proofs[clientID]
	if known {
		s.proofs[clientID] = p
	}
	return known
}

func (s *Server) proofsOf(clientID string) Proofs {
	s.proofsMu.RLock()
	defer s.proofsMu.RUnlock()
	return s.proofs[clientID]
}

// proofError checks that the caller is the app: by exactly one of the two ways
// (RFC 6749 § 2.3).
func (s *Server) proofError(x exchange) int {
	p := s.proofsOf(x.app.ClientID)
	secret, assertion := x.form.Get("client_secret"), x.form.Get("client_assertion")
	switch {
	case secret == "" && assertion == "":
		return 7000218
	case secret != "" && assertion != "":
		return 90023
	case assertion != "":
		return s.assertionError(x, p, assertion)
	case slices.Contains(p.ExpiredSecrets, secret):
		return 7000222
	case !slices.Contains(p.Secrets, secret):
		return 7000215
	}
	return 0
}

// assertionError verifies a signed assertion: type, certificate, signature,
// subject, audience and time.
func (s *Server) assertionError(x exchange, p Proofs, raw string) int {
	if x.form.Get("client_assertion_type") != assertionType {
		return 900144
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.PS256, jose.RS256})
	if err != nil {
		return 700027
	}
	signer := signerOf(token, p.Certificates)
	var claims jwt.Claims
	if signer == nil || token.Claims(signer.PublicKey, &claims) != nil {
		return 700027
	}
	now := s.now()
	switch {
	case claims.Issuer != x.app.ClientID || claims.Subject != x.app.ClientID:
		return 700021
	case !claims.Audience.Contains(x.base + "/" + x.authority.path + "/oauth2/v2.0/token"):
		return 700023
	case claims.ID == "" || claims.Expiry == nil:
		return 700027
	case now.After(claims.Expiry.Time().Add(assertionSkew)), now.Add(assertionSkew).Before(claims.NotBefore.Time()):
		return 700024
	}
	return 0
}

// signerOf finds the certificate whose thumbprint stands in the header.
func signerOf(token *jwt.JSONWebToken, registered []*x509.Certificate) *x509.Certificate {
	named, _ := token.Headers[0].ExtraHeaders["x5t#S256"].(string)
	for _, c := range registered {
		sum := sha256.Sum256(c.Raw)
		if base64.RawURLEncoding.EncodeToString(sum[:]) == named {
			return c
		}
	}
	return nil
}
