package callback_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kindling/internal/callback"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func TestAnUnknownLinkIsNotFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	var first string
	for name, path := range map[string]string{
		"unknown mailbox":      "/c/" + strings.Repeat("b", 24) + link[24:],
		"truncated":            "/c/" + link[:43],
		"longer":               "/c/" + link + "A",
		"upper case":           "/c/" + strings.ToUpper(link),
		"two marks at the end": "/c/" + link + ".)",
		"line end inside":      "/c/" + link[:30] + "%0A" + link[30:],
		"line end at the end":  "/c/" + link[:43] + "%0A",
		"quoted-printable":     "/c/" + link[:20] + "=3D" + link[20:],
		"double-encoded":       "/c/" + strings.Replace(link, "-", "%252D", 1),
		"empty":                "/c/",
		"only a mark":          "/c/.",
		"4 KB":                 "/c/" + strings.Repeat("a", 4096),
		"escaped slash":        "/c/..%2f" + link,
		"NUL":                  "/c/" + link[:43] + "%00",
		"homoglyph":            "/c/" + "а" + link[1:],
		"deeper":               "/c/" + link + "/x",
		"start of no link":     "/c/x/start",
		"nothing":              "/",
		"health":               "/livez",
		"listing of files":     "/static/",
		"traversal":            "/static/..%2fcallback.go",
	} {
		answer := r.get(path)
		text := bodyOf(t, answer)
		want := http.StatusNotFound
		if name == "start of no link" {
			want = http.StatusMethodNotAllowed
		}
		if answer.StatusCode != want {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
		if want != http.StatusNotFound {
			continue
		}
		text = text[:strings.Index(text, "Reference")]
		if first == "" {
			first = text
		}
		if text != first {
			t.Errorf("%s: another page than the others:\n%s", name, text)
		}
	}
}

func TestALinkOpensWhateverIsHungOnIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	var first string
	for _, suffix := range []string{
		"", ".", ")", ">", "%3E", ",", "?next=https://evil.example", "?redirect_uri=https://evil.example", "?login_hint=victim-canary@x.example",
		"?prompt=none", "?scope=Directory.ReadWrite.All", "?tenant=evil", "?state=fixed", "?lang=%3Cscript%3E", "?utm_source=mail&utm_medium=x",
		"?%zz;a&a&a", "?link=other",
	} {
		answer := r.get("/c/" + link + suffix)
		text := bodyOf(t, answer)
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%q: %d", suffix, answer.StatusCode)
			continue
		}
		text = text[:strings.Index(text, "Reference")]
		if first == "" {
			first = text
		}
		if text != first {
			t.Errorf("%q changes the page", suffix)
		}
	}
	head := r.do(r.request(http.MethodHead, "/c/"+link, ""))
	prefetch := r.request(http.MethodGet, "/c/"+link, "")
	prefetch.Header.Set("Sec-Purpose", "prefetch")
	if fetched := r.do(prefetch); head.StatusCode != http.StatusOK || fetched.StatusCode != http.StatusOK {
		t.Errorf("HEAD %d, prefetch %d", head.StatusCode, fetched.StatusCode)
	}
	if len(r.claims.facts) != 0 {
		t.Error("an attempt was started")
	}
}

func TestParametersOfTheStartAreIgnored(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	body := url.Values{
		"login_hint": {"victim@x.example"}, "redirect_uri": {"https://evil.example"}, "_method": {"DELETE"}, "tenant": {"evil"}, "scope": {"x"},
		"state": {"fixed"}, "prompt": {"none"},
	}.Encode()
	req := r.request(http.MethodPost, "/c/"+link+"/start?"+body, body)
	req.Header.Set("X-Http-Method-Override", http.MethodDelete)
	answer := r.do(req)
	to, err := answer.Location()
	must(t, err)
	got := to.Query()
	if !strings.HasPrefix(to.String(), origin+"/organizations/") || got.Get("login_hint") != address || got.Get("prompt") != "select_account" ||
		len(got.Get("state")) != 43 || strings.Contains(to.String(), "evil") {
		t.Errorf("start leads to %s", to)
	}
}

func TestTheTenantOfTheInvitationWins(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.Tenant = "contoso.example" })
	if a := r.press(); !strings.HasPrefix(a.authorize.Path, "/contoso.example/") {
		t.Errorf("authorize at %s", a.authorize.Path)
	}
}

