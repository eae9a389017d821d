package callback_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/callback"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

const echoCanary = "canary-echo-77"

// untouched asserts that a request changed nothing that lasts, and that its answer echoes nothing.
func (r *rig) untouched(name string, before mailbox.Claim, events int, text string) {
	r.t.Helper()
	if diff := cmp.Diff(before, r.claims.get(mailboxID)); diff != "" {
		r.t.Errorf("%s: claim: %s", name, diff)
	}
	if n := len(r.publisher.list()); n != events {
		r.t.Errorf("%s: %d events instead of %d", name, n, events)
	}
	for _, secret := range []string{"canary", address, "<script", "\x1b", "\u202e"} {
		if strings.Contains(text, secret) || strings.Contains(r.log(), secret) {
			r.t.Errorf("%s: %q is shown or logged", name, secret)
		}
	}
}

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

func TestAnAnswerCountsOnlyInTheBrowserThatAsked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		forge func(r *rig, a, b attempt) (path, state string, cookies []*http.Cookie)
	}{
		{"no cookie", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) { return callPath, a.state, nil }},
		{"cookie of another attempt", func(_ *rig, a, b attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{b.cookie}
		}},
		{"cookie of another attempt under this one's name", func(_ *rig, a, b attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: b.cookie.Value}}
		}},
		{"the victim finishes the attacker's attempt", func(_ *rig, _, b attempt) (string, string, []*http.Cookie) {
			return callPath, b.state, nil
		}},
		{"one byte flipped", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			changed := []byte(a.cookie.Value)
			changed[100] ^= 1
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: string(changed)}}
		}},
		{"sealed with another key", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			theirs := newRig(r.t, r.base).press().cookie
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: theirs.Value}}
		}},
		{"cookie of 16 minutes", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			r.pass(16 * time.Minute)
			return callPath, a.state, []*http.Cookie{a.cookie}
		}},
		{"cookie from the future", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			r.pass(-61 * time.Second)
			return callPath, a.state, []*http.Cookie{a.cookie}
		}},
		{"name without its prefix", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: strings.TrimPrefix(a.cookie.Name, "__Host-"), Value: a.cookie.Value}}
		}},
		{"two of the name, none opens", func(_ *rig, a, b attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: "x"}, {Name: a.cookie.Name, Value: b.cookie.Value}}
		}},
		{"empty cookie", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: ""}}
		}},
		{"another app's callback", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return "/oauth-callback/other", a.state, []*http.Cookie{a.cookie}
		}},
		{"a state that was never issued", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, strings.Repeat("A", 43), []*http.Cookie{a.cookie}
		}},
		{"foreign issuer", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state + "&iss=https://evil.example/tenant/v2.0", []*http.Cookie{a.cookie}
		}},
		{"issuer that only begins like ours", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state + "&iss=https://login.microsoftonline.com.evil.example/t/v2.0", []*http.Cookie{a.cookie}
		}},
		{"empty issuer", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state + "&iss=", []*http.Cookie{a.cookie}
		}},
	} {
		for _, answerWith := range []string{"code=" + url.QueryEscape(code), "error=access_denied"} {
			r := newRig(t, "https://connect.example")
			a, b := r.press(), r.press()
			before := r.claims.get(mailboxID)
			path, state, cookies := tc.forge(r, a, b)
			answer := r.get(path+"?"+answerWith+"&state="+state, cookies...)
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d", tc.name, answer.StatusCode)
			}
			r.untouched(tc.name, before, 0, bodyOf(t, answer))
		}
	}
}

