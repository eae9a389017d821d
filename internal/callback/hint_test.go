package callback_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"kindling/internal/callback"
	"kindling/internal/events"
	"kindling/internal/secret"
)

const hookSecret = "hook-canary_0123456789ABCD"

// hints keeps what the edge published, each webhook once, as the stream does.
type hints struct {
	mu   sync.Mutex
	all  map[string]events.Hint
	down bool
}

func (h *hints) Publish(_ context.Context, hint events.Hint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return errDown
	}
	if _, err := hint.Encode(); err != nil {
		return err
	}
	h.all[hint.EventID] = hint
	return nil
}

func newHookRig(t *testing.T, changes ...func(*callback.Config)) (*rig, *hints) {
	t.Helper()
	published := &hints{all: map[string]events.Hint{}}
	hooks := func(c *callback.Config) {
		c.Webhooks = map[string]secret.Text{"acme": secret.New(hookSecret), "other": secret.New("other-" + hookSecret)}
		c.Hints = published
	}
	return newRig(t, "http://127.0.0.1:8080", append([]func(*callback.Config){hooks}, changes...)...), published
}

// hook sends a webhook.
func (r *rig) hook(method, path, kind, body string) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(method, r.base+path, strings.NewReader(body))
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	r.edge.ServeHTTP(w, req)
	return w.Result()
}

// webhook is one as Warmy's page shows it.
func webhook(event, action, state string) string {
	return `{"event_id":"` + event + `","event_version":"1.0","event_type":"MAILBOX::UPDATED","action_key":"` + action +
		`","summary":"Invalid credentials error","affected_id":123,"affected_type":"mailbox","data":{"id":123,"email":"` + address +
		`","domain":"contoso.example","state":"` + state + `"},"date":"2026-03-02"}`
}

func TestAWebhookIsAHintAboutAMailboxOfItsAccount(t *testing.T) {
	t.Parallel()
	r, published := newHookRig(t)
	for range 3 { // the same one again
		if got := r.hook(http.MethodPost, "/warmy/"+hookSecret, "application/json; charset=utf-8", webhook("ev1", "connection_failed", "blocked")); got.StatusCode != http.StatusNoContent {
			t.Fatalf("got %d", got.StatusCode)
		}
	}
	if len(published.all) != 1 {
		t.Fatalf("%+v", published.all)
	}
	for _, h := range published.all {
		if data, _ := h.Encode(); h.Account != "acme" || h.WarmyID != "123" || strings.Contains(string(data), "contoso") {
			t.Errorf("%s", data)
		}
	}
	r.hook(http.MethodPost, "/warmy/other-"+hookSecret, "application/json", webhook("ev1", "warmup_paused", "reconnect"))
	if len(published.all) != 2 {
		t.Errorf("another account's webhook of the same id is taken for the first: %+v", published.all)
	}
	if log := r.logs.String(); strings.Contains(log, "canary") || strings.Contains(log, "contoso") {
		t.Errorf("the log shows what nobody may read: %s", log)
	}
}

