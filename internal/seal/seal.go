// Package seal turns readable secrets into bytes that may be stored or sent, and back.
//
// Each kind of secret has its own keyset (Tink, tink-crypto/tink-go v2) in its own file of one directory, so that a
// process is given only the files that its role needs: the public edge can seal a code and never open one.
// Whatever is sealed is bound to a context (such as kind and mailbox) and opens under that context alone, so a record
// that is copied to another place is worthless there.
//
// A keyset may hold several keys: the primary one seals, every enabled one opens. Sealed bytes name their key, so
// a key is rotated by adding, promoting, sealing again, and only then retiring.
//
// No error of this package holds key material or plaintext, and nothing here logs.
package seal

import (
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrNotOpened says that sealed bytes did not open: another keyset, another context, or bytes that were changed.
// Cryptography cannot tell these apart.
var ErrNotOpened = errors.New("sealed bytes do not open with this keyset and context")

// errNotSealed hides the library's own words, which this package does not vouch for.
var errNotSealed = errors.New("sealing failed")

// Sealer seals for somebody else: what it sealed, only the holder of the private keyset opens.
type Sealer struct{ encrypt tink.HybridEncrypt }

// Opener opens what a Sealer sealed for it.
type Opener struct{ decrypt tink.HybridDecrypt }

// Box seals and opens with one and the same keyset.
type Box struct{ aead tink.AEAD }

// OpenCodesPublic reads the public keyset with which the edge seals authorization codes.
func OpenCodesPublic(dir string) (*Sealer, error) {
	k, err := readPublic(dir, CodesPublicFile)
	if err != nil {
		return nil, err
	}
	encrypt, err := hybrid.NewHybridEncrypt(k.handle)
	if err != nil {
		return nil, k.wrongKind("public hybrid encryption keyset (HPKE)")
	}
	return &Sealer{encrypt: encrypt}, nil
}

// OpenCodes reads the private keyset that opens authorization codes. Only token-worker may have it.
func OpenCodes(dir string) (*Opener, error) {
	k, err := readSecret(dir, CodesFile)
	if err != nil {
		return nil, err
	}
	decrypt, err := hybrid.NewHybridDecrypt(k.handle)
	if err != nil {
		return nil, k.wrongKind("private hybrid encryption keyset (HPKE)")
	}
	return &Opener{decrypt: decrypt}, nil
}

// OpenGrants reads the keyset for tokens (token-worker, warmy-worker).
func OpenGrants(dir string) (*Box, error) { return openBox(dir, GrantsFile) }

// OpenPeople reads the keyset for addresses and names (console, edge, workers).
func OpenPeople(dir string) (*Box, error) { return openBox(dir, PeopleFile) }

// OpenCookies reads the keyset for what the edge gives to browsers.
func OpenCookies(dir string) (*Box, error) { return openBox(dir, CookiesFile) }

func openBox(dir, name string) (*Box, error) {
	k, err := readSecret(dir, name)
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(k.handle)
	if err != nil {
		return nil, k.wrongKind("keyset for authenticated encryption (AEAD)")
	}
	return &Box{aead: primitive}, nil
}

// Seal seals plain for the holder of the private keyset. The context is not secret and not stored: Open needs it again.
func (s *Sealer) Seal(plain []byte, context string) ([]byte, error) {
	sealed, err := s.encrypt.Encrypt(plain, []byte(context))
	if err != nil {
		return nil, errNotSealed
	}
	return sealed, nil
}

// Open returns what was sealed under the same context, or ErrNotOpened.
func (o *Opener) Open(sealed []byte, context string) ([]byte, error) {
	plain, err := o.decrypt.Decrypt(sealed, []byte(context))
	if err != nil {
		return nil, ErrNotOpened
	}
	return plain, nil
}

// Seal seals plain. The context is not secret and not stored: Open needs it again.
func (b *Box) Seal(plain []byte, context string) ([]byte, error) {
	sealed, err := b.aead.Encrypt(plain, []byte(context))
	if err != nil {
		return nil, errNotSealed
	}
	return sealed, nil
}

// Open returns what was sealed under the same context, or ErrNotOpened.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	plain, err := b.aead.Decrypt(sealed, []byte(context))
	if err != nil {
		return nil, ErrNotOpened
	}
	return plain, nil
}

// String keeps a printed Box from showing what is in it.
func (*Box) String() string { return "seal.Box" }

// String keeps a printed Opener from showing what is in it.
func (*Opener) String() string { return "seal.Opener" }

// GoString keeps %#v from showing what is in a Box.
func (b *Box) GoString() string { return b.String() }

// GoString keeps %#v from showing what is in an Opener.
func (o *Opener) GoString() string { return o.String() }

// wrongKind says that a readable keyset is not of the kind that its file should hold.
func (k keys) wrongKind(want string) error {
	return fmt.Errorf("key file %s: not a %s (was it swapped with another key file?)", k.path, want)
}
