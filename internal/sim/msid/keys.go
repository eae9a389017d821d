package msid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"

	"kindling/internal/sim/journal"
	"kindling/internal/sim/trouble"
)

// Signing algorithms of id_tokens.
const (
	RS256 = "RS256"
	ES256 = "ES256"
)

// keyring signs id_tokens and publishes the keys. The first key is made when
// it is first needed, because RSA takes its time.
type keyring struct {
	alg     string
	journal *journal.Journal[record] // nil: memory only

	mu   sync.Mutex
	keys []signingKey // the last one signs
}

type signingKey struct {
	id     string
	signer crypto.Signer
}

func newKeyring(alg string) (*keyring, error) {
	if alg == "" {
		alg = RS256
	}
	if alg != RS256 && alg != ES256 {
		return nil, fmt.Errorf("unknown signing algorithm %q", alg)
	}
	return &keyring{alg: alg}, nil
}

func (k *keyring) current() signingKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 0 {
		k.add(k.generate(), false)
	}
	return k.keys[len(k.keys)-1]
}

// rotate signs with a new key from now on. The old keys stay published unless
// they are to be forgotten.
func (k *keyring) rotate(forget bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(k.generate(), forget)
}

// add makes a key the one that signs; the caller holds the mutex.
func (k *keyring) add(key signingKey, forget bool) {
	if forget {
		k.keys = nil
	}
	k.keys = append(k.keys, key)
	k.journal.Append(func() record { return record{Key: key.record(k.alg, forget)} })
}

func (k *keyring) generate() signingKey {
	var signer crypto.Signer
	var err error
	if k.alg == ES256 {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic("msid: " + err.Error())
	}
	return signingKey{id: rand.Text(), signer: signer}
}

// RotateKeys signs id_tokens with a new key; forget removes the old ones from
// the published set.
func (s *Server) RotateKeys(forget bool) { s.keys.rotate(forget) }

// idToken returns the signed id_token of a grant, spoilt as the rule has it.
func (k *keyring) idToken(x exchange, g *grant, a asked, now time.Time) string {
	claims := baseClaims(x.base, g, now)
	if a.profile {
		claims["name"], claims["preferred_username"], claims["oid"] = g.user.Name, g.user.PrincipalName, g.user.ObjectID
	}
	if a.email && !g.user.NoMail {
		claims["email"] = g.user.Mail
	}
	if x.op == OpCode && g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	flaw := ""
	if x.rule.Kind == KindSignature {
		flaw = x.rule.Value
	}
	if x.rule.Kind == KindClaims {
		for name, value := range x.rule.Set {
			claims[name] = value
		}
		maps.DeleteFunc(claims, func(name string, _ any) bool { return slices.Contains(x.rule.Drop, name) })
	}
	return k.sign(claims, flaw)
}

func baseClaims(base string, g *grant, now time.Time) map[string]any {
	return map[string]any{
		"aud": g.app.ClientID, "iss": base + "/" + g.user.TenantID + "/v2.0",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"tid": g.user.TenantID, "sub": hash(g.app.ClientID + g.user.ObjectID)[:43],
		"uti": rand.Text()[:22], "ver": "2.0",
	}
}

// sign writes a JWS (RFC 7515). A flaw is "broken", "none", "hs256" or
// "unknown_kid"; anything else signs properly.
func (k *keyring) sign(claims map[string]any, flaw string) string {
	key := k.current()
	head := map[string]string{"typ": "JWT", "alg": k.alg, "kid": key.id}
	switch flaw {
	case FlawNone:
		head["alg"] = "none"
	case FlawHS256:
		head["alg"] = "HS256"
	case FlawUnknownKey:
		head["kid"] = rand.Text()
	}
	input := segment(head) + "." + segment(claims)
	if flaw == FlawNone {
		return input + "."
	}
	signature := key.sign(input)
	switch flaw {
	case FlawHS256:
		mac := hmac.New(sha256.New, []byte(key.id))
		_, _ = mac.Write([]byte(input))
		signature = mac.Sum(nil)
	case FlawBroken:
		signature[len(signature)/2] ^= 1
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func segment(v any) string {
	body, err := json.Marshal(v)
	if err != nil {
		panic("msid: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(body)
}

func (k signingKey) sign(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	if key, ok := k.signer.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic("msid: " + err.Error())
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	signature, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic("msid: " + err.Error())
	}
	return signature
}

// jwk is a public key in the form of RFC 7517.
type jwk struct {
	KeyType string `json:"kty"`
	Use     string `json:"use"`
	ID      string `json:"kid"`
	Alg     string `json:"alg"`
	N       string `json:"n,omitempty"`
	E       string `json:"e,omitempty"`
	Curve   string `json:"crv,omitempty"`
	X       string `json:"x,omitempty"`
	Y       string `json:"y,omitempty"`
}

func (k *keyring) published() []jwk {
	k.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]jwk, 0, len(k.keys))
	for _, key := range k.keys {
		out = append(out, key.public(k.alg))
	}
	return out
}

func (k signingKey) public(alg string) jwk {
	b64 := base64.RawURLEncoding.EncodeToString
	out := jwk{Use: "sig", ID: k.id, Alg: alg}
	switch public := k.signer.Public().(type) {
	case *rsa.PublicKey:
		out.KeyType, out.N, out.E = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic("msid: " + err.Error())
		}
		out.KeyType, out.Curve, out.X, out.Y = "EC", "P-256", b64(point[1:33]), b64(point[33:])
	}
	return out
}

func (s *Server) keySet(w http.ResponseWriter, r *http.Request) {
	s.plain(w, r, OpKeys, func() trouble.Reply {
		return trouble.JSON(http.StatusOK, map[string]any{"keys": s.keys.published()})
	})
}

// metadata answers the discovery document; for the shared authorities its
// issuer holds the placeholder that Microsoft's holds.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	s.plain(w, r, OpMetadata, func() trouble.Reply {
		a, ok := s.authority(r.PathValue("tenant"))
		if !ok {
			return refusal(90002).reply(s.now())
		}
		base := s.base(r)
		root := base + "/" + a.path
		return trouble.JSON(http.StatusOK, map[string]any{
			"issuer": base + "/" + or(a.tid, "{tenantid}") + "/v2.0", "authorization_endpoint": root + "/oauth2/v2.0/authorize",
			"token_endpoint": root + "/oauth2/v2.0/token", "jwks_uri": root + "/discovery/v2.0/keys",
			"response_modes_supported": []string{"query", "form_post"}, "response_types_supported": []string{"code"},
			"subject_types_supported": []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{s.keys.alg},
			"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
			"cloud_instance_name":                   "microsoftonline.com", "msgraph_host": "graph.microsoft.com",
		})
	})
}
