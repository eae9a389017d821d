// Package users makes what the processes prove themselves to NATS with: an NKey each. The seed is the process's secret;
// the public key stands in the server's file (deployments/nats/users.conf includes it).
package users

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"

	"kindling/internal/bus"
)

// PublicFile is the name of the file of public keys, which is no secret.
const PublicFile = "nkeys.conf"

// Processes are those that have a user.
func Processes() []string {
	return []string{bus.ProcessEdge, bus.ProcessTokenWorker, bus.ProcessWarmyWorker, bus.ProcessConsole, bus.ProcessAdmin}
}

// SeedFile is the name of the file of a process's seed.
func SeedFile(process string) string { return process + ".nk" }

// Variable is what users.conf calls the public key of a process.
func Variable(process string) string {
	return strings.ToUpper(strings.ReplaceAll(process, "-", "_"))
}

// Generate makes the seeds that are missing in dir, readable by their owner alone, and writes all public keys. A seed
// that is there stays.
func Generate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of NKeys: %w", err)
	}
	var text strings.Builder
	text.WriteString("# The public keys of Kindling's users: see users.conf.\n")
	for _, process := range Processes() {
		public, err := generate(filepath.Join(dir, SeedFile(process)))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s: %s\n", Variable(process), public)
	}
	if err := os.WriteFile(filepath.Join(dir, PublicFile), []byte(text.String()), 0o644); err != nil { //nolint:gosec // public keys
		return fmt.Errorf("write public keys: %w", err)
	}
	return nil
}

// generate returns the public key of the seed in file, which it makes when there is none.
func generate(file string) (public string, err error) {
	pair, err := load(file)
	if errors.Is(err, fs.ErrNotExist) {
		pair, err = create(file)
	}
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// PublicKey returns the public key of the seed in file.
func PublicKey(file string) (string, error) {
	pair, err := load(file)
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func load(file string) (nkeys.KeyPair, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator's own directory
	if err != nil {
		return nil, fmt.Errorf("read NKey: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s holds no NKey seed of a user: remove it to have a new one made", file)
	}
	return pair, nil
}

func create(file string) (nkeys.KeyPair, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make NKey: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("make NKey: %w", err)
	}
	if err := os.WriteFile(file, append(seed, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("write NKey: %w", err)
	}
	return pair, nil
}
