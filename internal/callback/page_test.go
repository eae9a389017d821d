package callback_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"kindling/internal/callback"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

var foreign = regexp.MustCompile(`(?i)(src|href|action|url)\s*[=(]\s*["']?(https?:|//)|<script|\sstyle=|\son[a-z]+=|javascript:`)

func TestNoPageLoadsOrRunsAnythingForeign(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	done := r.come(r.press(), withCode(code)).Header.Get("Location")
	for _, path := range []string{"/c/" + link, done, "/c/x", callPath + "?x", "/static/style.css"} {
		answer := r.get(path)
		text := bodyOf(t, answer)
		if found := foreign.FindString(text); found != "" {
			t.Errorf("%s holds %q", path, found)
		}
		if kind := answer.Header.Get("Content-Type"); strings.HasPrefix(path, "/static/") != (kind == "text/css; charset=utf-8") {
			t.Errorf("%s is %s", path, kind)
		}
	}
}

func TestTheLandingPageSaysWhatAnOwnerMustKnow(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	text := bodyOf(t, r.get("/c/"+link))
	for _, want := range []string{
		"j•••@contoso.example", "Contoso Marketing", "Mail Connector", "it@contoso.example", "login.microsoftonline.com", "myapps.microsoft.com",
		"Send mail from this mailbox", "Read, move and delete mail in this mailbox", "Keep this access until you", "9 March 2026",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(text, "See your name and address"); n != 1 {
		t.Errorf("two scopes that say the same are told %d times", n)
	}
}

func TestTextsOfTheOperatorAreInert(t *testing.T) {
	t.Parallel()
	const hostile = `<script>alert(1)</script>"'{{.}}`
	r := newRig(t, "https://connect.example", func(c *callback.Config) {
		app := c.Apps["main"]
		app.Operator, app.Name, app.Contact, app.Scopes = hostile, hostile, hostile, []string{hostile}
		c.Apps["main"] = app
	})
	r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.Address = `<script>"@contoso.example` })
	if text := bodyOf(t, r.get("/c/"+link)); strings.Contains(text, "<script") || strings.Contains(text, `"'`) {
		t.Errorf("the page holds markup:\n%s", text)
	}
}

func TestTheDonePageShowsEveryState(t *testing.T) {
	t.Parallel()
	finding := &mailbox.Finding{Cause: "canary cause", Remedy: "canary remedy"}
	grant := func(phase mailbox.GrantPhase, reason string) func(r *rig) {
		return func(r *rig) {
			r.grants.set(mailboxID, func(g *mailbox.Grant) {
				a := r.claims.get(mailboxID).Attempts[0]
				*g = mailbox.Grant{Phase: phase, Reason: reason, Attempt: a.ID, CodeAt: a.AnsweredAt, Since: a.AnsweredAt, Finding: finding, Stage: "code"}
			})
		}
	}
	registration := func(phase mailbox.RegistrationPhase) func(r *rig) {
		return func(r *rig) {
			grant(mailbox.GrantSaved, "")(r)
			r.registrations.set(mailboxID, func(g *mailbox.Registration) {
				g.Phase, g.Attempt, g.Finding = phase, r.claims.get(mailboxID).Attempts[0].ID, finding
			})
		}
	}
	for _, tc := range []struct {
		name           string
		change         func(r *rig)
		shows          string
		refresh, again bool
	}{
		{"code received", func(*rig) {}, "Thank you", true, false},
		{"redeeming", grant(mailbox.GrantRedeeming, ""), "Thank you", true, false},
		{"granted", grant(mailbox.GrantSaved, ""), "Almost done", true, false},
		{"registering", registration(mailbox.Posting), "Almost done", true, false},
		{"unclear", registration(mailbox.Uncertain), "We have your consent", false, false},
		{"dead at the end", registration(mailbox.RegistrationDead), "We have your consent", false, false},
		{"dead at the start", grant(mailbox.GrantDead, ""), "We have your consent", false, false},
		{"registered", registration(mailbox.Registered), "Your mailbox is connected", false, false},
		{"registered, and revoked since", func(r *rig) {
			registration(mailbox.Registered)(r)
			grant(mailbox.GrantNeedsConsent, mailbox.Revoked)(r)
		}, "was taken back", false, true},
		{"registered, and in hand again", func(r *rig) {
			registration(mailbox.Registered)(r)
			grant(mailbox.GrantRedeeming, "")(r)
		}, "Thank you", true, false},
		{"mismatch", grant(mailbox.GrantMismatch, ""), "That was another account", false, true},
		{"alias", func(r *rig) {
			grant(mailbox.GrantMismatch, "")(r)
			r.grants.set(mailboxID, func(g *mailbox.Grant) { g.Finding = &mailbox.Finding{Code: handlers.CodeAlias, Cause: "canary"} })
		}, "We have to check the address", false, true},
		{"account accepted", func(r *rig) {
			grant(mailbox.GrantMismatch, "")(r)
			r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.Accepted = &mailbox.Acceptance{At: r.now.Add(time.Second)} })
		}, "choose the same account as before", false, true},
		{"sign-in failed", grant(mailbox.GrantNeedsConsent, mailbox.SignInFailed), "Signing in did not work", false, true},
		{"declined", grant(mailbox.GrantNeedsConsent, mailbox.Declined), "You did not agree", false, true},
		{"code expired", grant(mailbox.GrantNeedsConsent, mailbox.CodeExpired), "Please agree once more", false, true},
		{"consent lost", grant(mailbox.GrantNeedsConsent, mailbox.ConsentLost), "lost on our side", false, true},
		{"revoked", grant(mailbox.GrantNeedsConsent, mailbox.Revoked), "was taken back", false, true},
		{"admin", grant(mailbox.GrantNeedsConsent, mailbox.AdminRequired), "Your administrator has to agree", false, true},
		{"unknown reason", grant(mailbox.GrantNeedsConsent, "new"), "Signing in did not work", false, true},
		{"code expired unseen", func(r *rig) { r.pass(12 * time.Minute) }, "Please agree once more", false, true},
		{"erased", func(r *rig) {
			r.invitations.set(mailboxID, func(i *mailbox.Invitation) { *i = mailbox.Invitation{ID: i.ID, ErasedAt: i.InvitedAt} })
		}, "This invitation has ended", false, false},
		{"claim lost", func(r *rig) { r.claims.set(mailboxID, func(c *mailbox.Claim) { c.Attempts = nil }) }, "Not connected yet", false, true},
		{"declined, but the link is replaced", func(r *rig) {
			grant(mailbox.GrantNeedsConsent, mailbox.Declined)(r)
			r.invitations.set(mailboxID, func(i *mailbox.Invitation) { i.LinkHash = "new" })
		}, "You did not agree", false, false},
	} {
		r := newRig(t, "https://connect.example")
		path := r.come(r.press(), withCode(code)).Header.Get("Location")
		tc.change(r)
		before := r.claims.get(mailboxID)
		answer := r.get(path)
		text := bodyOf(t, answer)
		if answer.StatusCode != http.StatusOK || !strings.Contains(text, tc.shows) {
			t.Errorf("%s: %d\n%s", tc.name, answer.StatusCode, text)
		}
		if refresh := strings.Contains(text, `http-equiv="refresh"`); refresh != tc.refresh {
			t.Errorf("%s: refresh = %v", tc.name, refresh)
		}
		if again := strings.Contains(text, `href="/c/`+link+`"`); again != tc.again {
			t.Errorf("%s: again = %v", tc.name, again)
		}
		r.untouched(tc.name, before, 1, text)
	}
}