func TestALinkThatIsOverSaysWhy(t *testing.T) {
	t.Parallel()
	invitation := func(change func(*mailbox.Invitation)) func(r *rig) {
		return func(r *rig) { r.invitations.set(mailboxID, change) }
	}
	saved := func(r *rig) {
		r.grants.set(mailboxID, func(g *mailbox.Grant) { g.Phase, g.Attempt = mailbox.GrantSaved, "attempt" })
	}
	for _, tc := range []struct {
		name         string
		change       func(r *rig)
		shows        string
		landing, run int
	}{
		{"expired", func(r *rig) { r.pass(7*24*time.Hour + 61*time.Second) }, "This link has expired", 410, 410},
		{"expired within the leeway", func(r *rig) { r.pass(7*24*time.Hour + 59*time.Second) }, "Continue to Microsoft", 200, 303},
		{"superseded", invitation(func(i *mailbox.Invitation) { i.LinkGeneration, i.LinkHash = 2, mailbox.Hash("new") }), "There is a newer link", 410, 410},
		{"forged proof", invitation(func(i *mailbox.Invitation) { i.LinkHash = mailbox.Hash(link + "x") }), "There is a newer link", 410, 410},
		{"no hash", invitation(func(i *mailbox.Invitation) { i.LinkHash = "" }), "There is a newer link", 410, 410},
		{"erased", invitation(func(i *mailbox.Invitation) { *i = mailbox.Invitation{ID: i.ID, App: i.App, ErasedAt: i.InvitedAt} }), "This invitation has ended", 410, 410},
		{"connected", saved, "Already connected", 200, 410},
		{"connected and expired", func(r *rig) { saved(r); r.pass(30 * 24 * time.Hour) }, "Already connected", 200, 410},
		{"of an app that is no more", invitation(func(i *mailbox.Invitation) { i.App = "gone" }), "We do not know this link", 404, 404},
		{"invitations down", func(r *rig) { r.invitations.down = true }, "Please try again in a moment", 503, 503},
		{"grants down", func(r *rig) { r.grants.down = true }, "Please try again in a moment", 503, 503},
	} {
		r := newRig(t, "https://connect.example")
		tc.change(r)
		landing, start := r.get("/c/"+link), r.do(r.request(http.MethodPost, "/c/"+link+"/start", ""))
		text := bodyOf(t, landing)
		if landing.StatusCode != tc.landing || start.StatusCode != tc.run || !strings.Contains(text, tc.shows) {
			t.Errorf("%s: landing %d, start %d, shows\n%s", tc.name, landing.StatusCode, start.StatusCode, text)
		}
		if started := len(r.claims.get(mailboxID).Attempts) > 0; started != (tc.run == 303) {
			t.Errorf("%s: started = %v", tc.name, started)
		}
		if strings.Contains(text, address) || strings.Contains(r.log(), address) || strings.Contains(r.log(), link) {
			t.Errorf("%s: address or link is shown or logged", tc.name)
		}
	}
}

func TestTheLinkOpensAgainForAMailboxThatWarmyHasAndWhoseGrantDied(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	r.come(r.press(), withCode(code))
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		g.Phase, g.Reason, g.Attempt, g.Since = mailbox.GrantNeedsConsent, mailbox.Revoked, r.claims.get(mailboxID).Attempts[0].ID, r.clock()
	})
	r.registrations.set(mailboxID, func(reg *mailbox.Registration) { reg.Phase, reg.WarmyID = mailbox.Registered, "4711" })
	if answer := r.get("/c/" + link); answer.StatusCode != http.StatusOK || !strings.Contains(bodyOf(t, answer), "Continue to Microsoft") {
		t.Errorf("landing %d", answer.StatusCode)
	}
	if answer := r.come(r.press(), withCode("second")); answer.StatusCode != http.StatusSeeOther || len(r.publisher.list()) != 2 {
		t.Errorf("callback answers %d, %d events", answer.StatusCode, len(r.publisher.list()))
	}
	r.pass(8 * 24 * time.Hour)
	if answer := r.get("/c/" + link); !strings.Contains(bodyOf(t, answer), "This link has expired") {
		t.Error("a link that has expired opens")
	}
}

