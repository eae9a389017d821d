package callback_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"kindling/internal/callback"
	"kindling/internal/mailbox"
)

// route is one answer of the edge, and how it is had.
type route struct {
	name, route string
	status      int
	ask         func(r *rig) *http.Response
}

// everyAnswer are the answers of every route, in every way in which they can end.
func everyAnswer() []route {
	send := func(method, target, body string, change ...func(*http.Request)) func(r *rig) *http.Response {
		return func(r *rig) *http.Response {
			req := r.request(method, target, body)
			for _, c := range change {
				c(req)
			}
			return r.do(req)
		}
	}
	get := func(target string) func(r *rig) *http.Response { return send(http.MethodGet, target, "") }
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	answered := func(after func(r *rig, a attempt) *http.Response) func(r *rig) *http.Response {
		return func(r *rig) *http.Response { a := r.press(); r.come(a, withCode(code)); return after(r, a) }
	}
	start := "/c/" + link + "/start"
	state := strings.Repeat("A", 43)
	return []route{
		{"landing", "landing", 200, get("/c/" + link)},
		{"landing, HEAD", "landing", 200, send(http.MethodHead, "/c/"+link, "")},
		{"landing, unknown", "landing", 404, get("/c/x")},
		{"landing, wrong method", "landing", 405, send(http.MethodPut, "/c/"+link, "")},
		{"landing, expired", "landing", 410, func(r *rig) *http.Response { r.pass(30 * 24 * time.Hour); return r.get("/c/" + link) }},
		{"landing, connected", "landing", 200, func(r *rig) *http.Response {
			r.grants.set(mailboxID, func(g *mailbox.Grant) { g.Phase, g.Attempt = mailbox.GrantSaved, "a" })
			return r.get("/c/" + link)
		}},
		{"landing, store down", "landing", 503, func(r *rig) *http.Response { r.invitations.down = true; return r.get("/c/" + link) }},
		{"start", "start", 303, send(http.MethodPost, start, "")},
		{"start, wrong method", "start", 405, get(start)},
		{"start, from another site", "start", 403, send(http.MethodPost, start, "", header("Origin", "https://evil.example"))},
		{"start, no form", "start", 415, send(http.MethodPost, start, "x", header("Content-Type", "text/plain"))},
		{"start, too large", "start", 413, send(http.MethodPost, start, strings.Repeat("a", 1<<20))},
		{"start, too many", "start", 429, func(r *rig) *http.Response {
			for range mailbox.MaxLiveAttempts {
				r.press()
			}
			return r.do(r.request(http.MethodPost, start, ""))
		}},
		{"start, store down", "start", 503, func(r *rig) *http.Response { r.claims.down = true; return r.do(r.request(http.MethodPost, start, "")) }},
		{"callback", "callback", 303, func(r *rig) *http.Response { return r.come(r.press(), withCode(code)) }},
		{"callback, an error", "callback", 303, func(r *rig) *http.Response { return r.come(r.press(), map[string][]string{"error": {"access_denied"}}) }},
		{"callback, malformed", "callback", 400, get(callPath)},
		{"callback, other browser", "callback", 403, get(callPath + "?code=a&state=" + state)},
		{"callback, unknown app", "callback", 404, get("/oauth-callback/nobody?code=a&state=" + state)},
		{"callback, wrong method", "callback", 405, send(http.MethodDelete, callPath, "")},
		{"callback, conflict", "callback", 409, answered(func(r *rig, a attempt) *http.Response { return r.come(a, withCode("other")) })},
		{"callback, erased", "callback", 410, answered(func(r *rig, a attempt) *http.Response {
			r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.ErasedAt = i.InvitedAt })
			return r.come(a, withCode(code))
		})},
		{"callback, too large", "callback", 413, send(http.MethodPost, callPath, strings.Repeat("a", 17<<10))},
		{"callback, no form", "callback", 415, send(http.MethodPost, callPath, "{}", header("Content-Type", "application/json"))},
		{"callback, not stored", "callback", 503, func(r *rig) *http.Response { a := r.press(); r.publisher.down = true; return r.come(a, withCode(code)) }},
		{"done", "done", 200, func(r *rig) *http.Response { return r.get(r.donePath()) }},
		{"done, unknown", "done", 404, get("/done/x")},
		{"done, wrong method", "done", 405, send(http.MethodPost, "/done/x", "")},
		{"done, expired", "done", 410, func(r *rig) *http.Response { path := r.donePath(); r.pass(25 * time.Hour); return r.get(path) }},
		{"done, store down", "done", 503, func(r *rig) *http.Response { path := r.donePath(); r.registrations.down = true; return r.get(path) }},
		{"admin landing", "admin_landing", 200, func(r *rig) *http.Response { return r.get("/admin-consent/" + r.adminLink("main", tenant, time.Hour)) }},
		{"admin landing, unknown", "admin_landing", 404, get("/admin-consent/x")},
		{"admin landing, expired", "admin_landing", 410, func(r *rig) *http.Response { return r.get("/admin-consent/" + r.adminLink("main", tenant, -time.Hour)) }},
		{"admin start", "admin_start", 303, func(r *rig) *http.Response {
			return r.do(r.request(http.MethodPost, "/admin-consent/"+r.adminLink("main", tenant, time.Hour)+"/start", ""))
		}},
		{"admin start, wrong method", "admin_start", 405, get("/admin-consent/x/start")},
		{"admin start, from another site", "admin_start", 403, send(http.MethodPost, "/admin-consent/x/start", "", header("Origin", "https://evil.example"))},
		{"admin's answer", "callback", 303, func(r *rig) *http.Response {
			return r.come(r.adminPress(), map[string][]string{"admin_consent": {"True"}, "tenant": {"8eaef023-2b34-4da1-9baa-8bc8c9d6a490"}})
		}},
		{"admin done, unknown", "admin_done", 404, get("/admin-done/x")},
		{"admin done, wrong method", "admin_done", 405, send(http.MethodPost, "/admin-done/x", "")},
		{"style", "static", 200, get("/static/style.css")},
		{"icon", "static", 200, get("/static/icon.svg")},
		{"style, HEAD", "static", 200, send(http.MethodHead, "/static/style.css", "")},
		{"a part of the style", "static", 200, send(http.MethodGet, "/static/style.css", "", header("Range", "bytes=0-9"))},
		{"no part of the style", "static", 200, send(http.MethodGet, "/static/style.css", "", header("Range", "bytes=999999-"))},
		{"no such file", "other", 404, get("/static/app.js")},
		{"file, wrong method", "other", 404, send(http.MethodPost, "/static/style.css", "")},
		{"root", "other", 404, get("/")},
		{"no path", "other", 404, send(http.MethodGet, "/", "", func(r *http.Request) { r.URL.Path, r.RequestURI = "*", "*" })},
		{"dots", "other", 404, get("/c/../static/style.css")},
		{"health", "other", 404, get("/readyz")},
		{"figures", "other", 404, get("/metrics")},
		{"too long", "other", 414, get("/c/" + strings.Repeat("a", 9000))},
		{"another host", "other", 421, send(http.MethodGet, "/c/"+link, "", func(r *http.Request) { r.Host = "evil.example" })},
	}
}