func TestTheDonePageLooksLessAndLessOften(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	path := r.come(r.press(), withCode(code)).Header.Get("Location")
	r.grants.set(mailboxID, func(g *mailbox.Grant) {
		g.Phase, g.Attempt = mailbox.GrantSaved, r.claims.get(mailboxID).Attempts[0].ID
	})
	for _, tc := range []struct {
		pass time.Duration
		want string
	}{{0, `content="2"`}, {time.Minute, `content="10"`}, {10 * time.Minute, `content="60"`}} {
		r.pass(tc.pass)
		if text := bodyOf(t, r.get(path)); !strings.Contains(text, `http-equiv="refresh" `+tc.want) {
			t.Errorf("after %s the page lacks %s", tc.pass, tc.want)
		}
	}
	r.pass(time.Hour)
	if text := bodyOf(t, r.get(path)); strings.Contains(text, "refresh") {
		t.Error("after an hour the page still loads itself")
	}
	r.pass(24 * time.Hour)
	if answer := r.get(path); answer.StatusCode != http.StatusGone {
		t.Errorf("after a day: %d", answer.StatusCode)
	}
}

func TestADoneAddressRevealsNothingAndCannotBeForged(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	path := r.come(a, withCode(code)).Header.Get("Location")
	if strings.Contains(path, mailboxID) || strings.Contains(path, link) || len(path) > 600 {
		t.Errorf("path %s", path)
	}
	changed := []byte(path)
	changed[len(changed)-20] ^= 1
	for name, forged := range map[string]string{
		"changed": string(changed), "cut": path[:len(path)-4], "empty": "/done/", "a cookie": "/done/" + a.cookie.Value, "a link": "/done/" + link,
		"huge": "/done/" + strings.Repeat("A", 2000), "of another edge": newRig(t, r.base).donePath(),
	} {
		if answer := r.get(forged); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
	if answer := r.do(r.request(http.MethodPost, path, "x=y")); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", answer.StatusCode)
	}
	r.registrations.down = true
	if answer := r.get(path); answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(bodyOf(t, answer), `http-equiv="refresh"`) {
		t.Errorf("without a store: %d, or the page does not look again", answer.StatusCode)
	}
}

func (r *rig) donePath() string {
	r.t.Helper()
	return r.come(r.press(), withCode(code)).Header.Get("Location")
}

func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	path := r.come(a, withCode(code)).Header.Get("Location")
	r.get(path)
	r.come(a, withCode("other-canary"))
	r.come(r.press(), url.Values{"error": {"canary"}, "error_description": {"canary"}})
	r.publisher.down = true
	r.come(r.press(), withCode(code))
	for _, secret := range []string{"canary", code, a.state, a.nonce, a.verifier, a.cookie.Value, link, address, path[len("/done/"):]} {
		if strings.Contains(r.log(), secret) {
			t.Errorf("%q is logged:\n%s", secret, r.log())
		}
	}
	if !strings.Contains(r.log(), mailboxID) || !strings.Contains(r.log(), "publish code: the store is down") {
		t.Errorf("the log does not tell what happened:\n%s", r.log())
	}
}

func TestTheReferenceOfAPageIsInTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	text := bodyOf(t, r.get(callPath+"?x=1"))
	found := regexp.MustCompile(`<code>([a-z2-7]{8})</code>`).FindStringSubmatch(text)
	if found == nil || !strings.Contains(r.log(), `"outcome":"malformed"`) || !strings.Contains(r.log(), found[1]) {
		t.Errorf("page %v, log %s", found, r.log())
	}
}
