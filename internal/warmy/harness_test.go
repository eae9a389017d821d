package warmy_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

const (
	canary  = "canary-3f9d"
	address = "jane+x@contoso.example"
)

func clock() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

// seen is a request as the fake Warmy got it.
type seen struct {
	method, path string
	query        string
	header       http.Header
	body         string
}

// fake is a Warmy whose answers a test writes.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	calls []seen
	then  http.HandlerFunc
}

func newFake(t *testing.T, then http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{then: then}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.calls = append(f.calls, seen{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body)})
		then := f.then
		f.mu.Unlock()
		then(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) answer(then http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.then = then
}

func (f *fake) got() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// pacer counts what it let through.
type pacer struct {
	mu    sync.Mutex
	calls int
	err   error
}

func (p *pacer) Wait(context.Context, string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return p.err
}

func (*pacer) Throttled(context.Context, string, time.Time, time.Duration) error { return nil }

func (p *pacer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func bearer(base string) warmy.Account {
	return warmy.Account{Name: "main", BaseURL: base + "/", APIKey: secret.New("key-" + canary), HolderUID: "holder"}
}

func newClient(t *testing.T, account warmy.Account, pace warmy.Pacer, timeout time.Duration) *warmy.Client {
	t.Helper()
	transport := warmy.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return warmy.New(warmy.Config{Accounts: []warmy.Account{account}, Transport: transport, Pace: pace, Timeout: timeout, Now: clock})
}

// patient is the time-out of a call that is to end by itself, on however busy a machine.
const patient = 30 * time.Second

// timeoutFor is that of a call that is to end with code.
func timeoutFor(code string) time.Duration {
	if code == "warmy_timeout" {
		return 300 * time.Millisecond
	}
	return patient
}

func client(t *testing.T, f *fake) *warmy.Client {
	t.Helper()
	return newClient(t, bearer(f.URL), nil, 2*time.Second)
}

func mailboxOf() handlers.NewMailbox {
	return handlers.NewMailbox{
		Address: address, FromName: "Jane", ClientID: "client", ClientSecret: secret.New("secret-" + canary),
		Access: secret.New("access-" + canary), Refresh: secret.New("refresh-" + canary), TariffPlanTypeID: 41, SpeedMode: "fast",
	}
}

func create(ctx context.Context, c *warmy.Client) error {
	_, err := c.Create(ctx, "main", mailboxOf())
	return err
}

func say(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func cut(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}

// reset ends the connection with a RST.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func drip(start string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, start)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 32<<10)); err != nil {
			return
		}
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wants checks a fault's class and code, and that it shows no secret and no address.
func wants(t *testing.T, err error, class fault.Class, code string) fault.Fault {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s %s", class, code)
	}
	f := fault.Of(err)
	if f.Class != class || f.Code != code {
		t.Errorf("fault = %s %s (%v), want %s %s", f.Class, f.Code, err, class, code)
	}
	if f.Cause == "" || f.Remedy == "" || f.Forecast == "" {
		t.Errorf("fault lacks words: %+v", f)
	}
	if text := err.Error() + f.Remedy; strings.Contains(text, canary) || strings.Contains(text, address) {
		t.Errorf("fault shows a secret or an address: %s", text)
	}
	return *f
}
