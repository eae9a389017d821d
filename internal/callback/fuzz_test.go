package callback_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"kindling/internal/mailbox"
)

// FuzzCallback sends mutated answers, in the right browser or in none. Whatever comes: no panic, no 5xx, nothing of it in
// the answer, and an answer is accepted only if it is one code with the attempt's state.
func FuzzCallback(f *testing.F) {
	for _, raw := range []string{
		"code=abc&state=S", "error=access_denied&state=S", "code=abc&state=S&state=S", "code=%zz&state=S", "code=a;state=S", "state=S",
		"code=abc&state=S&session_state=1&iss=https%3A%2F%2Flogin.microsoftonline.com%2Fx%2Fv2.0", "%63ode=abc&%73tate=S", "code=\x00&state=S",
		"code=abc&state=S&iss=https%3A%2F%2Fevil.example", "error=x&error_description=%3Cscript%3E&state=S", "code=abc&error=x&state=S", "code=abc&state=%53",
	} {
		for _, post := range []bool{false, true} {
			f.Add(raw, post, "application/x-www-form-urlencoded", true)
		}
		f.Add(raw, true, "application/json", true)
		f.Add(raw, false, "", false)
	}
	var answers sync.Map
	f.Fuzz(func(t *testing.T, raw string, post bool, kind string, right bool) {
		r := newRig(t, "https://connect.example")
		a := r.press()
		raw = strings.ReplaceAll(raw, "state=S", "state="+a.state)
		req := r.request(http.MethodPost, callPath, raw)
		req.Header["Content-Type"] = []string{kind}
		if !post {
			req = r.request(http.MethodGet, callPath, "")
			req.URL.RawQuery, req.RequestURI = raw, callPath+"?"+raw
		}
		if right {
			req.AddCookie(a.cookie)
		}
		recorder := httptest.NewRecorder()
		r.edge.ServeHTTP(recorder, req)
		status := recorder.Code
		if status >= 500 || status == http.StatusOK {
			t.Errorf("%q answers %d", raw, status)
		}
		sameAsEver(t, &answers, recorder, raw)
		_, answered := r.claims.get(mailboxID).Latest()
		if (status == http.StatusSeeOther) != answered || answered && !right {
			t.Errorf("%q answers %d, answered = %v, right browser = %v", raw, status, answered, right)
		}
		values, err := url.ParseQuery(raw)
		for _, e := range r.publisher.list() {
			plain, openErr := r.codes.Open(e.Sealed, mailbox.SealedCodeContext(mailboxID, e.Attempt))
			must(t, openErr)
			consent, parseErr := mailbox.ParseConsent(plain)
			must(t, parseErr)
			if err != nil || len(values["code"]) != 1 || len(values["state"]) != 1 || values.Get("state") != a.state || values.Get("code") != consent.Code.Reveal() {
				t.Errorf("%q published another code than a plain parser sees", raw)
			}
		}
	})
}

// FuzzLink opens mutated links, and presses the button behind them. Whatever comes: no panic, no 5xx, nothing of it in the
// answer, and an attempt is started only by the button of the link itself, whatever mail programs hung on it.
func FuzzLink(f *testing.F) {
	for _, seed := range []string{link, link + ".", link + "/start", link + "?next=https://evil.example", "..%2f" + link, "x", "", "%00", link + "%0a", "%ff", link[:43], "*"} {
		f.Add(seed, false, "")
		f.Add(seed, true, "same-origin")
		f.Add(seed, true, "cross-site")
	}
	var answers sync.Map
	f.Fuzz(func(t *testing.T, tail string, post bool, site string) {
		r := newRig(t, "https://connect.example")
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		target, err := url.ParseRequestURI("/c/" + tail)
		if err != nil {
			return // no server hands it on
		}
		req := httptest.NewRequestWithContext(context.Background(), method, r.base+"/", http.NoBody)
		req.URL.Path, req.URL.RawPath, req.URL.RawQuery, req.RequestURI = target.Path, target.RawPath, target.RawQuery, "/c/"+tail
		req.Header["Sec-Fetch-Site"] = []string{site}
		recorder := httptest.NewRecorder()
		r.edge.ServeHTTP(recorder, req)
		if recorder.Code >= 500 {
			t.Errorf("%q answers %d", tail, recorder.Code)
		}
		sameAsEver(t, &answers, recorder, tail)
		button := regexp.MustCompile(`^/c/` + regexp.QuoteMeta(link) + `[.,)>]?/start$`).MatchString(target.Path)
		pressed := post && button && site != "cross-site"
		if started := len(r.claims.get(mailboxID).Attempts) > 0; started && !pressed || started != (recorder.Code == http.StatusSeeOther) {
			t.Errorf("%s %q from %q answers %d, started = %v", method, tail, site, recorder.Code, started)
		}
		if len(r.publisher.list()) > 0 {
			t.Errorf("%q published something", tail)
		}
	})
}

var (
	reference = regexp.MustCompile(`<code>[a-z2-7]{8}</code>`)
	heading   = regexp.MustCompile(`<title>[^<]*</title>`)
)

// sameAsEver fails when two answers of one kind differ: then the request has found its way into one of them.
func sameAsEver(t *testing.T, answers *sync.Map, got *httptest.ResponseRecorder, sent string) {
	t.Helper()
	body := reference.ReplaceAll(got.Body.Bytes(), nil)
	var head []string
	for name, values := range got.Header() {
		switch {
		case name == "Set-Cookie":
		case name == "Location" && len(values) == 1 && (strings.HasPrefix(values[0], "/done/") || strings.HasPrefix(values[0], origin+"/")):
		default:
			head = append(head, name+": "+strings.Join(values, "\n"))
		}
	}
	slices.Sort(head)
	text := strings.Join(head, "\n") + "\n" + string(bytes.TrimSpace(body))
	key := http.StatusText(got.Code) + heading.FindString(text) + got.Header().Get("Allow") + got.Header().Get("Referrer-Policy") + again.FindString(text)
	if first, known := answers.LoadOrStore(key, text); known && first != text {
		t.Errorf("%q is answered otherwise than others of its kind:\n%s\ninstead of\n%s", sent, text, first)
	}
}

// again is the button of a page; some pages have one only when the browser is known.
var again = regexp.MustCompile(`href="/c/` + regexp.QuoteMeta(link) + `"`)
