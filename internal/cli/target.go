package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kindling/internal/service"
)

// target is where a file of data goes: standard output, or a file that only its owner may read. The file is written
// under another name beside it and gets its own at the end, so that what is there under its name is always whole.
type target struct {
	io.Writer

	temp *os.File // nil: nothing has to be put in its place
	path string
}

func (s *shell) target(path string, overwrite bool) (*target, error) {
	if path == "" || path == "-" {
		return &target{Writer: s.env.Stdout}, nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !overwrite:
		return nil, errTaken(path)
	case err == nil && info.IsDir():
		return nil, usage(fmt.Errorf("%s is a directory: name a file inside it", path))
	case err == nil && !info.Mode().IsRegular(): // a pipe or a device has no place to put something in
		file, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the operator names it
		if err != nil {
			return nil, service.WithExit(service.ExitFailed, err)
		}
		return &target{Writer: file}, nil
	case err == nil:
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, service.WithExit(service.ExitFailed, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, service.WithExit(service.ExitFailed, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, service.WithExit(service.ExitFailed, err)
	}
	return &target{temp, temp, path}, nil
}

func errTaken(path string) error {
	return usage(fmt.Errorf("%s exists: name another file, or say --overwrite", path))
}

// end puts the file in its place if all went well, and leaves nothing behind otherwise. It returns err, joined with what
// failed here.
func (t *target) end(err error) error {
	if t.temp == nil {
		return err
	}
	err = errors.Join(err, t.temp.Close())
	if err == nil {
		err = os.Rename(t.temp.Name(), t.path)
	}
	if err != nil {
		_ = os.Remove(t.temp.Name()) // it was not given to anybody
	}
	return err
}

// refuseSame keeps a result from taking the place of the file it is the result of.
func (s *shell) refuseSame(source, result string) error {
	there, err := os.Stat(result)
	if err != nil {
		return nil //nolint:nilerr // what is not there, or cannot be looked at, is judged when it is opened
	}
	given, err := os.Stat(source)
	if file, ok := s.env.Stdin.(*os.File); ok && source == "-" {
		given, err = file.Stat()
	}
	if err == nil && os.SameFile(given, there) && there.Mode().IsRegular() {
		return usage(errors.New("the result would replace the file that is imported: name another one"))
	}
	return nil
}