func TestEveryAnswerOfEveryRouteHasItsHeaders(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://connect.example", "http://localhost:8080"} {
		for _, c := range everyAnswer() {
			r := newRig(t, base)
			answer := c.ask(r)
			if answer.StatusCode != c.status {
				t.Errorf("%s: %d instead of %d", c.name, answer.StatusCode, c.status)
			}
			if problem := headersOf(answer, c.route, strings.HasPrefix(base, "https")); problem != nil {
				t.Errorf("%s at %s: %v", c.name, base, problem)
			}
		}
	}
}

// headersOf says which header of an answer is not what it must be.
func headersOf(answer *http.Response, route string, secure bool) error {
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' " + origin +
			"; base-uri 'none'; frame-ancestors 'none'",
		"Referrer-Policy":              "no-referrer",
		"Cache-Control":                "no-store",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
		"X-Robots-Tag":                 "noindex, nofollow",
		"Strict-Transport-Security":    "",
		"Access-Control-Allow-Origin":  "",
		"Server":                       "",
	}
	if route == "landing" || route == "admin_landing" {
		want["Referrer-Policy"] = "same-origin" // no-referrer would make the button's origin "null"
	}
	if route == "static" && answer.StatusCode < 300 {
		want["Cache-Control"] = "public, max-age=3600"
	}
	if secure {
		want["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
	}
	var problems []error
	for name, value := range want {
		if got := strings.Join(answer.Header.Values(name), " and "); got != value {
			problems = append(problems, errors.New(name+": "+got))
		}
	}
	if kind := answer.Header.Get("Content-Type"); route != "static" && answer.StatusCode != http.StatusSeeOther && kind != "text/html; charset=utf-8" {
		problems = append(problems, errors.New("Content-Type: "+kind))
	}
	for name := range answer.Header {
		if strings.HasPrefix(name, "X-Powered") || name == "Refresh" {
			problems = append(problems, errors.New("unexpected "+name))
		}
	}
	return errors.Join(problems...)
}

// A flood is slowed down by an answer with the same headers.
func TestAnAnswerToAFloodHasItsHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example", func(c *callback.Config) { c.PerSecond, c.Burst = 0.001, 1 })
	a := r.press()
	answer := r.come(a, withCode(code))
	if problem := headersOf(answer, "callback", true); answer.StatusCode != http.StatusTooManyRequests || problem != nil {
		t.Errorf("%d: %v", answer.StatusCode, problem)
	}
}
