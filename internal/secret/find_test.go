package secret_test

import (
	"crypto/rand"
	"encoding/base64"
	"testing"

	"kindling/internal/secret"
)

func TestFindKnowsWhatMustNotBeReadable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]secret.Kind{
		`{"note":"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"}`:           secret.Signed,
		`eyJhbGciOiJSU0EtT0FFUCJ9..aXY.Y2lwaGVy.dGFn`:                    secret.Signed,
		`{"x":"0.AXYAtwo34567890abcdefghij"}`:                            secret.Microsoft,
		`{"x":"1.AXYAtwo34567890abcdefghij"}`:                            secret.Microsoft,
		`{"x":"M.C546_BL2.0.U.-Cabc"}`:                                   secret.Microsoft,
		`{"x":"M.R3_BAY.-Cabc"}`:                                         secret.Microsoft,
		`{"access_token":"EwBopaque"}`:                                   secret.Credential,
		`{"refresh_token" : "x"}`:                                        secret.Credential,
		`"{\"client_secret\":\"x\"}"`:                                    secret.Credential,
		`grant_type=refresh_token&client_secret=abcdefgh`:                secret.Credential,
		`{"code":"Opaque-Code"}`:                                         secret.Code,
		`{"tries":[{"code":"warmy_422"}],"code":"OAQABAAIAAA"}`:          secret.Code,
		`code=OAQABAAIAAA&state=x`:                                       secret.Code,
		`Bearer abcdefghijklmnopqrstuvwxyz`:                              secret.Bearer,
		`{"kind":"code.received","tries":[{"code":"AADSTS70008"}]}`:      "",
		`{"code":"warmy_422","cause":"Warmy refused the refresh_token"}`: "",
		`{"code":""}`:                          "",
		`{"at":"2026-11-23T12:30:50.123Z"}`:    "",
		`{"cause":"the client_secret is old"}`: "",
		`{"remedy":"mend keyJson 10.A"}`:       "",
		``:                                     "",
	} {
		if got := secret.Find([]byte(text)); got != want {
			t.Errorf("%s: found %q, want %q", text, got, want)
		}
	}
}

func TestFindTakesNoSealedBytesForASecret(t *testing.T) {
	t.Parallel()
	sealed := make([]byte, 4096)
	for range 256 { // a megabyte
		_, _ = rand.Read(sealed)
		if kind := secret.Find(sealed); kind != "" {
			t.Errorf("random bytes are taken for %s", kind)
		}
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if kind := secret.Find([]byte(`{"sealed":"` + enc.EncodeToString(sealed) + `"}`)); kind != "" {
				t.Errorf("base64 is taken for %s", kind)
			}
		}
	}
}