func TestAPlantedCookieDoesNotShadowTheRightOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	if answer := r.get(callPath+"?code=a&state="+a.state, &http.Cookie{Name: a.cookie.Name, Value: "planted"}, a.cookie); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestALateOrSecondAnswerTouchesNothing(t *testing.T) {
	t.Parallel()
	invitation := func(change func(*mailbox.Invitation)) func(r *rig, a attempt) {
		return func(r *rig, _ attempt) { r.invitations.set(mailboxID, change) }
	}
	for _, tc := range []struct {
		name   string
		before func(r *rig, a attempt)
		query  url.Values
		want   int
		events int
	}{
		{"used state, other code", func(r *rig, a attempt) { r.come(a, withCode("first")) }, withCode(code), 409, 1},
		{"used state, error", func(r *rig, a attempt) { r.come(a, withCode("first")) }, url.Values{"error": {"access_denied"}}, 409, 1},
		{"refused state, code", func(r *rig, a attempt) { r.come(a, url.Values{"error": {"access_denied"}}) }, withCode(code), 409, 0},
		{"expired attempt", func(r *rig, _ attempt) { r.pass(15*time.Minute + 10*time.Second) }, withCode(code), 410, 0},
		{"expired attempt, error", func(r *rig, _ attempt) { r.pass(15*time.Minute + 10*time.Second) }, url.Values{"error": {"x"}}, 410, 0},
		{"attempt unknown to the claim", func(r *rig, _ attempt) { r.claims.set(mailboxID, func(c *mailbox.Claim) { c.Attempts = nil }) }, withCode(code), 410, 0},
		{"revoked link", invitation(func(i *mailbox.Invitation) { i.LinkGeneration, i.LinkHash = 2, "new" }), withCode(code), 410, 0},
		{"revoked link, error", invitation(func(i *mailbox.Invitation) { i.LinkGeneration = 2 }), url.Values{"error": {"x"}}, 410, 0},
		{"erased", invitation(func(i *mailbox.Invitation) { i.ErasedAt = i.InvitedAt }), withCode(code), 410, 0},
		{"already connected", func(r *rig, _ attempt) {
			r.grants.set(mailboxID, func(g *mailbox.Grant) { g.Phase, g.Attempt = mailbox.GrantSaved, "an-older-attempt" })
		}, withCode(code), 410, 0},
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		tc.before(r, a)
		before := r.claims.get(mailboxID)
		answer := r.come(a, tc.query)
		if answer.StatusCode != tc.want {
			t.Errorf("%s: %d instead of %d", tc.name, answer.StatusCode, tc.want)
		}
		r.untouched(tc.name, before, tc.events, bodyOf(t, answer))
	}
}

func TestTheSameAnswerIsThankedForWhenItsOwnTokensAreSaved(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	r.come(a, withCode(code))
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		g.Phase, g.Attempt = mailbox.GrantSaved, r.claims.get(mailboxID).Attempts[0].ID
	})
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestAnErrorOfMicrosoftIsRecordedAndExplainedInOurWords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, code, reason, shows string
		alarm                     bool
	}{
		{"declined", "access_denied", mailbox.Declined, "You did not agree", false},
		{"declined, other form", "consent_required", mailbox.Declined, "You did not agree", false},
		{"admin", "interaction_required", mailbox.AdminRequired, "Your administrator has to agree first", false},
		{"login", "login_required", mailbox.SignInFailed, "Signing in did not work", false},
		{"server error", "server_error", mailbox.SignInFailed, "Signing in did not work", false},
		{"later", "temporarily_unavailable", mailbox.SignInFailed, "Signing in did not work", false},
		{"scope", "invalid_scope", mailbox.SignInFailed, "Signing in did not work", true},
		{"client", "unauthorized_client", mailbox.SignInFailed, "Signing in did not work", true},
		{"unknown", "foo-canary", mailbox.SignInFailed, "Signing in did not work", false},
		{"empty", "", mailbox.SignInFailed, "Signing in did not work", false},
		{"10 KB", strings.Repeat("canary", 1700), mailbox.SignInFailed, "Signing in did not work", false},
		{"not text", "\x00\x1b[31m\r\n\u202e<script>", mailbox.SignInFailed, "Signing in did not work", false},
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		form := url.Values{
			"error": {tc.code}, "state": {a.state}, "error_uri": {"javascript:canary"},
			"error_description": {"<script>canary</script>\x1b[31m\u202e\r\nX: y " + strings.Repeat("z", 2000)},
		}
		answer := r.do(r.request(http.MethodPost, callPath, form.Encode(), a.cookie))
		if answer.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d", tc.name, answer.StatusCode)
			continue
		}
		page := r.get(answer.Header.Get("Location"))
		text := bodyOf(t, page)
		if page.StatusCode != http.StatusOK || !strings.Contains(text, tc.shows) || !strings.Contains(text, `href="/c/`+link+`"`) {
			t.Errorf("%s: page %d shows\n%s", tc.name, page.StatusCode, text)
		}
		claim := r.claims.get(mailboxID)
		if claim.Attempts[0].Refusal != tc.reason || claim.Attempts[0].CodeHash != "" {
			t.Errorf("%s: claim %+v", tc.name, claim)
		}
		if alarm := strings.Contains(r.log(), `"level":"ERROR"`); alarm != tc.alarm {
			t.Errorf("%s: alarm = %v", tc.name, alarm)
		}
		r.untouched(tc.name, claim, 0, text)
		if again := r.do(r.request(http.MethodPost, callPath, form.Encode(), a.cookie)); again.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: the same error again gets %d", tc.name, again.StatusCode)
		}
	}
}

func TestAFloodIsSlowedDownAndTouchesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example", func(c *callback.Config) { c.PerSecond, c.Burst = 1, 3 })
	a := r.press()
	before := r.claims.get(mailboxID)
	for range 2 {
		r.get(callPath + "?code=a&state=" + strings.Repeat("A", 43))
	}
	for range 5 {
		answer := r.come(a, withCode(code))
		if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" {
			t.Errorf("%d, Retry-After %q", answer.StatusCode, answer.Header.Get("Retry-After"))
		}
		r.untouched("flood", before, 0, bodyOf(t, answer))
	}
	if answer := r.get("/c/" + link); answer.StatusCode != http.StatusOK {
		t.Errorf("looking at the page is limited too: %d", answer.StatusCode)
	}
	other := r.request(http.MethodPost, "/c/"+link+"/start", "")
	other.RemoteAddr = "198.51.100.7:1234"
	if answer := r.do(other); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("another network gets %d", answer.StatusCode)
	}
	r.pass(time.Second)
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a second later: %d", answer.StatusCode)
	}
}

func TestTheClientBehindATrustedProxyIsTheOneThatIsLimited(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, remote    string
		forwarded, then []string // X-Forwarded-For of two requests
		shared          bool     // both fall into one bucket
	}{
		{"trusted proxy, two clients", "10.0.0.1:1", []string{"192.0.2.1"}, []string{"192.0.2.2"}, false},
		{"trusted proxy, one client", "10.0.0.1:1", []string{"192.0.2.1"}, []string{"192.0.2.1"}, true},
		{"a client invents hops before itself", "10.0.0.1:1", []string{"1.1.1.1, 192.0.2.1"}, []string{"2.2.2.2, 192.0.2.1"}, true},
		{"two trusted hops", "10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, []string{"192.0.2.2, 10.0.0.2"}, false},
		{"two header lines", "10.0.0.1:1", []string{"192.0.2.1", "10.0.0.2"}, []string{"192.0.2.2", "10.0.0.2"}, false},
		{"no proxy", "192.0.2.9:1", []string{"192.0.2.1"}, []string{"192.0.2.2"}, true},
		{"garbage", "10.0.0.1:1", []string{"192.0.2.1, zzz"}, []string{"192.0.2.2, zzz"}, true},
		{"IPv6, one customer", "10.0.0.1:1", []string{"2001:db8:0:1::1"}, []string{"2001:db8:0:2::2"}, true},
		{"IPv6, two customers", "10.0.0.1:1", []string{"2001:db8:0:100::1"}, []string{"2001:db8:0:200::1"}, false},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1", []string{"192.0.2.1"}, []string{"::ffff:192.0.2.1"}, true},
		{"no address", "pipe", nil, nil, true},
	} {
		r := newRig(t, "https://connect.example", func(c *callback.Config) {
			c.PerSecond, c.Burst, c.TrustedProxies = 1, 1, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		var last int
		for _, hops := range [][]string{tc.forwarded, tc.then} {
			req := r.request(http.MethodPost, "/c/"+link+"/start", "")
			req.RemoteAddr = tc.remote
			req.Header["X-Forwarded-For"] = hops
			last = r.do(req).StatusCode
		}
		if shared := last == http.StatusTooManyRequests; shared != tc.shared {
			t.Errorf("%s: the second request gets %d", tc.name, last)
		}
	}
}

func TestTheClassifierHearsOnlyHarmlessText(t *testing.T) {
	t.Parallel()
	var heardCode, heardText string
	r := newRig(t, "https://connect.example", func(c *callback.Config) {
		inner := c.Refusal
		c.Refusal = func(code, text string) *fault.Fault {
			heardCode, heardText = code, text
			return inner(code, text)
		}
	})
	r.come(r.press(), url.Values{
		"error": {"access\x00_denied\r\n\u202e"}, "error_description": {"AADSTS65004: \x1b[31mno\u202e " + strings.Repeat("z", 2000)},
	})
	if heardCode != "access_denied" || !strings.HasPrefix(heardText, "AADSTS65004: [31mno z") || len(heardText) != 512 {
		t.Errorf("heard %q and %q", heardCode, heardText)
	}
}