func TestBadWebhooksChangeNothing(t *testing.T) {
	t.Parallel()
	good := webhook("ev1", "connection_failed", "blocked")
	const kind, own = "application/json", "/warmy/" + hookSecret
	for name, c := range map[string]struct {
		method, path, kind, body string
		status                   int
	}{
		"wrong secret":             {"POST", "/warmy/" + strings.ToLower(hookSecret), kind, good, 404},
		"half a secret":            {"POST", "/warmy/" + hookSecret[:12], kind, good, 404},
		"no secret":                {"POST", "/warmy/", kind, good, 404},
		"two secrets":              {"POST", own + "/" + hookSecret, kind, good, 404},
		"read":                     {"GET", own, "", "", 405},
		"put":                      {"PUT", own, kind, good, 405},
		"a form":                   {"POST", own, "application/x-www-form-urlencoded", good, 415},
		"no type":                  {"POST", own, "", good, 415},
		"huge":                     {"POST", own, kind, `{"event_id":"` + strings.Repeat("x", 65<<10) + `"}`, 413},
		"empty":                    {"POST", own, kind, "", 400},
		"not JSON":                 {"POST", own, kind, "event_id=1", 400},
		"a list":                   {"POST", own, kind, "[" + good + "]", 400},
		"text after it":            {"POST", own, kind, good + "{}", 400},
		"not UTF-8":                {"POST", own, kind, strings.Replace(good, "Invalid", "\xff", 1), 400},
		"no event id":              {"POST", own, kind, strings.Replace(good, `"ev1"`, `""`, 1), 400},
		"an event id as a list":    {"POST", own, kind, strings.Replace(good, `"ev1"`, `["ev1"]`, 1), 400},
		"a long event id":          {"POST", own, kind, strings.Replace(good, "ev1", strings.Repeat("e", 201), 1), 400},
		"no id":                    {"POST", own, kind, strings.ReplaceAll(good, "123", "null"), 400},
		"an id that is a path":     {"POST", own, kind, strings.ReplaceAll(good, "123", `"1/../2"`), 400},
		"an id that is a wildcard": {"POST", own, kind, strings.ReplaceAll(good, "123", `"a.*"`), 400},
		"a broken id":              {"POST", own, kind, strings.ReplaceAll(good, "123", "1.5"), 400},
		"two ids":                  {"POST", own, kind, strings.Replace(good, "123", "124", 1), 400},
		"of something else":        {"POST", own, kind, strings.Replace(good, `"mailbox"`, `"domain"`, 1), 400},
		"an unknown action":        {"POST", own, kind, webhook("ev2", "mailbox_sings", "active"), 204},
		"a pause":                  {"POST", own, kind, webhook("ev3", "warmup_paused", "not_active"), 204},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, published := newHookRig(t)
			got := r.hook(c.method, c.path, c.kind, c.body)
			body, _ := io.ReadAll(got.Body)
			if got.StatusCode != c.status || len(published.all) != 0 || strings.Contains(string(body), "canary") {
				t.Errorf("got %d, want %d; published %+v", got.StatusCode, c.status, published.all)
			}
		})
	}
}

func TestWithoutASecretNoWebhookIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, "http://127.0.0.1:8080")
	for _, path := range []string{"/warmy/" + hookSecret, "/warmy/x"} {
		if got := r.hook(http.MethodPost, path, "application/json", webhook("ev1", "connection_failed", "blocked")); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s got %d", path, got.StatusCode)
		}
	}
}

func TestAFloodOfWebhooksIsRefused(t *testing.T) {
	t.Parallel()
	r, published := newHookRig(t, func(c *callback.Config) { c.PerSecond, c.Burst = 0.001, 3 })
	refused := 0
	for range 10 {
		if r.hook(http.MethodPost, "/warmy/"+hookSecret, "application/json", webhook("ev1", "connection_failed", "blocked")).StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 7 || len(published.all) != 1 {
		t.Errorf("%d refused, %d published", refused, len(published.all))
	}
}

func TestAWebhookThatCannotBeStoredIsToComeAgain(t *testing.T) {
	t.Parallel()
	r, published := newHookRig(t)
	published.down = true
	if got := r.hook(http.MethodPost, "/warmy/"+hookSecret, "application/json", webhook("ev1", "connection_failed", "blocked")); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("got %d", got.StatusCode)
	}
}

func TestPoorWebhookSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for name, secrets := range map[string]map[string]secret.Text{
		"short":    {"acme": secret.New("0123456789")},
		"a path":   {"acme": secret.New("0123456789/0123456789/0123456789")},
		"the same": {"acme": secret.New(hookSecret), "other": secret.New(hookSecret)},
	} {
		r, published := newHookRig(t)
		r.config.Webhooks, r.config.Hints = secrets, published
		if _, err := callback.New(r.config); err == nil || !strings.Contains(err.Error(), "webhooks") || strings.Contains(err.Error(), "0123") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
