package callback_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/callback"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

const tenant = "contoso.example"

// adminLink stands for seal.AdminLinks, in a form that is readable in tests.
func (r *rig) adminLink(app, tenant string, life time.Duration) string {
	return "~" + app + "~" + tenant + "~" + strconv.FormatInt(r.clock().Add(life).Unix(), 10)
}

func parseAdminLink(token string) (mailbox.AdminLink, bool) {
	parts := strings.Split(token, "~")
	if len(parts) != 4 || parts[0] != "" {
		return mailbox.AdminLink{}, false
	}
	at, err := strconv.ParseInt(parts[3], 10, 64)
	return mailbox.AdminLink{App: parts[1], Tenant: parts[2], Expires: time.Unix(at, 0)}, err == nil
}

func adminConsentURL(tenant string, state secret.Text) string {
	return origin + "/" + tenant + "/v2.0/adminconsent?" + url.Values{"state": {state.Reveal()}}.Encode()
}

// adminPress presses the button of a tenant's link.
func (r *rig) adminPress() attempt {
	r.t.Helper()
	answer := r.do(r.request(http.MethodPost, "/admin-consent/"+r.adminLink("main", tenant, time.Hour)+"/start", ""))
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) != 1 {
		r.t.Fatalf("start answers %d with %d cookies", answer.StatusCode, len(answer.Cookies()))
	}
	to, err := answer.Location()
	must(r.t, err)
	return attempt{state: to.Query().Get("state"), authorize: to, cookie: answer.Cookies()[0]}
}

func agreed() url.Values {
	return url.Values{"admin_consent": {"True"}, "tenant": {"8eaef023-2b34-4da1-9baa-8bc8c9d6a490"}, "scope": {"Mail.Send"}}
}

func (r *rig) admin() mailbox.AdminConsent { return r.admins.get(mailbox.TenantKey("main", tenant)) }

// adminUntouched asserts that a request changed nothing that lasts, and that its answer echoes nothing.
func (r *rig) adminUntouched(name string, before mailbox.AdminConsent, text string) {
	r.t.Helper()
	if diff := cmp.Diff(before, r.admin()); diff != "" {
		r.t.Errorf("%s: what is known of the admin: %s", name, diff)
	}
	r.untouched(name, r.claims.get(mailboxID), 0, text)
}

func TestAnAdminsLinkAsksAndHasNoEffect(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	for _, suffix := range []string{"", "?next=https://evil.example&tenant=evil&scope=Directory.ReadWrite.All&state=fixed&lang=<script>", "."} {
		answer := r.get("/admin-consent/" + r.adminLink("main", tenant, time.Hour) + suffix)
		text := bodyOf(t, answer)
		if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 0 {
			t.Errorf("%q: %d", suffix, answer.StatusCode)
		}
		r.adminUntouched(suffix, mailbox.AdminConsent{}, text)
		for _, want := range []string{
			"Contoso Marketing", "Mail Connector", "it@contoso.example", "login.microsoftonline.com", tenant, "whole organisation", "only an administrator",
			"Send mail from a mailbox that its owner connects", "Read, move and delete mail in a mailbox that its owner connects", "entra.microsoft.com", "2 March 2026",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q: the page lacks %q", suffix, want)
			}
		}
		if strings.Contains(text, "evil") || foreign.MatchString(text) {
			t.Errorf("%q: the page repeats a parameter, or loads something:\n%s", suffix, text)
		}
	}
}

func TestAnAdminsLinkThatDoesNotOpenStartsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"forged":                {strings.Repeat("A", 60), 404},
		"an owner's":            {link, 404},
		"of an unknown app":     {r.adminLink("nobody", tenant, time.Hour), 404},
		"of no directory":       {r.adminLink("main", "organizations", time.Hour), 404},
		"of a path":             {r.adminLink("main", "..%2fx", time.Hour), 404},
		"expired 61 s ago":      {r.adminLink("main", tenant, -61*time.Second), 410},
		"expired 59 s ago":      {r.adminLink("main", tenant, -59*time.Second), 200},
		"in other letters":      {strings.ToUpper(r.adminLink("main", tenant, time.Hour)), 404},
		"with something behind": {r.adminLink("main", tenant, time.Hour) + "%0A", 404},
	} {
		if got := r.get("/admin-consent/" + c.token).StatusCode; got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		want := c.want
		if want == 200 {
			want = 303
		}
		answer := r.do(r.request(http.MethodPost, "/admin-consent/"+c.token+"/start", ""))
		if answer.StatusCode != want || (len(answer.Cookies()) == 1) != (want == 303) {
			t.Errorf("%s: start answers %d with %d cookies, want %d", name, answer.StatusCode, len(answer.Cookies()), want)
		}
	}
}

