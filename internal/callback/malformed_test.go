package callback_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAMalformedAnswerTouchesNothing(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("&x=1", 10_000)
	for name, raw := range map[string]string{
		"empty query":            "",
		"neither code nor error": "state=S",
		"empty code":             "state=S&code=",
		"no state":               "code=" + echoCanary,
		"empty state":            "state=&code=" + echoCanary,
		"code twice":             "state=S&code=a&code=b",
		"same code twice":        "state=S&code=a&code=a",
		"state twice":            "state=S&state=S&code=a",
		"code and error":         "state=S&code=a&error=access_denied",
		"empty code and error":   "state=S&code=&error=access_denied",
		"short state":            "state=S-&code=a",
		"long state":             "state=SA&code=a",
		"state with =":           "state=S=&code=a",
		"state with +":           "state=S%2B&code=a",
		"long code":              "state=S&code=" + strings.Repeat("a", 4097),
		"code with NUL":          "state=S&code=a%00b",
		"code with CRLF":         "state=S&code=a%0d%0aSet-Cookie:x",
		"code with a blank":      "state=S&code=a%20b",
		"code with a plus":       "state=S&code=a+b",
		"code of bad UTF-8":      "state=S&code=%ff%fe",
		"code of emoji":          "state=S&code=%F0%9F%94%A5",
		"code of blanks":         "state=S&code=%20%20",
		"bad escape":             "state=S&code=a&x=%zz",
		"bad escape in code":     "state=S&code=%zz",
		"cut escape":             "state=S&code=a%4",
		"semicolon":              "state=S;code=a",
		"semicolon in code":      "state=S&code=a;b",
		"too many parameters":    "state=S&code=a" + many[:7000],
		"33 parameters":          "state=S&code=a" + many[:0] + numbered(31),
		"capital name":           "state=S&Code=" + echoCanary,
		"list name":              "state=S&code[]=" + echoCanary,
		"double-encoded name":    "state=S&%2563ode=" + echoCanary,
		"nameless parameter":     "state=S&code=a&=b",
		"empty pair":             "state=S&&code=a",
		"iss twice":              "state=S&code=a&iss=x&iss=x",
		"error without state":    "error=access_denied",
		"bad UTF-8 in a name":    "state=S&code=a&%ff=1",
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		before := r.claims.get(mailboxID)
		// S stands for the right state, except where it is made longer or shorter by what follows.
		raw = strings.Replace(raw, "state=S-", "state="+a.state[:42], 1)
		raw = strings.ReplaceAll(raw, "state=S", "state="+a.state)

		query := r.get(callPath+"?"+raw, a.cookie)
		form := r.do(r.request(http.MethodPost, callPath, raw, a.cookie))
		for mode, answer := range map[string]*http.Response{"query": query, "form": form} {
			text := bodyOf(t, answer)
			if answer.StatusCode != http.StatusBadRequest || len(answer.Cookies()) != 0 {
				t.Errorf("%s, %s: %d", name, mode, answer.StatusCode)
			}
			r.untouched(name, before, 0, text)
		}
		if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: afterwards the right answer gets %d", name, answer.StatusCode)
		}
	}
}

// numbered makes n parameters with different names.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&p%d=1", i)
	}
	return b.String()
}

func TestTheRightAnswerWithParametersOfMicrosoftIsTaken(t *testing.T) {
	t.Parallel()
	for _, extra := range []string{
		"", "&session_state=5a", "&iss=https%3A%2F%2Flogin.microsoftonline.com%2F9188040d-6c67-4c5b-b112-36a304b66dad%2Fv2.0", numbered(29), "&empty=", "&flag",
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		if answer := r.get(callPath+"?code="+url.QueryEscape(code)+"&state="+a.state+extra, a.cookie); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("%q: %d", extra, answer.StatusCode)
		}
	}
}

