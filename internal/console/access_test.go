package console_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
)

// apiRoute is one operation of the OpenAPI file.
type apiRoute struct{ method, path, role string }

func apiRoutes(t *testing.T) []apiRoute {
	t.Helper()
	data, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Role string `yaml:"x-role"`
		} `yaml:"paths"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var routes []apiRoute
	for path, operations := range doc.Paths {
		for method, op := range operations {
			if method != "parameters" {
				routes = append(routes, apiRoute{strings.ToUpper(method), "/api/v1" + path, op.Role})
			}
		}
	}
	return routes
}

func TestTheOpenAPIFileNamesExactlyTheRoutesAndRoles(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	var described, registered []string
	for _, r := range apiRoutes(t) {
		described = append(described, r.method+" "+r.path+" "+r.role)
	}
	for _, r := range w.Console.Routes() {
		if strings.HasPrefix(r.Pattern, "/api/") {
			registered = append(registered, r.Method+" "+r.Pattern+" "+r.Role)
		}
	}
	slices.Sort(described)
	slices.Sort(registered)
	if !slices.Equal(described, registered) {
		t.Errorf("described:\n%s\nregistered:\n%s", strings.Join(described, "\n"), strings.Join(registered, "\n"))
	}
}

// concrete fills the places of a pattern.
func concrete(pattern string) string {
	return strings.NewReplacer("{id}", "nosuch", "{seq}", "99", "{$}", "").Replace(pattern)
}

func TestEveryRouteAsksForItsRole(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for _, r := range w.Console.Routes() {
		if r.Role == "" {
			continue
		}
		for _, role := range append([]string{""}, console.Roles()...) {
			t.Run(fmt.Sprintf("%s %s as %q", r.Method, r.Pattern, role), func(t *testing.T) {
				t.Parallel()
				a := call(t, w, role, r.Method, concrete(r.Pattern), "")
				allowed := slices.Index(console.Roles(), role) >= slices.Index(console.Roles(), r.Role)
				api := strings.HasPrefix(r.Pattern, "/api/")
				switch {
				case role == "" && api && a.status != http.StatusUnauthorized:
					t.Errorf("nobody got %d", a.status)
				case role == "" && !api && (a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/login")):
					t.Errorf("nobody got %d to %s", a.status, a.header.Get("Location"))
				case role != "" && !allowed && a.status != http.StatusForbidden:
					t.Errorf("got %d", a.status)
				case allowed && (a.status == http.StatusForbidden || a.status == http.StatusUnauthorized):
					t.Errorf("got %d: %s", a.status, a.body)
				}
			})
		}
	}
}

func TestNoForeignSiteCanChangeAnything(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	shapes := map[string]struct {
		headers []string
		refused bool
	}{
		"neither header, as curl":      {nil, false},
		"same origin":                  {[]string{"Sec-Fetch-Site", "same-origin"}, false},
		"typed by the user":            {[]string{"Sec-Fetch-Site", "none"}, false},
		"origin is the host":           {[]string{"Origin", w.Server.URL}, false},
		"cross-site":                   {[]string{"Sec-Fetch-Site", "cross-site"}, true},
		"same-site sibling":            {[]string{"Sec-Fetch-Site", "same-site"}, true},
		"origin null":                  {[]string{"Origin", "null"}, true},
		"foreign origin":               {[]string{"Origin", "https://evil.example"}, true},
		"sibling origin":               {[]string{"Origin", "http://localhost:1"}, true},
		"cross-site with right origin": {[]string{"Sec-Fetch-Site", "cross-site", "Origin", w.Server.URL}, true},
	}
	for _, r := range w.Console.Routes() {
		if r.Method == http.MethodGet {
			continue
		}
		for name, shape := range shapes {
			t.Run(r.Method+" "+r.Pattern+" "+name, func(t *testing.T) {
				t.Parallel()
				a := call(t, w, console.Admin, r.Method, concrete(r.Pattern), "", shape.headers...)
				if got := a.status == http.StatusForbidden; got != shape.refused {
					t.Errorf("status %d, refused should be %v", a.status, shape.refused)
				}
			})
		}
	}
}

func TestAWrongCredentialLetsNobodyIn(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	token := w.Tokens[console.Admin]
	for name, header := range map[string]string{
		"no token": "Bearer ", "prefix only": "Bearer kdl_", "cut": "Bearer " + token[:len(token)-1], "other case": "bearer " + token,
		"basic": "Basic YWRtaW46YWRtaW4=", "longer": "Bearer " + token + "x", "hash": "Bearer " + strings.Repeat("a", 64),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := call(t, w, "", "GET", "/api/v1/status", "", "Authorization", header)
			if p := a.problem(t); p.Status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("problem = %+v", p)
			}
		})
	}
	t.Run("token in the query", func(t *testing.T) {
		t.Parallel()
		if a := call(t, w, "", "GET", "/api/v1/status?token="+token, ""); a.status != http.StatusUnauthorized {
			t.Errorf("status %d", a.status)
		}
	})
	t.Run("forwarded user", func(t *testing.T) {
		t.Parallel()
		if a := call(t, w, "", "GET", "/api/v1/status", "", "X-Forwarded-User", "admin one"); a.status != http.StatusUnauthorized {
			t.Errorf("status %d", a.status)
		}
	})
}

func TestGuessingTokensIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for range 20 {
		call(t, w, "", "GET", "/api/v1/status", "", "Authorization", "Bearer kdl_guess")
	}
	if a := call(t, w, console.Admin, "GET", "/api/v1/status", ""); a.status != http.StatusTooManyRequests {
		t.Errorf("status %d", a.status)
	}
	w.Advance(time.Minute)
	if a := call(t, w, console.Admin, "GET", "/api/v1/status", ""); a.status != http.StatusOK {
		t.Errorf("status %d a minute later", a.status)
	}
}

func TestARemovedOrExpiredOperatorIsOut(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	entries, err := console.LoadOperators(w.OperatorsFile)
	if err != nil {
		t.Fatal(err)
	}
	entries[2].ExpiresAt = w.Now().Add(time.Hour)
	if err := console.SaveOperators(w.OperatorsFile, entries[1:]); err != nil {
		t.Fatal(err)
	}
	w.Advance(2 * time.Second)
	for role, want := range map[string]int{console.Viewer: 401, console.Worker: 200, console.Admin: 200} {
		if a := call(t, w, role, "GET", "/api/v1/status", ""); a.status != want {
			t.Errorf("%s got %d, want %d", role, a.status, want)
		}
	}
	w.Advance(time.Hour)
	if a := call(t, w, console.Admin, "GET", "/api/v1/status", ""); a.status != http.StatusUnauthorized {
		t.Errorf("an expired token got %d", a.status)
	}
}

func TestNothingChangesWithoutAnAuditTrail(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	w.Audit.SetDown(true)
	for _, c := range [][2]string{
		{"/api/v1/mailboxes/" + id + "/reinvite", `{}`},
		{"/api/v1/legs/hold", `{"name":"warmy/main"}`},
		{"/api/v1/legs/release", `{"name":"warmy/main"}`},
	} {
		a := call(t, w, console.Admin, "POST", c[0], c[1])
		if p := a.problem(t); p.Status != http.StatusServiceUnavailable || p.Code != "audit_unavailable" {
			t.Errorf("%s: %+v", c[0], p)
		}
	}
	a := call(t, w, console.Admin, "POST", "/api/v1/campaigns?name=Next", threeRows, "Content-Type", "text/csv")
	if p := a.problem(t); p.Code != "audit_unavailable" {
		t.Errorf("import: %+v", p)
	}
	if inv, _, _ := w.Invitations.Load(t.Context(), id); inv.LinkGeneration != 1 || w.Invitations.Len() != 1 {
		t.Error("something was changed without a trail")
	}
}

func TestIntentAndOutcomeAreOneStory(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	call(t, w, console.Worker, "POST", "/api/v1/legs/hold", `{"name":"warmy/main","cause":"maintenance"}`)
	trail := w.Audit.Entries()
	if len(trail) != 2 || trail[0].Outcome != "intent" || trail[1].Outcome != "done" || trail[0].Request != trail[1].Request ||
		trail[0].Actor != "operator one" || trail[0].Action != "leg.hold" || trail[0].Target != "warmy/main" || trail[0].Reason != "maintenance" {
		t.Errorf("trail = %+v", trail)
	}
}

func TestBadBodiesAreRefused(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for name, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"text": {`{"name":"warmy/main"}`, "text/plain", 415}, "form": {"name=warmy/main", "application/x-www-form-urlencoded", 415},
		"unknown field": {`{"name":"warmy/main","x":1}`, "application/json", 400},
		"duplicate key": {`{"name":"a","name":"warmy/main"}`, "application/json", 400},
		"trailing":      {`{"name":"warmy/main"} {}`, "application/json", 400},
		"deep":          {`{"name":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, "application/json", 400},
		"not JSON":      {`name`, "application/json", 400}, "wrong type": {`{"name":1}`, "application/json", 400},
		"too large": {`{"name":"` + strings.Repeat("x", 2<<20) + `"}`, "application/json", 413},
		"unknown":   {`{"name":"warmy/none"}`, "application/json", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := call(t, w, console.Worker, "POST", "/api/v1/legs/hold", c.body, "Content-Type", c.kind)
			if p := a.problem(t); p.Status != c.status || p.Remedy == "" {
				t.Errorf("problem = %+v", p)
			}
		})
	}
}

func TestEveryAnswerHasTheProtectingHeaders(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for _, path := range []string{"/", "/login", "/api/v1/status", "/nosuch", "/api/v1/nosuch"} {
		a := call(t, w, console.Viewer, "GET", path, "")
		for header, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := a.header.Get(header); got != want {
				t.Errorf("%s: %s is %q", path, header, got)
			}
		}
		if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

func TestAWrongMethodIsToldTheRightOnes(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for path, allow := range map[string]string{"/api/v1/legs/hold": "POST", "/api/v1/campaigns": "GET, HEAD, POST"} {
		a := call(t, w, console.Admin, "DELETE", path, "")
		if p := a.problem(t); p.Status != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow %q", path, p.Status, a.header.Get("Allow"))
		}
	}
	if a := call(t, w, console.Admin, "GET", "/api/v1/legs/hold", ""); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET of a changing route got %d", a.status)
	}
}
