package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"kindling/internal/seal"
)

type sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
}

type opener interface {
	Open(sealed []byte, context string) ([]byte, error)
}

const plain, context = "canary-plain-91ac", "v1|code|abc|1"

// pairs opens every kind of keyset of dir: what seals, and what opens it.
func pairs(t *testing.T, dir string) map[string]struct {
	sealer
	opener
} {
	t.Helper()
	public, err := seal.OpenCodesPublic(dir)
	must(t, err)
	private, err := seal.OpenCodes(dir)
	must(t, err)
	grants, err := seal.OpenGrants(dir)
	must(t, err)
	people, err := seal.OpenPeople(dir)
	must(t, err)
	cookies, err := seal.OpenCookies(dir)
	must(t, err)
	return map[string]struct {
		sealer
		opener
	}{"codes": {public, private}, "grants": {grants, grants}, "people": {people, people}, "cookies": {cookies, cookies}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func generated(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	must(t, seal.Generate(dir))
	return dir
}

func TestWhatIsSealedOpensAgain(t *testing.T) {
	t.Parallel()
	for name, p := range pairs(t, generated(t)) {
		for _, text := range []string{plain, "", strings.Repeat("x", 100_000)} {
			sealed, err := p.Seal([]byte(text), context)
			must(t, err)
			if text != "" && bytes.Contains(sealed, []byte(text)) {
				t.Errorf("%s: the sealed bytes show the text", name)
			}
			got, err := p.Open(sealed, context)
			if err != nil || string(got) != text {
				t.Errorf("%s: Open() = %.20q, %v", name, got, err)
			}
		}
	}
}

func TestSealingTwiceGivesDifferentBytes(t *testing.T) {
	t.Parallel()
	for name, p := range pairs(t, generated(t)) {
		a, err := p.Seal([]byte(plain), context)
		must(t, err)
		b, err := p.Seal([]byte(plain), context)
		must(t, err)
		if bytes.Equal(a, b) {
			t.Errorf("%s: equal texts can be told from their sealed form", name)
		}
	}
}

func TestOnlyTheSameContextAndKeysetOpenUnchangedBytes(t *testing.T) {
	t.Parallel()
	ours, theirs := pairs(t, generated(t)), pairs(t, generated(t))
	for name, p := range ours {
		sealed, err := p.Seal([]byte(plain), context)
		must(t, err)
		refused := func(why string, o opener, sealed []byte, context string) {
			t.Helper()
			got, err := o.Open(sealed, context)
			if !errors.Is(err, seal.ErrNotOpened) || got != nil {
				t.Errorf("%s, %s: Open() = %q, %v", name, why, got, err)
			}
		}
		refused("another context", p, sealed, "v1|code|abd|1")
		refused("an empty context", p, sealed, "")
		refused("another keyset", theirs[name], sealed, context)
		refused("nothing", p, nil, context)
		refused("cut short", p, sealed[:len(sealed)-1], context)
		refused("only the key's name", p, sealed[:5], context)
		refused("longer", p, append(bytes.Clone(sealed), 0), context)
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 0x40
			refused(fmt.Sprintf("byte %d changed", i), p, changed, context)
		}
	}
}

func TestARotatedKeysetOpensOldAndNew(t *testing.T) {
	t.Parallel()
	for file, template := range map[string]*tinkpb.KeyTemplate{
		seal.CodesFile:   hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_Key_Template(),
		seal.GrantsFile:  aead.AES256GCMKeyTemplate(),
		seal.PeopleFile:  aead.AES256GCMKeyTemplate(),
		seal.CookiesFile: aead.AES256GCMKeyTemplate(),
	} {
		dir, name := generated(t), strings.TrimSuffix(file, ".json")
		old := pairs(t, dir)[name]
		before, err := old.Seal([]byte("before"), context)
		must(t, err)
		rotate(t, dir, file, template)
		fresh := pairs(t, dir)[name]
		after, err := fresh.Seal([]byte("after"), context)
		must(t, err)

		for want, sealed := range map[string][]byte{"before": before, "after": after} {
			if got, err := fresh.Open(sealed, context); err != nil || string(got) != want {
				t.Errorf("%s: the rotated keyset opens %q: %q, %v", name, want, got, err)
			}
		}
		if _, err := old.Open(after, context); !errors.Is(err, seal.ErrNotOpened) {
			t.Errorf("%s: the new key did not become the primary one: %v", name, err)
		}
	}
}

// rotate adds a key to a keyset and makes it the primary one; the public half follows.
func rotate(t *testing.T, dir, file string, template *tinkpb.KeyTemplate) {
	t.Helper()
	path := filepath.Join(dir, file)
	data, err := os.ReadFile(path)
	must(t, err)
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	must(t, err)
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(template)
	must(t, err)
	must(t, manager.SetPrimary(id))
	handle, err = manager.Handle()
	must(t, err)
	var text bytes.Buffer
	must(t, insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)))
	must(t, os.WriteFile(path, text.Bytes(), 0o600))
	if file == seal.CodesFile {
		must(t, os.Remove(filepath.Join(dir, seal.CodesPublicFile)))
		must(t, seal.Generate(dir))
	}
}

func TestNothingPrintedShowsKeyMaterial(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	grants, err := seal.OpenGrants(dir)
	must(t, err)
	codes, err := seal.OpenCodes(dir)
	must(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb+" "+verb, grants, codes); got != "seal.Box seal.Opener" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