func TestARequestOfTheWrongFormTouchesNothing(t *testing.T) {
	t.Parallel()
	type change func(*http.Request)
	header := func(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }
	for _, tc := range []struct {
		name, method, path string
		query, body        string
		change             change
		want               int
	}{
		{name: "PUT", method: http.MethodPut, path: callPath, query: "?Q", want: 405},
		{name: "DELETE", method: http.MethodDelete, path: callPath, query: "?Q", want: 405},
		{name: "TRACE", method: http.MethodTrace, path: callPath, query: "?Q", want: 405},
		{name: "OPTIONS", method: http.MethodOptions, path: callPath, query: "?Q", want: 405},
		{name: "PATCH", method: http.MethodPatch, path: callPath, query: "?Q", want: 405},
		{name: "HEAD", method: http.MethodHead, path: callPath, query: "?Q", want: 405},
		{name: "unknown method", method: "BREW", path: callPath, query: "?Q", want: 405},
		{name: "unknown app", method: http.MethodGet, path: "/oauth-callback/nobody", query: "?Q", want: 404},
		{name: "no app", method: http.MethodGet, path: "/oauth-callback/", query: "?Q", want: 404},
		{name: "app in capitals", method: http.MethodGet, path: "/oauth-callback/MAIN", query: "?Q", want: 404},
		{name: "dots in the path", method: http.MethodGet, path: "/oauth-callback/../oauth-callback/main", query: "?Q", want: 404},
		{name: "escaped dots", method: http.MethodGet, path: "/oauth-callback/%2e%2e/main", query: "?Q", want: 404},
		{name: "double slash", method: http.MethodGet, path: "//oauth-callback/main", query: "?Q", want: 404},
		{name: "trailing slash", method: http.MethodGet, path: callPath + "/", query: "?Q", want: 404},
		{name: "body of 17 KB", method: http.MethodPost, path: callPath, body: "Q&x=" + strings.Repeat("a", 17<<10), want: 413},
		{name: "JSON", method: http.MethodPost, path: callPath, body: "Q", change: header("Content-Type", "application/json"), want: 415},
		{name: "multipart", method: http.MethodPost, path: callPath, body: "Q", change: header("Content-Type", "multipart/form-data; boundary=x"), want: 415},
		{name: "text", method: http.MethodPost, path: callPath, body: "Q", change: header("Content-Type", "text/plain"), want: 415},
		{name: "no type", method: http.MethodPost, path: callPath, body: "Q", change: header("Content-Type", ""), want: 415},
		{name: "form with a query", method: http.MethodPost, path: callPath, query: "?x=1", body: "Q", want: 400},
		{name: "answer in the query of a form", method: http.MethodPost, path: callPath, query: "?Q", body: "x=1", want: 400},
		{name: "form without a body", method: http.MethodPost, path: callPath, query: "?Q", want: 400},
		{name: "URL of 64 KB", method: http.MethodGet, path: callPath, query: "?Q&x=" + strings.Repeat("a", 64<<10), want: 414},
		{name: "foreign host", method: http.MethodGet, path: callPath, query: "?Q", change: func(r *http.Request) { r.Host = "evil.example" }, want: 421},
		{name: "host with another port", method: http.MethodGet, path: callPath, query: "?Q", change: func(r *http.Request) { r.Host = "connect.example:8443" }, want: 421},
		{name: "no host", method: http.MethodGet, path: callPath, query: "?Q", change: func(r *http.Request) { r.Host = "" }, want: 421},
		{name: "forwarded host does not help", method: http.MethodGet, path: callPath, query: "?Q", want: 421, change: func(r *http.Request) {
			r.Host = "evil.example"
			r.Header.Set("X-Forwarded-Host", "connect.example")
		}},
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		before := r.claims.get(mailboxID)
		full := "code=" + url.QueryEscape(code) + "&state=" + a.state
		req := r.request(tc.method, tc.path+strings.Replace(tc.query, "Q", full, 1), strings.Replace(tc.body, "Q", full, 1), a.cookie)
		if tc.change != nil {
			tc.change(req)
		}
		answer := r.do(req)
		if answer.StatusCode != tc.want || len(answer.Cookies()) != 0 {
			t.Errorf("%s: %d instead of %d", tc.name, answer.StatusCode, tc.want)
		}
		if tc.want == 405 && answer.Header.Get("Allow") != "GET, POST" {
			t.Errorf("%s: allows %q", tc.name, answer.Header.Get("Allow"))
		}
		r.untouched(tc.name, before, 0, bodyOf(t, answer))
		if again := r.come(a, withCode(code)); again.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: afterwards the right answer gets %d", tc.name, again.StatusCode)
		}
	}
}

func TestSpoofedForwardingHeadersAreIgnored(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	req := r.request(http.MethodGet, callPath+"?code=a&state="+a.state, "", a.cookie)
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded", "X-HTTP-Method-Override", "X-Original-URL"} {
		req.Header.Set(name, "evil.example")
	}
	if answer := r.do(req); answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/done/") {
		t.Errorf("%d to %s", answer.StatusCode, answer.Header.Get("Location"))
	}
}
