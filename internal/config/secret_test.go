package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

// withSecret is a configuration whose app has its client secret in the file at path.
func withSecret(t *testing.T, path string) config.Config {
	t.Helper()
	cfg, err := load(t, fmt.Sprintf("apps: [{name: main, client_id: %s, client_secret_file: %q}]\n", clientID, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestSecretFilesAreReadWithoutTheirLastNewline(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"no newline": "canary", "newline": "canary\n", "Windows newline": "canary\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := withSecret(t, write(t, "s", text)).Apps[0].ClientSecrets.One()
			if err != nil || got.Reveal() != "canary" {
				t.Errorf("One() = %q, %v", got.Reveal(), err)
			}
		})
	}
}

func TestBadSecretFilesAreRefusedWithoutTheirContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "the secret is empty (write the secret into it, or leave the key out)"},
		"only a newline":  {"\n", "the secret is empty (write the secret into it, or leave the key out)"},
		"only blanks":     {"  \t\n", "the secret is empty (write the secret into it, or leave the key out)"},
		"inner newline":   {"canary\ncanary\n", "the secret has more than one line (keep the line with the secret alone)"},
		"two newlines":    {"canary\n\n", "the secret has more than one line (keep the line with the secret alone)"},
		"leading blank":   {" canary\n", "the secret begins or ends with a blank (remove the blank)"},
		"quotation marks": {"\"canary\"\n", "the secret stands in quotation marks (remove them)"},
		"NUL":             {"canary\x00", "the secret has control signs or is not UTF-8 (save it as plain text)"},
		"bad UTF-8":       {"canary\xff", "the secret has control signs or is not UTF-8 (save it as plain text)"},
		"too large":       {strings.Repeat("canary", 20_000), "is larger than 64 KB (check the path)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "s", c.text)
			_, err := withSecret(t, path).Apps[0].ClientSecrets.Read()
			want := []string{"apps.main.client_secret_file"}
			if len(path) <= 80 {
				want[0] += fmt.Sprintf(" = %q", path)
			}
			want[0] += ": " + c.want
			if diff := cmp.Diff(want, lines(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestSecretsThatAreNoFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ path, want string }{
		"missing":   {"/nonexistent/s", "does not exist (check the path)"},
		"directory": {"/", "is a directory (name a file)"},
		"device":    {os.DevNull, "is not a regular file (name a file)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := withSecret(t, c.path).Apps[0].ClientSecrets.Read()
			if want := fmt.Sprintf("apps.main.client_secret_file = %q: %s", c.path, c.want); err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestEmptyAndBrokenSecretsInTheEnvironmentAreRefused(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":               "the secret is empty (write the secret into it, or leave the key out)",
		"canary\ncanary": "the secret has more than one line (keep the line with the secret alone)",
		"'canary'":       "the secret stands in quotation marks (remove them)",
	} {
		_, err := load(t, small, []string{"KINDLING_APP_MAIN_CLIENT_SECRET=" + value})
		if diff := cmp.Diff([]string{"KINDLING_APP_MAIN_CLIENT_SECRET: apps.main.client_secret: " + want}, lines(t, err)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestASecretGivenTwiceIsRefused(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"file's path in the file": {"KINDLING_ACCOUNT_MAIN_API_KEY=canary"},
		"both in the environment": {"KINDLING_ACCOUNT_MAIN_API_KEY=canary", "KINDLING_ACCOUNT_MAIN_API_KEY_FILE=x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, "accounts:\n  - {name: main, api_key_file: x}\n", environ)
			got := lines(t, err)
			if len(got) != 1 || !strings.HasPrefix(got[0], "KINDLING_ACCOUNT_MAIN_API_KEY: accounts.main.api_key: is given although accounts.main.api_key_file is set at ") ||
				!strings.HasSuffix(got[0], " (keep one of the two)") || strings.Contains(got[0], "canary") {
				t.Errorf("problems = %q", got)
			}
		})
	}
}

func TestSecretsInTheFileAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"apps: [{name: main, client_secret: canary}]", "apps: [{name: main, client_secret: [canary, canary]}]", "apps: [{name: main, client_secret: \"\"}]",
		"accounts: [{name: main, api_key: canary}]", "accounts: [{name: main, auth: session, access_token: canary}]", "accounts: [{name: main, auth: session, password: canary}]",
	} {
		_, err := load(t, text, nil)
		if got := lines(t, err); len(got) != 1 || !strings.Contains(got[0], "a secret stands in the configuration file (put it into a file of its own") ||
			strings.Contains(got[0], "canary") {
			t.Errorf("%s: problems = %q", text, got)
		}
	}
}

// The file is read anew each time; on an error the caller keeps what it had.
func TestASecretIsSeenAfterItsRotation(t *testing.T) {
	t.Parallel()
	path := write(t, "s", "old\n")
	s := withSecret(t, path).Apps[0].ClientSecrets
	for _, c := range []struct{ text, want string }{{"new\n", "new"}, {"", ""}, {"newer", "newer"}} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := s.One()
		if got.Reveal() != c.want || (err != nil) != (c.want == "") {
			t.Errorf("after %q: One() = %q, %v", c.text, got.Reveal(), err)
		}
	}
}

func TestSeveralClientSecretsComeInTheirOrder(t *testing.T) {
	t.Parallel()
	a, b := write(t, "a", "first"), write(t, "b", "second")
	cfg, err := load(t, fmt.Sprintf("apps: [{name: main, client_secret_file: [%q, %q]}]\n", a, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := cfg.Apps[0].ClientSecrets.Read()
	if err != nil || len(texts) != 2 || texts[0].Reveal() != "first" || texts[1].Reveal() != "second" {
		t.Errorf("Read() = %d secrets, %v", len(texts), err)
	}
}

func TestNoFormOfTheConfigurationShowsASecret(t *testing.T) {
	t.Parallel()
	path := write(t, "s", "canary-file")
	cfg, err := load(t, fmt.Sprintf("apps: [{name: main, client_secret_file: %q}]\naccounts: [{name: main}]\n", path),
		[]string{"KINDLING_ACCOUNT_MAIN_API_KEY=canary-env"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Require(config.Up); err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("Require shows a secret: %v", err)
	}
	encoded, err := json.Marshal(any(cfg))
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %v", cfg, cfg, cfg, encoded, cfg.Show(true))
	if strings.Contains(printed, "canary") {
		t.Errorf("a printed form shows a secret:\n%s", printed)
	}
	shown := map[string]string{}
	for _, e := range cfg.Show(true) {
		shown[e.Key] = e.Value + " from " + e.Origin
	}
	if got := shown["accounts.main.api_key"]; got != "*** from KINDLING_ACCOUNT_MAIN_API_KEY" {
		t.Errorf("api_key is shown as %s", got)
	}
	if got := filepath.Base(strings.Fields(shown["apps.main.client_secret_file"])[0]); got != "s" {
		t.Errorf("client_secret_file is shown as %s", got)
	}
}