func TestANewerLinkOpensForAMailboxThatIsConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	r.come(a, withCode(code))
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		g.Phase, g.Attempt = mailbox.GrantSaved, r.claims.get(mailboxID).Attempts[0].ID
	})
	if answer := r.get("/c/" + link); !strings.Contains(bodyOf(t, answer), "Already connected") {
		t.Error("the link of the consent itself opens again")
	}
	newer := link[:43] + "Z"
	r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.LinkGeneration, i.LinkHash = 2, mailbox.Hash(newer) })
	if answer := r.get("/c/" + newer); !strings.Contains(bodyOf(t, answer), "Continue to Microsoft") {
		t.Error("the operator's new link does not open")
	}
}

func TestTheSameLinkOpensAgainWhenMicrosoftWithholdsTheTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	r.come(a, withCode(code))
	attempt := r.claims.get(mailboxID).Attempts[0].ID
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		g.Phase, g.Attempt, g.Tokens = mailbox.GrantSaved, attempt, &mailbox.Tokens{Attempt: attempt}
	})
	if answer := r.get("/c/" + link); !strings.Contains(bodyOf(t, answer), "Already connected") {
		t.Error("the link opens while the tokens are good")
	}
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		*g = g.Withhold(&fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50076", Reason: mailbox.SignInFailed}, time.Now())
	})
	if answer := r.get("/c/" + link); !strings.Contains(bodyOf(t, answer), "Continue to Microsoft") {
		t.Error("the owner cannot come again")
	}
}

func TestAStartThatIsNotOurButtonIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, method, body string
		header             map[string]string
		want               int
	}{
		{"other site", http.MethodPost, "", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"other site, old browser", http.MethodPost, "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"sibling", http.MethodPost, "", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://www.example"}, 403},
		{"null origin", http.MethodPost, "", map[string]string{"Origin": "null"}, 403},
		{"text", http.MethodPost, "x", map[string]string{"Content-Type": "text/plain"}, 415},
		{"JSON", http.MethodPost, "{}", map[string]string{"Content-Type": "application/json"}, 415},
		{"1 MB", http.MethodPost, strings.Repeat("a", 1<<20), nil, 413},
		{"GET", http.MethodGet, "", nil, 405},
		{"HEAD", http.MethodHead, "", nil, 405},
		{"PUT", http.MethodPut, "", nil, 405},
		{"our button", http.MethodPost, "", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://connect.example"}, 303},
		{"our button, null origin", http.MethodPost, "", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303},
		{"our button, old browser", http.MethodPost, "", map[string]string{"Origin": "https://connect.example"}, 303},
		{"a scanner", http.MethodPost, "a=b", nil, 303},
	} {
		r := newRig(t, "https://connect.example")
		req := r.request(tc.method, "/c/"+link+"/start", tc.body)
		for name, value := range tc.header {
			req.Header.Set(name, value)
		}
		answer := r.do(req)
		if answer.StatusCode != tc.want {
			t.Errorf("%s: %d instead of %d", tc.name, answer.StatusCode, tc.want)
		}
		if started := len(r.claims.get(mailboxID).Attempts) > 0; started != (tc.want == 303) || (len(answer.Cookies()) > 0) != started {
			t.Errorf("%s: started = %v", tc.name, started)
		}
	}
}

func TestTenAttemptsLiveAtOnceAndTheEleventhIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	first := r.press()
	for range 9 {
		r.press()
	}
	if answer := r.do(r.request(http.MethodPost, "/c/"+link+"/start", "")); answer.StatusCode != http.StatusTooManyRequests ||
		answer.Header.Get("Retry-After") == "" || len(answer.Cookies()) != 0 {
		t.Errorf("the eleventh gets %d", answer.StatusCode)
	}
	if answer := r.come(first, withCode(code)); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("the first attempt ends with %d", answer.StatusCode)
	}
	r.press()
}

func TestAStartWithoutRandomBytesOrStoreFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example", func(c *callback.Config) { c.Rand = strings.NewReader("too few") })
	down := newRig(t, "https://connect.example")
	down.claims.down = true
	for _, broken := range []*rig{r, down} {
		if answer := broken.do(broken.request(http.MethodPost, "/c/"+link+"/start", "")); answer.StatusCode != http.StatusServiceUnavailable || len(answer.Cookies()) != 0 {
			t.Errorf("start answers %d", answer.StatusCode)
		}
	}
}
