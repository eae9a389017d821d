package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// Generate creates every key file that dir lacks, and dir itself. It never changes a file that is there: a keyset that
// is overwritten takes all that it sealed with it. Several processes may do this at once; the first one wins each file.
func Generate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("key directory: %w", err)
	}
	if err := refuseOrphan(dir); err != nil {
		return err
	}
	for _, f := range []struct {
		name     string
		template *tinkpb.KeyTemplate
	}{
		{CodesFile, hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_Key_Template()},
		{GrantsFile, aead.AES256GCMKeyTemplate()},
		{PeopleFile, aead.AES256GCMKeyTemplate()},
		{CookiesFile, aead.AES256GCMKeyTemplate()},
		{IDsFile, prf.HMACSHA256PRFKeyTemplate()},
	} {
		if err := generateFile(filepath.Join(dir, f.name), f.template); err != nil {
			return err
		}
	}
	return derivePublic(dir)
}

// refuseOrphan refuses a directory with a public keyset whose private one is elsewhere: a new private
// keyset would not fit it, and every code sealed at the edge would be lost.
func refuseOrphan(dir string) error {
	if exists(filepath.Join(dir, CodesPublicFile)) && !exists(filepath.Join(dir, CodesFile)) {
		return fmt.Errorf("key directory %s: %s is there without %s; bring the private keyset back, or remove the public one", dir, CodesPublicFile, CodesFile)
	}
	return nil
}

func generateFile(path string, template *tinkpb.KeyTemplate) error {
	if exists(path) {
		return nil
	}
	handle, err := keyset.NewHandle(template)
	if err != nil {
		return fmt.Errorf("key file %s: no new key", path)
	}
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return fmt.Errorf("key file %s: no text of the new key", path)
	}
	return create(path, text.Bytes(), 0o600)
}

// derivePublic writes the public half of the private keyset as it is on disk.
func derivePublic(dir string) error {
	path := filepath.Join(dir, CodesPublicFile)
	if exists(path) {
		return nil
	}
	private, err := readSecret(dir, CodesFile)
	if err != nil {
		return err
	}
	public, err := private.handle.Public()
	if err != nil {
		return private.wrongKind("private hybrid encryption keyset (HPKE)")
	}
	var text bytes.Buffer
	if err := public.WriteWithNoSecrets(keyset.NewJSONWriter(&text)); err != nil {
		return fmt.Errorf("key file %s: no text of the public key", path)
	}
	return create(path, text.Bytes(), 0o644)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// create stores a whole file under a name that is free, or leaves the one that got there first: a link,
// unlike a rename, never replaces.
func create(path string, data []byte, mode fs.FileMode) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	if err := fill(temp, data, mode); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// fill writes data durably and closes f.
func fill(f *os.File, data []byte, mode fs.FileMode) error {
	_, err := f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return fmt.Errorf("key directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("key directory: %w", err)
	}
	return nil
}
