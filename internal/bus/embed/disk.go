package embed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// defaultReserve is the free space below which the server neither starts nor goes on after a failed write. Reading a
// store back writes, too, and must not run into the end of the disk.
const defaultReserve = 64 << 20

// probeSize is what is written to find out whether writing works: free space alone knows nothing of quotas and limits.
const probeSize = 1 << 20

// ErrDisk means that the store's file system does not take what is written. Its text names the remedy.
var ErrDisk = errors.New("the disk of the message store does not take writes; free space on its volume")

// room reports whether dir's file system has reserve bytes free and takes a synced write; ErrDisk with the cause if not.
func room(dir string, reserve int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if free < reserve {
		return fmt.Errorf("%w: %s has %d MiB free and needs %d", ErrDisk, dir, free>>20, reserve>>20)
	}
	if err := probe(dir); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return nil
}

// freeBytes is what an unprivileged process may still write to dir's file system.
func freeBytes(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:gosec,unconvert // types differ between systems; no disk has 2⁶³ bytes
}

// DiskUsed is how full the store's file system is, 0 to 1, as an unprivileged process sees it.
func (s *Server) DiskUsed() (float64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.opts.Dir, &fs); err != nil {
		return 0, fmt.Errorf("ask how full %s is: %w", s.opts.Dir, err)
	}
	used := float64(fs.Blocks - fs.Bfree)
	return used / max(1, used+float64(fs.Bavail)), nil
}

// probe writes a file to dir, waits for the disk, and removes it.
func probe(dir string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, probeSize)); err != nil {
		return err
	}
	return f.Sync()
}