func TestTheAdminsButtonIsPressedOnOurPageAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	path := "/admin-consent/" + r.adminLink("main", tenant, time.Hour) + "/start"
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"cross-site":    {func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"sibling":       {func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"other origin":  {func(q *http.Request) { q.Header.Set("Origin", "https://evil.example") }, 403},
		"null origin":   {func(q *http.Request) { q.Header.Set("Origin", "null") }, 403},
		"GET":           {func(q *http.Request) { q.Method = http.MethodGet }, 405},
		"foreign host":  {func(q *http.Request) { q.Host = "evil.example" }, 421},
		"our own":       {func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "same-origin") }, 303},
		"forwarded lie": {func(q *http.Request) { q.Header.Set("X-Forwarded-Host", "evil.example") }, 303},
	} {
		req := r.request(http.MethodPost, path, "")
		c.change(req)
		if answer := r.do(req); answer.StatusCode != c.want || (len(answer.Cookies()) > 0) != (c.want == 303) {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, c.want)
		}
	}
	body := r.request(http.MethodPost, path, "tenant=evil&app=other&_method=DELETE")
	if answer := r.do(body); answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), origin+"/"+tenant+"/") {
		t.Errorf("with fields: %d to %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	if len(r.admins.facts) != 0 {
		t.Error("a start has stored something")
	}
}

func TestAnAdminsConsentIsWrittenDownOnce(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://connect.example", "http://localhost:8080"} {
		r := newRig(t, base)
		a := r.adminPress()
		if secure := strings.HasPrefix(base, "https"); a.cookie.Secure != secure || strings.HasPrefix(a.cookie.Name, "__Host-g-") != secure ||
			!a.cookie.HttpOnly || a.cookie.SameSite != http.SameSiteLaxMode || a.cookie.MaxAge != 900 || a.cookie.Path != "/" {
			t.Errorf("cookie %+v", a.cookie)
		}
		want := mailbox.AdminConsent{
			App: "main", Tenant: tenant, GrantedAt: r.clock(), StateHash: mailbox.Hash(a.state), Outcome: mailbox.AdminGranted,
		}
		r.pass(time.Second)
		want.GrantedAt = r.clock()
		for i := range 3 { // an answer, its reload, and the back button
			answer := r.come(a, agreed())
			if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/admin-done/") {
				t.Fatalf("answer %d: %d to %q", i, answer.StatusCode, answer.Header.Get("Location"))
			}
			if diff := cmp.Diff(want, r.admin()); diff != "" || r.admins.revisions[mailbox.TenantKey("main", tenant)] != 1 {
				t.Errorf("after answer %d (-want +got):\n%s", i, diff)
			}
			done := r.get(answer.Header.Get("Location"))
			if text := bodyOf(t, done); done.StatusCode != http.StatusOK || !strings.Contains(text, "Microsoft says that you agreed for "+tenant) || strings.Contains(text, "8eaef023") {
				t.Errorf("%d:\n%s", done.StatusCode, text)
			}
			r.pass(10 * time.Second)
		}
		if n := len(r.publisher.list()); n != 0 {
			t.Errorf("%d events", n)
		}
	}
}

func TestAnAdminsRefusalHasOneReasonOfAClosedSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ failure, reason, title string }{
		{"access_denied", mailbox.Declined, "You did not agree"},
		{"consent_required", mailbox.Declined, "You did not agree"},
		{"interaction_required", mailbox.NotAdmin, "An administrator has to do this"},
		{"server_error", mailbox.SignInFailed, "Signing in did not work"},
		{"invalid_scope", mailbox.SignInFailed, "Signing in did not work"},
		{"foo", mailbox.SignInFailed, "Signing in did not work"},
		{"<script>" + echoCanary, mailbox.SignInFailed, "Signing in did not work"},
		{strings.Repeat("x", 3000), mailbox.SignInFailed, "Signing in did not work"},
	} {
		r := newRig(t, "https://connect.example")
		a := r.adminPress()
		// Microsoft says admin_consent=True with an error, too: it names the question, not the answer.
		answer := r.come(a, url.Values{
			"error": {c.failure}, "error_description": {"AADSTS65004: " + echoCanary + "\x1b[31m\u202e<script>"}, "error_uri": {"javascript:alert(1)"},
			"admin_consent": {"True"}, "tenant": {"8eaef023-2b34-4da1-9baa-8bc8c9d6a490"},
		})
		if answer.StatusCode != http.StatusSeeOther {
			t.Fatalf("%.20s: %d", c.failure, answer.StatusCode)
		}
		got := r.admin()
		if got.Reason != c.reason || got.Outcome != mailbox.AdminRefused || got.RefusedAt.IsZero() || !got.GrantedAt.IsZero() {
			t.Errorf("%.20s: %+v", c.failure, got)
		}
		text := bodyOf(t, r.get(answer.Header.Get("Location")))
		if !strings.Contains(text, c.title) || !strings.Contains(text, `href="/admin-consent/`) {
			t.Errorf("%.20s:\n%s", c.failure, text)
		}
		r.adminUntouched(c.failure[:3], got, text)
		if alarm := strings.Contains(r.log(), `"level":"ERROR"`); alarm != (c.failure == "invalid_scope") {
			t.Errorf("%.20s: alarm %v", c.failure, alarm)
		}
	}
}

