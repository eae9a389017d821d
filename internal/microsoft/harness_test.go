package microsoft_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

const (
	clientID = "11111111-2222-4333-8444-555555555555"
	tenantID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	objectID = "99999999-8888-4777-8666-555555555555"
	address  = "jane@contoso.example"
	nonce    = "nonce-of-this-attempt"
	canary   = "canary-3f9d"
)

// patience is the deadline of calls that are answered: a noisy machine must not make it a test's verdict.
const patience = 30 * time.Second

func clock() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

// signer returns the one key with which the tests' Microsoft signs.
var signer = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// fake is a Microsoft whose answers a test writes.
type fake struct {
	*httptest.Server
	token atomic.Pointer[http.HandlerFunc]
	graph atomic.Pointer[http.HandlerFunc]
	keys  atomic.Pointer[http.HandlerFunc]
	hits  atomic.Int32 // of the token endpoint
	fetch atomic.Int32 // of the keys
	mu    sync.Mutex
	forms []url.Values
	paths []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	f.onToken(answerJSON(http.StatusOK, goodGrant()))
	f.onGraph(answerJSON(http.StatusOK, goodProfile()))
	f.onKeys(answerJSON(http.StatusOK, map[string]any{"keys": []any{
		jose.JSONWebKey{Key: &signer().PublicKey, KeyID: "k1", Algorithm: "RS256", Use: "sig"},
	}}))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		f.hits.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		f.forms, f.paths = append(f.forms, r.PostForm), append(f.paths, r.URL.Path)
		f.mu.Unlock()
		(*f.token.Load())(w, r)
	})
	mux.HandleFunc("GET /v1.0/me", func(w http.ResponseWriter, r *http.Request) { (*f.graph.Load())(w, r) })
	mux.HandleFunc("GET /common/discovery/v2.0/keys", func(w http.ResponseWriter, r *http.Request) {
		f.fetch.Add(1)
		(*f.keys.Load())(w, r)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) onToken(h http.HandlerFunc) { f.token.Store(&h) }
func (f *fake) onGraph(h http.HandlerFunc) { f.graph.Store(&h) }
func (f *fake) onKeys(h http.HandlerFunc)  { f.keys.Store(&h) }

func (f *fake) app() microsoft.App {
	return microsoft.App{
		Name: "main", Cloud: "public", Tenant: "organizations", ClientID: clientID,
		Secrets: []secret.Text{secret.New("secret-" + canary)}, RedirectURI: "https://connect.example/oauth-callback/main",
		Scopes:   []string{"openid", "profile", "User.Read", "Mail.Send", "Mail.ReadWrite"},
		LoginURL: f.URL, GraphURL: f.URL,
	}
}

func (f *fake) client(t *testing.T, change ...func(*microsoft.App)) *microsoft.Client {
	t.Helper()
	app := f.app()
	for _, c := range change {
		c(&app)
	}
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Transport: transport, Now: clock, Timeout: patience})
}

// clientAt is a client whose clock a test moves.
func (f *fake) clientAt(t *testing.T, now func() time.Time) *microsoft.Client {
	t.Helper()
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return microsoft.New(microsoft.Config{Apps: []microsoft.App{f.app()}, Transport: transport, Now: now, Timeout: patience})
}

func answerJSON(status int, body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func answerText(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hang answers nothing until the client is gone.
func hang(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// cut writes raw bytes on the connection and drops it.
func cut(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}

func goodGrant() map[string]any {
	return map[string]any{
		"token_type": "Bearer", "access_token": "access-" + canary, "refresh_token": "refresh-" + canary, "expires_in": 4500,
		"scope": "openid profile User.Read Mail.Send Mail.ReadWrite", "id_token": "x.y.z",
	}
}

func with(base map[string]any, pairs ...any) map[string]any {
	for i := 0; i+1 < len(pairs); i += 2 {
		key, _ := pairs[i].(string)
		if pairs[i+1] == nil {
			delete(base, key)
			continue
		}
		base[key] = pairs[i+1]
	}
	return base
}

func goodProfile() map[string]any {
	return map[string]any{"id": objectID, "mail": "Jane@Contoso.example", "userPrincipalName": "jane.doe@contoso.example"}
}

func consent() mailbox.Consent {
	return mailbox.Consent{
		Code: secret.New("code-" + canary), Verifier: secret.New("verifier-" + canary), Nonce: secret.New(nonce),
		Tenant: "organizations", RedirectURI: "https://connect.example/oauth-callback/main",
	}
}

// wants checks a fault's class, code and reason, and that neither it nor its cause shows a secret.
func wants(t *testing.T, err error, class fault.Class, code, reason string) fault.Fault {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s %s", class, code)
	}
	f := fault.Of(err)
	if f.Class != class || f.Code != code || f.Reason != reason {
		t.Errorf("fault = %s %s reason %q (%v), want %s %s reason %q", f.Class, f.Code, f.Reason, err, class, code, reason)
	}
	if f.Cause == "" || f.Remedy == "" || f.Forecast == "" {
		t.Errorf("fault %s lacks words: %+v", f.Code, f)
	}
	if text := err.Error() + f.Remedy; strings.Contains(text, canary) || strings.Contains(text, address) {
		t.Errorf("fault %s shows a secret or an address: %s", f.Code, text)
	}
	return *f
}

func redeem(ctx context.Context, c *microsoft.Client) error {
	_, err := c.Redeem(ctx, "main", consent())
	return err
}
