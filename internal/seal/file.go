package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// The key files of a directory. All but CodesPublicFile are secret and must be readable by their owner alone.
const (
	CodesFile       = "codes.json"     // opens authorization codes: token-worker
	CodesPublicFile = "codes.pub.json" // seals authorization codes: callback-ingest
	GrantsFile      = "grants.json"    // tokens: token-worker, warmy-worker
	PeopleFile      = "people.json"    // addresses and names: console, callback-ingest, workers
	CookiesFile     = "cookies.json"   // what browsers keep for the edge: callback-ingest
	IDsFile         = "ids.json"       // ids of mailboxes and tokens of links: console
)

// maxFile bounds a key file: a keyset of a hundred keys is far smaller.
const maxFile = 1 << 20

// readableByOthers are the permission bits that a secret file must not have.
const readableByOthers fs.FileMode = 0o077

// keys is a keyset and where it came from.
type keys struct {
	path   string
	handle *keyset.Handle
}

// readSecret reads a keyset with secret keys from a file that nobody but its owner may read.
func readSecret(dir, name string) (keys, error) {
	path := filepath.Join(dir, name)
	data, err := readFile(path, true)
	if err != nil {
		return keys{}, err
	}
	// The library's error may quote the text, hence ours.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return keys{}, notAKeyset(path)
	}
	return keys{path: path, handle: handle}, nil
}

// readPublic reads a keyset that holds public keys only; one with secret keys is refused, since whoever
// copied it to the edge by mistake must learn of it.
func readPublic(dir, name string) (keys, error) {
	path := filepath.Join(dir, name)
	data, err := readFile(path, false)
	if err != nil {
		return keys{}, err
	}
	handle, err := keyset.ReadWithNoSecrets(keyset.NewJSONReader(bytes.NewReader(data)))
	if err == nil {
		return keys{path: path, handle: handle}, nil
	}
	if _, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data))); err == nil {
		return keys{}, fmt.Errorf("key file %s: holds secret keys where only public ones belong: replace it by the public keyset", path)
	}
	return keys{}, notAKeyset(path)
}

func notAKeyset(path string) error {
	return fmt.Errorf("key file %s: not a Tink keyset in JSON (restore it from a backup; a new one cannot open what was sealed before)", path)
}

// readFile reads a small regular file, and refuses a secret one that others may read.
func readFile(path string, private bool) (data []byte, err error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own setting
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file %s: missing: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkFile(f, path, private); err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	return data, nil
}

// checkFile looks at the open file, not at its name, so that nothing can be exchanged in between.
func checkFile(f *os.File, path string, private bool) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("key file %s: not a regular file", path)
	case info.Size() >= maxFile:
		return fmt.Errorf("key file %s: larger than %d bytes", path, maxFile)
	case private && info.Mode().Perm()&readableByOthers != 0:
		return fmt.Errorf("key file %s: mode %04o lets others read it (chmod 600 %s)", path, info.Mode().Perm(), path)
	}
	return nil
}
