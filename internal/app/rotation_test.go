package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
	"kindling/internal/secret"
)

// rotated is a rotation of one secret in a file, with all that it does.
type rotated struct {
	t    *testing.T
	path string
	log  bytes.Buffer
	used []string
	*rotation[[]secret.Text]
}

func rotate(t *testing.T, first string) *rotated {
	t.Helper()
	r := &rotated{t: t, path: filepath.Join(t.TempDir(), "secret")}
	r.write(first)
	cfg, err := config.Load(config.Source{File: yaml(t, fmt.Sprintf("apps: [{name: main, client_secret_file: %q}]\n", r.path))})
	if err != nil {
		t.Fatal(err)
	}
	held, err := cfg.Apps[0].ClientSecrets.Read()
	if err != nil {
		t.Fatal(err)
	}
	r.rotation = &rotation[[]secret.Text]{
		leg: "microsoft/main", read: cfg.Apps[0].ClientSecrets.Read, held: held,
		equal: func(a, b []secret.Text) bool { return proof{secrets: a}.equal(proof{secrets: b}) },
		use: func(_ context.Context, fresh []secret.Text) error {
			r.used = append(r.used, fresh[0].Reveal())
			return nil
		},
	}
	return r
}

func yaml(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kindling.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *rotated) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// looks looks n times and tells what the last look found.
func (r *rotated) looks(n int) (refused bool) {
	for range n {
		refused = r.look(r.t.Context(), slog.New(slog.NewTextHandler(&r.log, nil)))
	}
	return refused
}

func (r *rotated) said(word string) int { return strings.Count(r.log.String(), word) }

func TestAChangedSecretIsUsedOnceItHasSettled(t *testing.T) {
	t.Parallel()
	r := rotate(t, "canary-old\n")
	r.looks(3)
	r.write("canary-n")
	r.looks(1) // while it is being written
	r.write("canary-new\n")
	r.looks(1)
	if len(r.used) != 0 {
		t.Fatalf("half a secret is used: %q", r.used)
	}
	r.looks(5)
	if diff := cmp.Diff([]string{"canary-new"}, r.used); diff != "" {
		t.Error(diff)
	}
	if r.said("secret_reloaded") != 1 || r.said("level=WARN") != 0 || strings.Contains(r.log.String(), "canary") {
		t.Errorf("log: %s", r.log.String())
	}
	r.write("canary-old\n")
	r.looks(2)
	if diff := cmp.Diff([]string{"canary-new", "canary-old"}, r.used); diff != "" {
		t.Error("a rotation back is not taken over", diff)
	}
}

func TestWhatIsNoSecretKeepsTheOldOneAndIsToldOncePerChange(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(r *rotated){
		"emptied":   func(r *rotated) { r.write("") },
		"two lines": func(r *rotated) { r.write("canary\ncanary\n") },
		"quoted":    func(r *rotated) { r.write(`"canary"`) },
		"gone":      func(r *rotated) { _ = os.Remove(r.path) },
		"a directory": func(r *rotated) {
			_ = os.Remove(r.path)
			_ = os.Mkdir(r.path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rotate(t, "old")
			r.looks(2)
			spoil(r)
			if r.looks(1) {
				t.Error("one look is enough to call it spoilt")
			}
			if !r.looks(4) || len(r.used) != 0 {
				t.Errorf("it is not called spoilt, or was used: %q", r.used)
			}
			if r.said("secret_reload_failed") != 1 || strings.Contains(r.log.String(), "canary") {
				t.Errorf("log: %s", r.log.String())
			}
			_ = os.RemoveAll(r.path)
			r.write("old")
			if r.looks(2) || len(r.used) != 0 {
				t.Error("the old content is not taken for what is in use")
			}
			spoil(r)
			r.looks(2)
			if r.said("secret_reload_failed") != 2 {
				t.Errorf("the second time it is not told: %s", r.log.String())
			}
			_ = os.RemoveAll(r.path)
			r.write("new")
			if r.looks(2) || len(r.used) != 1 {
				t.Errorf("after that a good one is not used: %q", r.used)
			}
		})
	}
}

// Kubernetes swaps a symlink: the file's own time and place say nothing.
func TestASwappedSymlinkIsAChange(t *testing.T) {
	t.Parallel()
	r := rotate(t, "old")
	target := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(target, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, r.path); err != nil {
		t.Fatal(err)
	}
	r.looks(2)
	if diff := cmp.Diff([]string{"new"}, r.used); diff != "" {
		t.Error(diff)
	}
}
