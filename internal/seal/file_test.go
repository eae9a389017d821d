package seal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/seal"
)

// openers lists every way to open a key file.
func openers() map[string]func(dir string) error {
	return map[string]func(dir string) error{
		seal.CodesFile:       func(dir string) error { _, err := seal.OpenCodes(dir); return err },
		seal.CodesPublicFile: func(dir string) error { _, err := seal.OpenCodesPublic(dir); return err },
		seal.GrantsFile:      func(dir string) error { _, err := seal.OpenGrants(dir); return err },
		seal.PeopleFile:      func(dir string) error { _, err := seal.OpenPeople(dir); return err },
		seal.CookiesFile:     func(dir string) error { _, err := seal.OpenCookies(dir); return err },
		seal.IDsFile:         func(dir string) error { _, err := seal.OpenIDs(dir); return err },
	}
}

func TestAnUnusableKeyFileIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	for name, open := range openers() {
		for _, tc := range []struct {
			damage func(t *testing.T, path string)
			says   string
		}{
			{func(t *testing.T, path string) { t.Helper(); must(t, os.Remove(path)) }, "missing"},
			{write(""), "not a Tink keyset in JSON"},
			{write("null"), "not a Tink keyset in JSON"},
			{write("{}"), "not a Tink keyset in JSON"},
			{write(`{"primaryKeyId":1,"key":[]}`), "not a Tink keyset in JSON"},
			{write(`{"canary-secret":`), "not a Tink keyset in JSON"},
			{write("canary-secret\x00\xff"), "not a Tink keyset in JSON"},
			{func(t *testing.T, path string) {
				t.Helper()
				data, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(path, data[:len(data)/2], 0o600))
			}, "not a Tink keyset in JSON"},
			{write(strings.Repeat(" ", 1<<20)), "larger than"},
			{func(t *testing.T, path string) { t.Helper(); must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }, "not a regular file"},
		} {
			dir := generated(t)
			tc.damage(t, filepath.Join(dir, name))
			err := open(dir)
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: got %v, want an error with %q and the file's name", name, err, tc.says)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: the error quotes the file: %v", name, err)
			}
		}
	}
}

func write(text string) func(t *testing.T, path string) {
	return func(t *testing.T, path string) { t.Helper(); must(t, os.WriteFile(path, []byte(text), 0o600)) }
}

func TestAMissingKeyFileCanBeToldFromOthers(t *testing.T) {
	t.Parallel()
	for name, open := range openers() {
		if err := open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	for name, open := range openers() {
		for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o660, 0o601, 0o400, 0o600} {
			dir := generated(t)
			must(t, os.Chmod(filepath.Join(dir, name), mode))
			err := open(dir)
			if wanted := mode&0o077 != 0 && name != seal.CodesPublicFile; wanted != (err != nil) {
				t.Errorf("%s with mode %o: %v", name, mode, err)
			}
			if err != nil && !strings.Contains(err.Error(), "lets others read it (chmod 600 ") {
				t.Errorf("%s: the error has no remedy: %v", name, err)
			}
		}
	}
}

func TestASwappedKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, says string }{
		{seal.CodesFile, seal.CodesPublicFile, "holds secret keys where only public ones belong"},
		{seal.CodesPublicFile, seal.CodesFile, "not a private hybrid encryption keyset"},
		{seal.GrantsFile, seal.CodesFile, "not a private hybrid encryption keyset"},
		{seal.CodesFile, seal.GrantsFile, "not a keyset for authenticated encryption"},
		{seal.IDsFile, seal.CookiesFile, "not a keyset for authenticated encryption"},
		{seal.PeopleFile, seal.IDsFile, "not a keyset for keyed hashes"},
	} {
		dir := generated(t)
		data, err := os.ReadFile(filepath.Join(dir, tc.from))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, tc.to), data, 0o600))
		if err := openers()[tc.to](dir); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s as %s: %v, want %q", tc.from, tc.to, err, tc.says)
		}
	}
}

func TestGenerateNeverChangesWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	must(t, os.Remove(filepath.Join(dir, seal.GrantsFile)))
	before := contents(t, dir)
	must(t, seal.Generate(dir))
	after := contents(t, dir)
	if after[seal.GrantsFile] == "" || len(after) != len(openers()) {
		t.Errorf("the directory holds %d files", len(after))
	}
	delete(after, seal.GrantsFile)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("files were changed: %s", diff)
	}
}

func TestGeneratedFilesHaveTheirModes(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	for name := range contents(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		want := fs.FileMode(0o600)
		if name == seal.CodesPublicFile {
			want = 0o644
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

func TestGenerateRefusesAPublicKeysetWithoutItsPrivateOne(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	must(t, os.Remove(filepath.Join(dir, seal.CodesFile)))
	before := contents(t, dir)
	if err := seal.Generate(dir); err == nil || !strings.Contains(err.Error(), "bring the private keyset back") {
		t.Errorf("Generate() = %v", err)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("files were changed: %s", diff)
	}
}

func TestManyAtOnceAgreeOnOneSetOfKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := seal.Generate(dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for name, p := range pairs(t, dir) {
		sealed, err := p.Seal([]byte(plain), context)
		must(t, err)
		if _, err := p.Open(sealed, context); err != nil {
			t.Errorf("%s: the halves do not fit: %v", name, err)
		}
	}
	if n := len(contents(t, dir)); n != len(openers()) {
		t.Errorf("%d files are left", n)
	}
}

// contents reads the whole directory, temporary files included.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	texts := make(map[string]string, len(entries))
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		texts[e.Name()] = string(data)
	}
	return texts
}
