package callback_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"kindling/internal/mailbox"
)

// FuzzCallback sends mutated answers in the right browser. Whatever comes: no panic, no 5xx, and an answer is
// accepted only if it is one code with the attempt's state.
func FuzzCallback(f *testing.F) {
	for _, raw := range []string{
		"code=abc&state=S", "error=access_denied&state=S", "code=abc&state=S&state=S", "code=%zz&state=S", "code=a;state=S", "state=S",
		"code=abc&state=S&session_state=1&iss=https%3A%2F%2Flogin.microsoftonline.com%2Fx%2Fv2.0", "%63ode=abc&%73tate=S", "code=\x00&state=S",
	} {
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw string, post bool) {
		r := newRig(t, "https://connect.example")
		a := r.press()
		raw = strings.ReplaceAll(raw, "state=S", "state="+a.state)
		req := r.request(http.MethodPost, callPath, raw, a.cookie)
		if !post {
			req = r.request(http.MethodGet, callPath, "", a.cookie)
			req.URL.RawQuery, req.RequestURI = raw, callPath+"?"+raw
		}
		recorder := httptest.NewRecorder()
		r.edge.ServeHTTP(recorder, req)
		status := recorder.Code
		if status >= 500 || status == http.StatusOK {
			t.Errorf("%q answers %d", raw, status)
		}
		_, answered := r.claims.get(mailboxID).Latest()
		if (status == http.StatusSeeOther) != answered {
			t.Errorf("%q answers %d, answered = %v", raw, status, answered)
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
