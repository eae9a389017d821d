package callback_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/callback"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// browser follows no redirects by itself, so that each step can be looked at.
func browser(t *testing.T, server *httptest.Server) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	client := server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

func fetch(t *testing.T, client *http.Client, method, target, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	must(t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := client.Do(req)
	must(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func TestAnOwnerConsentsFromLinkToThanks(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{callback.FormPost, callback.Query} {
		server := httptest.NewUnstartedServer(nil)
		base := "http://" + server.Listener.Addr().String()
		if mode == callback.FormPost {
			base = "https://" + server.Listener.Addr().String()
		}
		r := newRig(t, base)
		server.Config.Handler = r.edge
		if mode == callback.FormPost {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		client := browser(t, server)

		landing := fetch(t, client, http.MethodGet, base+"/c/"+link, "")
		text := bodyOf(t, landing)
		if landing.StatusCode != http.StatusOK || !strings.Contains(text, `action="/c/`+link+`/start"`) || strings.Contains(text, address) {
			t.Fatalf("%s: landing answers %d:\n%s", mode, landing.StatusCode, text)
		}
		start := fetch(t, client, http.MethodPost, base+"/c/"+link+"/start", "")
		to, err := start.Location()
		must(t, err)
		if got := to.Query(); got.Get("login_hint") != address || got.Get("prompt") != "select_account" || got.Get("response_mode") != mode {
			t.Fatalf("%s: authorize URL asks %v", mode, got)
		}
		back := url.Values{"state": {to.Query().Get("state")}, "code": {code}}
		var answer *http.Response
		if mode == callback.FormPost {
			answer = fetch(t, client, http.MethodPost, base+callPath, back.Encode())
		} else {
			answer = fetch(t, client, http.MethodGet, base+callPath+"?"+back.Encode(), "")
		}
		done, err := answer.Location()
		if err != nil || answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(done.Path, "/done/") || done.RawQuery != "" {
			t.Fatalf("%s: callback answers %d, %v\n%s", mode, answer.StatusCode, done, r.log())
		}
		checkEvent(t, r, to.Query())
		page := bodyOf(t, fetch(t, client, http.MethodGet, done.String(), ""))
		if !strings.Contains(page, "Thank you") || !strings.Contains(page, `http-equiv="refresh"`) || !strings.Contains(page, "j•••@contoso.example") {
			t.Errorf("%s: done shows\n%s", mode, page)
		}
		r.registrations.set(mailboxID, func(g *mailbox.Registration) { g.Phase = mailbox.Registered })
		page = bodyOf(t, fetch(t, client, http.MethodGet, done.String(), ""))
		if !strings.Contains(page, "Your mailbox is connected") || strings.Contains(page, `http-equiv="refresh"`) {
			t.Errorf("%s: done shows\n%s", mode, page)
		}
	}
}

// checkEvent looks at the one event that a consent must leave.
func checkEvent(t *testing.T, r *rig, authorize url.Values) {
	t.Helper()
	published := r.publisher.list()
	if len(published) != 1 {
		t.Fatalf("%d events were published", len(published))
	}
	got, now := published[0], r.clock()
	claim := r.claims.get(mailboxID)
	want := events.New(events.CodeReceived, mailboxID+"|"+claim.Attempts[0].ID+"|"+mailbox.Hash(code), now)
	want.Mailbox, want.App, want.Account, want.Campaign, want.Attempt = mailboxID, "main", "acme", "spring", claim.Attempts[0].ID
	want.Deadline, want.Sealed = now.Add(mailbox.CodeLife), got.Sealed
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event: %s", diff)
	}
	plain, err := r.codes.Open(got.Sealed, mailbox.SealedCodeContext(mailboxID, got.Attempt))
	must(t, err)
	consent, err := mailbox.ParseConsent(plain)
	must(t, err)
	if consent.Code.Reveal() != code || consent.Nonce.Reveal() != authorize.Get("nonce") || consent.Verifier.Reveal() != authorize.Get("verifier_for_the_test") ||
		consent.Tenant != "organizations" || consent.RedirectURI != r.base+callPath {
		t.Error("the sealed consent is not the one of the attempt")
	}
	if a := claim.Attempts[0]; a.CodeHash != mailbox.Hash(code) || !a.AnsweredAt.Equal(now) || a.Generation != 1 || a.ExpiresAt.Sub(a.StartedAt) != 15*time.Minute {
		t.Errorf("claim: %+v", a)
	}
}

func TestOpeningALinkHasNoEffect(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	for range 50 {
		if answer := r.get("/c/" + link); answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 0 {
			t.Fatalf("landing answers %d with %d cookies", answer.StatusCode, len(answer.Cookies()))
		}
	}
	if len(r.claims.facts) != 0 || len(r.publisher.list()) != 0 {
		t.Error("opening the link changed something")
	}
}

func TestTheCookieIsBoundToScheme(t *testing.T) {
	t.Parallel()
	secure, local := newRig(t, "https://connect.example").press().cookie, newRig(t, "http://127.0.0.1:8080").press().cookie
	query := newRig(t, "https://connect.example", func(c *callback.Config) { c.ResponseMode = callback.Query }).press().cookie
	if !strings.HasPrefix(secure.Name, "__Host-a-") || !secure.Secure || secure.SameSite != http.SameSiteNoneMode {
		t.Errorf("https, form post: %s", secure)
	}
	if !strings.HasPrefix(query.Name, "__Host-a-") || !query.Secure || query.SameSite != http.SameSiteLaxMode {
		t.Errorf("https, query: %s", query)
	}
	if !strings.HasPrefix(local.Name, "a-") || local.Secure || local.SameSite != http.SameSiteLaxMode {
		t.Errorf("loopback: %s", local)
	}
	for _, c := range []*http.Cookie{secure, query, local} {
		if !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.MaxAge != 900 || len(c.Value) > 1500 {
			t.Errorf("cookie %s", c)
		}
	}
}

func TestEveryAttemptHasSecretsOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a, b := r.press(), r.press()
	for _, s := range []string{a.state, a.nonce, a.verifier} {
		if len(s) != 43 {
			t.Errorf("%d characters are not 256 bits", len(s))
		}
	}
	if a.state == b.state || a.nonce == b.nonce || a.verifier == b.verifier || a.cookie.Name == b.cookie.Name || a.state == a.nonce || a.nonce == a.verifier {
		t.Error("secrets are shared")
	}
	claim := r.claims.get(mailboxID)
	if len(claim.Attempts) != 2 || claim.Attempts[0].StateHash != mailbox.Hash(a.state) || !events.IsToken(claim.Attempts[0].ID) {
		t.Errorf("claim: %+v", claim)
	}
}

func TestABodyOfTwoLengthsIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	r := newRig(t, "http://"+server.Listener.Addr().String())
	server.Config.Handler = r.edge
	server.Start()
	t.Cleanup(server.Close)
	a := r.press()
	body := withCode(code)
	body.Set("state", a.state)
	text := body.Encode()

	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nCookie: %s=%s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
		callPath, server.Listener.Addr(), a.cookie.Name, a.cookie.Value, len(text), len(text), text)
	must(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusBadRequest || len(r.publisher.list()) != 0 {
		t.Errorf("answered %d, published %d", answer.StatusCode, len(r.publisher.list()))
	}
}
