package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kindling/internal/config"
	"kindling/internal/seal"
)

// keyFile is a keyset, and whose it is (docs/adr/0007).
type keyFile struct {
	name string
	role config.Role // of the processes that need it
	open func(dir string) error
}

func keyFiles() []keyFile {
	return []keyFile{
		{seal.CodesPublicFile, config.Edge, opens(seal.OpenCodesPublic)},
		{seal.CodesFile, config.TokenWorker, opens(seal.OpenCodes)},
		{seal.GrantsFile, config.TokenWorker | config.WarmyWorker, opens(seal.OpenGrants)},
		{seal.PeopleFile, config.Edge | config.TokenWorker | config.WarmyWorker | config.Console, opens(seal.OpenPeople)},
		{seal.CookiesFile, config.Edge, opens(seal.OpenCookies)},
		{seal.IDsFile, config.Console, opens(seal.OpenIDs)},
	}
}

func opens[T any](open func(string) (T, error)) func(string) error {
	return func(dir string) error {
		_, err := open(dir)
		return err
	}
}

// keys opens each keyset that the process needs, and looks for those that it should not have.
func (d Doctor) keys(_ context.Context, cfg config.Config) []Finding {
	r := report{area: areaKeys}
	dir := cfg.Keys.Dir
	switch _, err := os.Stat(dir); {
	case dir == "":
		r.skip("", "keys.dir is not set")
		return r.list
	case errors.Is(err, fs.ErrNotExist) && d.Role == config.Up && dir == d.Data.Keys():
		r.skip(dir, "there are none yet: kindling up makes them at its first start")
		return r.list
	case errors.Is(err, fs.ErrNotExist):
		r.wrong(dir, "the directory does not exist", "make the keysets once with kindling key init, and bring this machine those that it needs")
		return r.list
	}
	for _, f := range keyFiles() {
		switch err := f.open(dir); {
		case f.role&d.Role == 0:
			if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
				r.warn(f.name, d.Process+" does not need this keyset, and whoever takes the process over gets it", "remove it from this machine")
			}
		case errors.Is(err, fs.ErrNotExist):
			r.wrong(f.name, "is missing in "+dir, "copy it from where kindling key init made it; a new one cannot open what was sealed before")
		case err != nil:
			r.wrong(f.name, strings.TrimPrefix(err.Error(), "key file "), "")
		default:
			r.ok(f.name, "opens")
		}
	}
	pair(&r, dir)
	return r.list
}

// pair tries whether what the edge seals is opened by token-worker, where both halves are at hand.
func pair(r *report, dir string) {
	sealer, err := seal.OpenCodesPublic(dir)
	if err != nil {
		return
	}
	opener, err := seal.OpenCodes(dir)
	if err != nil {
		return
	}
	sealed, err := sealer.Seal([]byte("doctor"), "doctor")
	if err == nil {
		_, err = opener.Open(sealed, "doctor")
	}
	if err != nil {
		r.wrong(seal.CodesPublicFile, "does not belong to "+seal.CodesFile+": every code would be lost",
			"remove it and run kindling key init, which derives it from "+seal.CodesFile)
	}
}
