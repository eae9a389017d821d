package callback_test

import (
	"net/http"
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

func TestAStandInsAnswersNameItsOwnIssuer(t *testing.T) {
	t.Parallel()
	const issuer = "https://login.example/realms/mail"
	for iss, want := range map[string]bool{
		"": true, "&iss=" + url.QueryEscape(issuer): true, "&iss=" + url.QueryEscape(issuer+"/"): false, "&iss=" + url.QueryEscape(origin+"/t/v2.0"): false,
	} {
		r := newRig(t, "https://connect.example", func(c *callback.Config) {
			app := testApp("https://connect.example", "main")
			app.Issuer, app.AdminConsentURL = issuer, nil
			c.Apps = map[string]callback.App{"main": app}
		})
		a := r.press()
		answer := r.get(callPath+"?code="+url.QueryEscape(code)+"&state="+a.state+iss, a.cookie)
		if taken := answer.StatusCode == http.StatusSeeOther; taken != want {
			t.Errorf("iss %q: status %d, want it taken: %v", iss, answer.StatusCode, want)
		}
	}
}
