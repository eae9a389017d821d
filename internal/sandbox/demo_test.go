package sandbox_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kindling/internal/app"
	"kindling/internal/campaign/sample"
	"kindling/internal/sandbox"
	"kindling/internal/service"
)

// campaignOf is a sample campaign; 60 mailboxes meet six of the demo's seven troubles (the seventh waits for a time-out).
func campaignOf(t *testing.T, mailboxes int) []byte {
	t.Helper()
	var csv bytes.Buffer
	if err := sample.Write(&csv, mailboxes); err != nil {
		t.Fatal(err)
	}
	return csv.Bytes()
}

func envOf(out *bytes.Buffer) service.Env {
	return service.Env{
		Stdout: out, Stderr: out, Log: slog.New(slog.DiscardHandler),
		Getenv: func(string) string { return "" }, Environ: func() []string { return nil },
	}
}

// microsoftSecret is the form of the simulated Microsoft's codes, refresh tokens and access tokens.
var microsoftSecret = regexp.MustCompile(`(1\.AXkA|1\.ARkB|EwBA)[A-Z2-7]{26}`)

func TestTheDemoPutsRightWhatCanBeAndWritesNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	dir := t.TempDir()
	err := sandbox.Demo(t.Context(), sandbox.DemoOptions{CSV: campaignOf(t, 60), Seed: 3, Fast: true, Dir: dir, Env: envOf(&out)})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"60 mailboxes:  56 registered  2 needs_consent  1 mismatch  1 dead", "60 mailboxes:  57 registered  2 needs_consent  1 mismatch\n",
		"0 sent again after their tokens had arrived", "0 created twice", "0 with somebody else's tokens",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out.String())
		}
	}
	token, err := os.ReadFile(app.Data(dir).TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	canaries := []string{sandbox.ClientSecret, sandbox.APIKey, strings.TrimSpace(string(token))}
	for _, word := range append(canaries, microsoftSecret.FindString(out.String())) {
		if word != "" && strings.Contains(out.String(), word) {
			t.Errorf("the demo prints a secret (%.6s…)", word)
		}
	}
	searchFor(t, filepath.Join(dir, "nats"), canaries)
	searchFor(t, filepath.Join(dir, "kindling.log"), canaries)
}

// searchFor fails if a file below root holds one of the canaries, or anything that looks like a code or a token of
// Microsoft's, or an address of a mailbox.
func searchFor(t *testing.T, root string, canaries []string) {
	t.Helper()
	searched := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		searched += len(data)
		for _, c := range canaries {
			if bytes.Contains(data, []byte(c)) {
				t.Errorf("%s holds a secret in clear (%.6s…)", path, c)
			}
		}
		if found := microsoftSecret.Find(data); found != nil {
			t.Errorf("%s holds a code or a token in clear (%.6s…)", path, found)
		}
		if i := bytes.Index(data, []byte("harbor-analytics.example")); i >= 0 && !bytes.Contains(data[max(0, i-20):i], []byte("•••")) {
			t.Errorf("%s holds an address in clear: …%s", path, data[max(0, i-20):i])
		}
		return err
	})
	if err != nil || searched < 1000 {
		t.Errorf("searched %d bytes below %s: %v", searched, root, err)
	}
}

func TestTheDemoLeavesNothingBehind(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	var out bytes.Buffer
	if err := sandbox.Demo(t.Context(), sandbox.DemoOptions{CSV: campaignOf(t, 3), Seed: 1, Fast: true, Env: envOf(&out)}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
