// Package journal keeps a simulator's memory in a file, so that a simulator
// whose process was killed goes on from where it was.
//
// A journal holds one JSON record a line, one for each change. Append writes a
// record with one write call and returns when it is done; a caller that
// appends before it answers has told nobody anything that is not in the file.
// What was written survives the death of the process, at any instant, because
// it is in the kernel's hands; it is not synced, since a simulator need not
// survive a power cut. Nothing in a journal is a real secret.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxLine bounds a record: a longer line is not one of ours.
const maxLine = 16 << 20

// Journal appends records of type R to a file. It is safe for concurrent use.
// A nil Journal remembers nothing and costs nothing: it is the memory-only case.
type Journal[R any] struct {
	lock *os.File

	mu   sync.Mutex
	file *os.File
	out  *json.Encoder // one write call for each record

	failed atomic.Pointer[error]
}

// Open reads the journal at path, which need not exist, and hands its records
// to apply in the order in which they were appended. A last line that has no
// end was being written when the process died; nobody was told, and it is
// dropped. Then the file is replaced by the records of live, which is asked
// after the last apply and must yield all that is to be remembered, so that the
// file does not grow with its age.
//
// It is an error when the file cannot be read or holds anything else, when
// apply returns one, and when another process has the journal open. An empty
// path returns nil, which is a Journal that remembers nothing.
func Open[R any](path string, apply func(R) error, live iter.Seq[R]) (*Journal[R], error) {
	if path == "" {
		return nil, nil // a nil Journal is a working one
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := hold(path + ".lock")
	if err != nil {
		return nil, err
	}
	j := &Journal[R]{lock: lock}
	if err := read(path, apply); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), lock.Close())
	}
	if j.file, err = rewrite(path, live); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: rewrite: %w", path, err), lock.Close())
	}
	j.out = json.NewEncoder(j.file)
	return j, nil
}

// hold locks a file for as long as it is open, which ends with the process.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the caller's own directory
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %s is in use by another process: %w", path, err), f.Close())
	}
	return f, nil
}

func read[R any](path string, apply func(R) error) (err error) {
	file, err := os.Open(path) //nolint:gosec // the caller's own file
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<16), maxLine)
	lines.Split(whole)
	for n := 1; lines.Scan(); n++ {
		var r R
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := apply(r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// whole splits into lines that have an end; what follows the last one is dropped.
func whole(data []byte, _ bool) (advance int, line []byte, err error) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return 0, nil, nil
	}
	return i + 1, data[:i], nil
}

// rewrite replaces the file at once: whoever dies in it leaves the old one. It
// is synced, once, or a power cut might take the old one too.
func rewrite[R any](path string, live iter.Seq[R]) (*os.File, error) {
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewWriterSize(file, 1<<16)
	out := json.NewEncoder(buffer)
	for r := range live {
		if err := out.Encode(r); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	if err := errors.Join(buffer.Flush(), file.Sync()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Append writes the record that change returns; it is not called when there is
// no journal. Records stand in the order of the calls: a caller that holds the
// mutex of what it changes keeps the file in the order of its changes. The
// first error ends the journal, see Err: a torn line stays the last one.
func (j *Journal[R]) Append(change func() R) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.Err() != nil {
		return
	}
	if err := j.out.Encode(change()); err != nil {
		err = fmt.Errorf("journal: %w", err)
		j.failed.Store(&err)
	}
}

// Err returns the error that ended the journal, if any.
func (j *Journal[R]) Err() error {
	if j == nil {
		return nil
	}
	if err := j.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Close releases the file. It returns the error that ended the journal, if any.
func (j *Journal[R]) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.Err(), j.file.Close(), j.lock.Close())
}
