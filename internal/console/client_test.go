package console_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
)

// answer is what the console said.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("answer %d is not what was expected: %v\n%s", a.status, err, a.body)
	}
}

func (a answer) problem(t *testing.T) console.Problem {
	t.Helper()
	var p console.Problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("answer %d is a %s, not a problem: %.300s", a.status, got, a.body)
	}
	a.decode(t, &p)
	return p
}

// call makes a request as somebody of the given role; "" is nobody. Headers follow as name, value.
func call(t *testing.T, w *consoletest.World, role, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.Server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if role != "" {
		req.Header.Set("Authorization", "Bearer "+w.Tokens[role])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(t, w, req)
}

func do(t *testing.T, w *consoletest.World, req *http.Request) answer {
	t.Helper()
	client := *w.Server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// importCSV imports a file as an operator.
func importCSV(t *testing.T, w *consoletest.World, name, csv string) console.ImportReport {
	t.Helper()
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name="+name, csv, "Content-Type", "text/csv")
	if a.status != http.StatusOK {
		t.Fatalf("import: %d %s", a.status, a.body)
	}
	var report console.ImportReport
	a.decode(t, &report)
	return report
}
