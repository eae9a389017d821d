package secret_test

import (
	"testing"

	"kindling/internal/secret"
)

// FuzzFind: it never panics, and a secret is found wherever it stands.
func FuzzFind(f *testing.F) {
	f.Add([]byte(""), []byte(""))
	f.Add([]byte(`{"code":"`), []byte(`"}`))
	f.Add([]byte("code="), []byte("&state=x"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		secret.Find(append(append([]byte(nil), before...), after...))
		jwt := " eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln "
		if secret.Find([]byte(string(before)+jwt+string(after))) == "" {
			t.Errorf("a token between %q and %q is not found", before, after)
		}
	})
}