func TestAnAdminsAnswerCountsOnlyInTheBrowserThatAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		forge func(r *rig, a, b attempt) (path, state string, cookies []*http.Cookie)
		want  int
	}{
		{"no cookie", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) { return callPath, a.state, nil }, 403},
		{"cookie of another attempt", func(_ *rig, a, b attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{b.cookie}
		}, 403},
		{"cookie of another attempt under this one's name", func(_ *rig, a, b attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: b.cookie.Value}}
		}, 403},
		{"one character changed", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			changed := []byte(a.cookie.Value)
			changed[40] ^= 1
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: string(changed)}}
		}, 403},
		{"sealed with another key", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: a.cookie.Name, Value: newRig(r.t, r.base).adminPress().cookie.Value}}
		}, 403},
		{"an owner's cookie under the admin's name", func(r *rig, _, _ attempt) (string, string, []*http.Cookie) {
			owner := r.press()
			return callPath, owner.state, []*http.Cookie{{Name: strings.Replace(owner.cookie.Name, "-a-", "-g-", 1), Value: owner.cookie.Value}}
		}, 403},
		{"an admin's cookie under the owner's name", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: strings.Replace(a.cookie.Name, "-g-", "-a-", 1), Value: a.cookie.Value}}
		}, 403},
		{"name without its prefix", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state, []*http.Cookie{{Name: strings.TrimPrefix(a.cookie.Name, "__Host-"), Value: a.cookie.Value}}
		}, 403},
		{"cookie of 16 minutes", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			r.pass(16 * time.Minute)
			return callPath, a.state, []*http.Cookie{a.cookie}
		}, 403},
		{"cookie from the future", func(r *rig, a, _ attempt) (string, string, []*http.Cookie) {
			r.pass(-61 * time.Second)
			return callPath, a.state, []*http.Cookie{a.cookie}
		}, 403},
		{"another app's callback", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return "/oauth-callback/other", a.state, []*http.Cookie{a.cookie}
		}, 403},
		{"an app that is not", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return "/oauth-callback/nobody", a.state, []*http.Cookie{a.cookie}
		}, 404},
		{"foreign issuer", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, a.state + "&iss=https://evil.example/t/v2.0", []*http.Cookie{a.cookie}
		}, 403},
		{"a state that was never issued", func(_ *rig, a, _ attempt) (string, string, []*http.Cookie) {
			return callPath, strings.Repeat("A", 43), []*http.Cookie{a.cookie}
		}, 403},
	} {
		for _, answerWith := range []string{"admin_consent=True&tenant=x", "error=access_denied&admin_consent=True"} {
			r := newRig(t, "https://connect.example")
			a, b := r.adminPress(), r.adminPress()
			path, state, cookies := c.forge(r, a, b)
			answer := r.get(path+"?"+answerWith+"&state="+state, cookies...)
			if answer.StatusCode != c.want || answer.Header.Get("Location") != "" {
				t.Errorf("%s: %d, want %d", c.name, answer.StatusCode, c.want)
			}
			r.adminUntouched(c.name, mailbox.AdminConsent{}, bodyOf(t, answer))
		}
	}
}

