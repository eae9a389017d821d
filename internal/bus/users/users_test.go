package users_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kindling/internal/bus/users"
)

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSeedsStayAndMissingOnesAreMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := users.Generate(dir); err != nil {
		t.Fatal(err)
	}
	public, first := read(t, dir, users.PublicFile), read(t, dir, "console.nk")
	if err := os.Remove(filepath.Join(dir, "admin.nk")); err != nil {
		t.Fatal(err)
	}
	if err := users.Generate(dir); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, "console.nk") != first {
		t.Error("a seed that was there is another one now")
	}
	again := read(t, dir, users.PublicFile)
	for i, line := range strings.Split(public, "\n") {
		changed := line != strings.Split(again, "\n")[i]
		if changed != strings.HasPrefix(line, "ADMIN: ") {
			t.Errorf("line %q changed: %v", line, changed)
		}
	}
	for _, process := range users.Processes() {
		if !strings.Contains(again, "\n"+users.Variable(process)+": U") {
			t.Errorf("no public key of %s", process)
		}
		if seed := strings.TrimSpace(read(t, dir, users.SeedFile(process))); !strings.HasPrefix(seed, "SU") || strings.Contains(again, seed) {
			t.Errorf("the seed of %s is none, or is public", process)
		}
		info, err := os.Stat(filepath.Join(dir, users.SeedFile(process)))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the seed of %s: mode %v, error %v", process, info.Mode(), err)
		}
	}
}

func TestASpoiltSeedIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "console.nk")
	if err := os.WriteFile(file, []byte("no seed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := users.Generate(dir); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error is %v, want it to name %s", err, file)
	}
	if read(t, dir, "console.nk") != "no seed" {
		t.Error("the spoilt seed was replaced")
	}
}
