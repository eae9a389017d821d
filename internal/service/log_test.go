package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"kindling/internal/secret"
)

const canary = "canary-7f3a9c"

// record logs one line as JSON and returns it.
func record(t *testing.T, log func(*slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	log(slog.New(Redact(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	return out.String()
}

type credentials struct{ Name string }

func (credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", "x"), slog.String("api_key", canary))
}

func TestNoSecretPassesTheLog(t *testing.T) {
	t.Parallel()
	address := "https://login.example/callback?code=" + canary + "&state=x"
	parsed, err := url.Parse("https://user:" + canary + "@h.example/p?code=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]slog.Attr{
		"token":                  slog.String("token", canary),
		"access_token":           slog.String("access_token", canary),
		"Refresh-Token":          slog.String("Refresh-Token", canary), //nolint:sloglint // as others write it
		"client_secret":          slog.String("client_secret", canary),
		"code":                   slog.String("code", canary),
		"state":                  slog.String("state", canary),
		"code_verifier":          slog.String("code_verifier", canary),
		"Authorization":          slog.String("Authorization", canary), //nolint:sloglint // as others write it
		"set_cookie":             slog.String("set_cookie", canary),
		"api_key":                slog.String("api_key", canary),
		"any under a secret key": slog.Any("token", []string{canary}),
		"group":                  slog.Group("request", slog.String("cookie", canary), slog.Group("inner", slog.String("password", canary))),
		"a group named token":    slog.Group("token", slog.String("value", "x"), slog.String("secret", canary)),
		"query of a URL":         slog.String("url", address),
		"fragment of a URL":      slog.String("url", "https://h.example/#access_token="+canary),
		"password in a URL":      slog.String("url", "nats://user:"+canary+"@n.example:4222"),
		"URLs in a list":         slog.Any("servers", []string{"nats://u:" + canary + "@a"}),
		"URL in an error":        slog.Any("error", fmt.Errorf("get %q: %w", address, io.EOF)),
		"URL error":              slog.Any("error", &url.Error{Op: "Get", URL: address, Err: io.EOF}),
		"parsed URL":             slog.Any("target", parsed),
		"bearer in a text":       slog.String("reason", "sent Authorization: Bearer "+canary),
		"form in a text":         slog.String("reason", "body grant_type=x&client_secret="+canary+"&y=z"),
		"JWT":                    slog.String("reason", "id eyJhbGciOiJub25lIn0.eyJzdWIiOiI"+strings.ReplaceAll(canary, "-", "")+"."),
		"header":                 slog.Any("headers", http.Header{"X-Foo": {canary}}),
		"form":                   slog.Any("values", url.Values{"x": {canary}}),
		"bytes":                  slog.Any("payload", []byte(canary)),
		"secret.Text":            slog.Any("value", secret.New(canary)),
		"LogValuer":              slog.Any("who", credentials{}),
	}
	for name, attr := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			for form, log := range map[string]func(*slog.Logger){
				"as attribute": func(l *slog.Logger) { l.LogAttrs(ctx, slog.LevelInfo, "x", attr) },
				"with":         func(l *slog.Logger) { l.With(attr).InfoContext(ctx, "x") },
				"in a group":   func(l *slog.Logger) { l.WithGroup("g").LogAttrs(ctx, slog.LevelInfo, "x", attr) },
			} {
				line := record(t, log)
				if strings.Contains(line, "canary") || strings.Contains(line, "Y2FuYXJ5") {
					t.Errorf("%s: %s", form, line)
				}
				if !strings.Contains(line, hidden) {
					t.Errorf("%s: nothing is redacted in %s", form, line)
				}
			}
		})
	}
}

func TestASecretInTheMessageIsRedactedToo(t *testing.T) {
	t.Parallel()
	line := record(t, func(l *slog.Logger) {
		l.InfoContext(t.Context(), "http: panic serving https://h.example/c?code="+canary)
	})
	if strings.Contains(line, canary) {
		t.Error(line)
	}
}

// What operators search for must not vanish behind the mask.
func TestWhatIsNoSecretStays(t *testing.T) {
	t.Parallel()
	for name, attr := range map[string]slog.Attr{
		"status_code":     slog.String("status_code", "visible"),
		"aadsts code":     slog.Int("code", 700082),
		"tokens counted":  slog.Int("tokens", 12345),
		"duration":        slog.Duration("token_latency", 12345),
		"time":            slog.Time("token_expiry", time.Unix(12345, 0)),
		"a bool":          slog.Bool("has_token", true),
		"URL, no query":   slog.String("url", "https://visible.example/path"),
		"a key's file":    slog.String("token_file", "/run/visible"),
		"an error":        slog.Any("error", errors.New("visible: no = sign here")),
		"a list":          slog.Any("names", []string{"visible"}),
		"a mailbox's id":  slog.String("mailbox", "abcdefghijklmnopqrstuvwx"),
		"our own code":    slog.String("code", "not_found"),
		"a leg's state":   slog.String("state", "held"),
		"Microsoft's":     slog.String("code", "AADSTS700082"),
		"an empty secret": slog.String("token", ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := record(t, func(l *slog.Logger) { l.LogAttrs(context.Background(), slog.LevelInfo, "x", attr) })
			if strings.Contains(line, hidden) {
				t.Error(line)
			}
		})
	}
}

func TestLevelAndFormComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		level, format string
		debug         bool
		prefix        string
	}{
		"nothing set": {"", "", false, "{"},
		"debug":       {"debug", "", true, "{"},
		"capitals":    {"DEBUG", "TEXT", true, "time="},
		"text":        {"info", "text", false, "time="},
		"json":        {"info", "json", false, "{"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			p := nothing(&stderr, map[string]string{EnvLog: c.level, EnvLogFormat: c.format})
			code := p.run(func(ctx context.Context, env Env) error {
				env.Log.DebugContext(ctx, "fine")
				env.Log.InfoContext(ctx, "coarse", "token", canary)
				return nil
			})
			out := stderr.String()
			if code != ExitOK || !strings.HasPrefix(out, c.prefix) || strings.Contains(out, "fine") != c.debug ||
				!strings.Contains(out, "coarse") || !strings.Contains(out, "test") || strings.Contains(out, canary) {
				t.Errorf("exit %d, log:\n%s", code, out)
			}
		})
	}
}

func TestHigherLevelsHideLowerOnes(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var stderr bytes.Buffer
		nothing(&stderr, map[string]string{EnvLog: level, EnvLogFormat: "text"}).run(func(ctx context.Context, env Env) error {
			env.Log.DebugContext(ctx, "m")
			env.Log.InfoContext(ctx, "m")
			env.Log.WarnContext(ctx, "m")
			env.Log.ErrorContext(ctx, "m")
			return nil
		})
		if got := strings.Count(stderr.String(), "msg=m"); got != want {
			t.Errorf("%s shows %d lines, want %d", level, got, want)
		}
	}
}

func TestAWrongLogSettingIsAWrongConfiguration(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	code := nothing(&stderr, map[string]string{EnvLog: "loud", EnvLogFormat: "xml"}).run(func(context.Context, Env) error {
		t.Error("the process ran")
		return nil
	})
	want := "test: KINDLING_LOG is none of debug, info, warn and error\nKINDLING_LOG_FORMAT is neither json nor text\n"
	if code != ExitConfig || stderr.String() != want {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if isTerminal(f) || isTerminal(io.Discard) {
		t.Error("taken for a terminal")
	}
}
