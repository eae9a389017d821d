package microsoft

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

func FuzzAnAnswerOfTheTokenEndpoint(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","refresh_token":"r","expires_in":3600,"scope":"Mail.Send"}`, `{"error":"invalid_grant","error_codes":[50196]}`,
		`{"expires_in":1e999,"access_token":"a"}`, `{"error":{},"error_codes":{"a":1}}`, "\xef\xbb\xbf{}", `[]`, `null`, ``, `{"access_token":null}`,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, body string) {
		got := &answer{status: status, header: http.Header{}, body: []byte(body)}
		for _, lane := range []lane{codeLane, refreshLane} {
			tokens, failure := parseGrant(got, origin{lane: lane}, now)
			if failure == nil && (tokens.Access.Empty() || tokens.Expiry.Before(now.Add(leastLife)) || tokens.Expiry.After(now.Add(mostLife))) {
				t.Errorf("accepted %+v", tokens)
			}
			sound(t, failure)
			no := refused(got, origin{lane: lane}, now)
			sound(t, no)
			if r := parseRefusal(got.body); lane == refreshLane && no.Reason == mailbox.Revoked && !r.neverAgain() && len(r.codes) == 0 {
				t.Errorf("%s destroys tokens, and nothing says that they are dead", body)
			}
		}
	})
}

func FuzzAProfile(f *testing.F) {
	for _, seed := range []string{`{"id":"1","mail":"j@x.example"}`, `{"id":"1","mail":null,"proxyAddresses":["smtp:j@x.example"]}`, `{"id":5}`, ``, `{"id":"1","mail":"@"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, unread := parseProfile([]byte(body))
		if unread != nil {
			sound(t, unread)
			return
		}
		failure := p.match(events.Proof{ObjectID: p.ID}, "invited@contoso.example")
		if failure != nil {
			sound(t, fault.Of(failure))
		}
		if failure == nil && foldASCII(p.Mail) != "invited@contoso.example" && foldASCII(p.UPN) != "invited@contoso.example" {
			t.Errorf("%q passed for the invited address", body)
		}
	})
}

// fuzzKey signs the tokens that are good.
var fuzzKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

const (
	fuzzClient = "11111111-2222-4333-8444-555555555555"
	fuzzTenant = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	fuzzLogin  = "https://login.microsoftonline.com"
)

func fuzzToken(tb testing.TB, claims string) string {
	tb.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: fuzzKey(), KeyID: "k1"}}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := signer.Sign([]byte(claims))
	if err != nil {
		tb.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return compact
}

// FuzzAnIDToken gives the proof any token, and any claims in a token that Microsoft has really signed: only those of this
// attempt, for this app, from the tenant that they name may prove anything.
func FuzzAnIDToken(f *testing.F) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	good := fmt.Sprintf(`{"iss":"%s/%s/v2.0","aud":"%s","tid":"%s","oid":"%s","nonce":"n","exp":%d}`,
		fuzzLogin, fuzzTenant, fuzzClient, fuzzTenant, fuzzTenant, now.Add(time.Hour).Unix())
	for _, seed := range []string{good, `{}`, `{"tid":["x"],"oid":5}`, `null`, strings.Replace(good, fuzzTenant, "..", 1), ``} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Add(fuzzToken(f, good), false)
	f.Add("eyJhbGciOiJub25lIn0.e30.", false)
	app := App{Name: "main", Tenant: "organizations", ClientID: fuzzClient, Scopes: []string{"openid"}, LoginURL: fuzzLogin}
	f.Fuzz(func(t *testing.T, text string, signed bool) {
		client := New(Config{Apps: []App{app}, Now: func() time.Time { return now }})
		ring := client.keyring(app)
		ring.keys = []jose.JSONWebKey{{Key: &fuzzKey().PublicKey, KeyID: "k1"}}
		ring.fetched = []time.Time{now, now} // nothing more is asked for
		raw := text
		if signed {
			raw = fuzzToken(t, text)
		}
		proof, err := client.identity(t.Context(), app, mailbox.Tokens{IDToken: secret.New(raw), Nonce: secret.New("n")})
		if err != nil {
			sound(t, fault.Of(err))
			if fault.Of(err).Code == "unclassified" {
				t.Errorf("%v has no class", err)
			}
			return
		}
		var read struct {
			claims

			Nonce string `json:"nonce"`
		}
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		if json.Unmarshal(payload, &read) != nil || guid(proof.TenantID) == "" || guid(proof.ObjectID) == "" ||
			!strings.EqualFold(read.TenantID, proof.TenantID) || read.Nonce != "n" || !strings.HasPrefix(read.Issuer, fuzzLogin+"/") {
			t.Errorf("%s proves %+v", payload, proof)
		}
	})
}

func FuzzTheKeys(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[{"kty":"RSA","kid":"k1","use":"sig","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"c2VjcmV0"},5]}`, `{"keys":null}`, `{}`, `[]`, "\xef\xbb\xbf{}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		keys, err := parseKeys([]byte(body))
		for _, key := range keys {
			if !key.IsPublic() || !key.Valid() {
				t.Errorf("%s gives a key that is no public one", body)
			}
		}
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

func FuzzARefusal(f *testing.F) {
	f.Add("access_denied", "AADSTS65004: declined")
	f.Add("", "AADSTS0000000000")
	f.Fuzz(func(t *testing.T, code, description string) {
		failure := Refusal(code, description)
		sound(t, failure)
		if failure.Class != fault.NeedsConsent || failure.Reason == "" {
			t.Errorf("a browser made it %s %q", failure.Class, failure.Reason)
		}
	})
}

// sound checks that a fault says all it must, and nothing by whoever answered.
func sound(t *testing.T, failure *fault.Fault) {
	t.Helper()
	if failure == nil {
		return
	}
	if failure.Class == "" || failure.Code == "" || failure.Cause == "" || failure.Remedy == "" || failure.Forecast == "" || failure.After < 0 || failure.After > waitMost {
		t.Errorf("fault lacks something: %+v", failure)
	}
	if len(failure.Cause) > 800 || strings.ContainsAny(failure.Code, " \n") {
		t.Errorf("fault holds foreign text: %+v", failure)
	}
}