func TestAMalformedAnswerAboutAnAdminTouchesNothing(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"nothing but the state":  "state=S",
		"admin_consent twice":    "state=S&admin_consent=True&admin_consent=True",
		"state twice":            "state=S&state=S&admin_consent=True",
		"tenant twice":           "state=S&admin_consent=True&tenant=a&tenant=b",
		"error twice":            "state=S&error=access_denied&error=access_denied",
		"no consent":             "state=S&admin_consent=False",
		"an empty consent":       "state=S&admin_consent=",
		"another word":           "state=S&admin_consent=yes",
		"capital name":           "state=S&Admin_Consent=True",
		"list name":              "state=S&admin_consent[]=True",
		"a code beside it":       "state=S&admin_consent=True&code=" + echoCanary,
		"a code alone":           "state=S&code=" + echoCanary,
		"an empty code":          "state=S&admin_consent=True&code=",
		"a code and an error":    "state=S&error=access_denied&code=" + echoCanary,
		"a state that is longer": "state=SA&admin_consent=True",
		"a bad escape":           "state=S&admin_consent=True&x=%zz",
		"a semicolon":            "state=S;admin_consent=True",
	} {
		r := newRig(t, "https://connect.example")
		a := r.adminPress()
		answer := r.get(callPath+"?"+strings.ReplaceAll(raw, "state=S", "state="+a.state), a.cookie)
		if answer.StatusCode != http.StatusBadRequest || len(answer.Cookies()) != 0 {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
		r.adminUntouched(name, mailbox.AdminConsent{}, bodyOf(t, answer))
		if answer := r.come(a, agreed()); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: afterwards the right answer gets %d", name, answer.StatusCode)
		}
	}
	r := newRig(t, "https://connect.example")
	a := r.adminPress()
	posted := r.do(r.request(http.MethodPost, callPath, "admin_consent=True&state="+a.state, a.cookie))
	if posted.StatusCode != http.StatusBadRequest {
		t.Errorf("an answer by a form gets %d", posted.StatusCode)
	}
	r.adminUntouched("a form", mailbox.AdminConsent{}, bodyOf(t, posted))
}

func TestAnOwnersAnswerCannotSpeakForAnAdmin(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	owner := r.press()
	before := r.claims.get(mailboxID)
	answer := r.come(owner, agreed())
	if answer.StatusCode != http.StatusBadRequest || len(r.admins.facts) != 0 {
		t.Errorf("%d, %d facts", answer.StatusCode, len(r.admins.facts))
	}
	r.untouched("admin_consent in an owner's answer", before, 0, bodyOf(t, answer))
	if answer := r.come(owner, url.Values{"code": {code}, "admin_consent": {"True"}}); answer.StatusCode != http.StatusSeeOther || len(r.admins.facts) != 0 {
		t.Errorf("a code beside it: %d, %d facts", answer.StatusCode, len(r.admins.facts))
	}
}

func TestASecondAnswerOfAnotherKindIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.adminPress()
	r.come(a, agreed())
	before := r.admin()
	answer := r.come(a, url.Values{"error": {"access_denied"}})
	if answer.StatusCode != http.StatusConflict {
		t.Errorf("%d", answer.StatusCode)
	}
	r.adminUntouched("another answer", before, bodyOf(t, answer))
	if later := r.come(r.adminPress(), url.Values{"error": {"access_denied"}}); later.StatusCode != http.StatusSeeOther {
		t.Errorf("another attempt: %d", later.StatusCode)
	}
	if got := r.admin(); !got.GrantedAt.Equal(before.GrantedAt) || got.Reason != mailbox.Declined {
		t.Errorf("somebody else's refusal has taken the consent back: %+v", got)
	}
}

func TestAnAdminsAnswerThatCannotBeStoredMayComeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.adminPress()
	r.admins.down = true
	answer := r.come(a, agreed())
	if text := bodyOf(t, answer); answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || !strings.Contains(text, "/admin-consent/") {
		t.Errorf("%d:\n%s", answer.StatusCode, text)
	}
	r.admins.down, r.admins.conflicts = false, 3
	if answer := r.come(a, agreed()); answer.StatusCode != http.StatusSeeOther || r.admin().GrantedAt.IsZero() {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestTheAdminsPagesHaveTheirHeadersAndTheirLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	path := "/admin-consent/" + r.adminLink("main", tenant, time.Hour)
	answered := r.come(r.adminPress(), agreed())
	done := answered.Header.Get("Location")
	for name, answer := range map[string]*http.Response{
		"landing": r.get(path), "start": r.do(r.request(http.MethodPost, path+"/start", "")), "callback": answered, "done": r.get(done),
		"no link": r.get("/admin-consent/x"), "forged receipt": r.get("/admin-done/x"), "method": r.do(r.request(http.MethodDelete, path, "")),
	} {
		referrer := "no-referrer"
		if name == "landing" || name == "no link" || name == "method" {
			referrer = "same-origin"
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' " + origin + "; base-uri 'none'; frame-ancestors 'none'",
			"Referrer-Policy":         referrer, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"X-Robots-Tag": "noindex, nofollow", "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
		} {
			if got := answer.Header.Get(header); got != want {
				t.Errorf("%s: %s: %q", name, header, got)
			}
		}
	}
	r.pass(25 * time.Hour)
	if got := r.get(done).StatusCode; got != http.StatusGone {
		t.Errorf("a day later the receipt gets %d", got)
	}
	slow := newRig(t, "https://connect.example", func(c *callback.Config) { c.PerSecond, c.Burst = 0.001, 1 })
	slow.adminPress()
	if got := slow.do(slow.request(http.MethodPost, path+"/start", "")).StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("the second start gets %d", got)
	}
}
