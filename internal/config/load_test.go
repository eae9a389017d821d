package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kindling/internal/config"
)

// write puts text into a file of its own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads text as the configuration file, with environ around it.
func load(t *testing.T, text string, environ []string) (config.Config, error) {
	t.Helper()
	return config.Load(config.Source{File: write(t, "kindling.yaml", text), Environ: environ})
}

// problemsOf are the problems of an *Invalid, with the places of the test's files left out.
func problemsOf(t *testing.T, err error) []config.Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *config.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("error %v is no *Invalid", err)
	}
	if invalid.ExitCode() != 78 {
		t.Errorf("ExitCode() = %d", invalid.ExitCode())
	}
	return invalid.Problems
}
