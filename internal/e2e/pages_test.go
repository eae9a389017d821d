//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"kindling/internal/callback"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
)

// smallPhone is the narrowest phone that pages have to fit on.
const smallPhone = 360

// pagedEdge is the real edge over HTTP, with facts in memory, so that every page can be had at will.
type pagedEdge struct {
	t             *testing.T
	base, done    string // done: path of a page that follows one mailbox
	link, admin   string // tokens of an owner's link and of an admin's
	id            mailbox.ID
	now           time.Time
	invitations   *consoletest.Bucket[mailbox.Invitation]
	claims        *consoletest.Bucket[mailbox.Claim]
	grants        *consoletest.Bucket[mailbox.Grant]
	registrations *consoletest.Bucket[mailbox.Registration]
}

type stored struct{}

func (stored) Publish(context.Context, events.Event) error { return nil }

// startPages serves an edge whose names and permissions are as long as they may be.
func startPages(t *testing.T, wrap func(http.Handler) http.Handler) *pagedEdge {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := seal.Generate(keys); err != nil {
		t.Fatal(err)
	}
	codes, err := seal.OpenCodesPublic(keys)
	if err != nil {
		t.Fatal(err)
	}
	cookies, err := seal.OpenCookies(keys)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := seal.OpenIDs(keys)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	e := &pagedEdge{
		t: t, base: "http://" + server.Listener.Addr().String(), now: time.Now(), id: ids.Mailbox("main", longAddress),
		invitations: consoletest.NewBucket[mailbox.Invitation](), claims: consoletest.NewBucket[mailbox.Claim](),
		grants: consoletest.NewBucket[mailbox.Grant](), registrations: consoletest.NewBucket[mailbox.Registration](),
	}
	e.link = ids.Link(e.id, 1)
	people, err := seal.OpenPeople(keys)
	if err != nil {
		t.Fatal(err)
	}
	admins := seal.NewAdminLinks(people)
	e.admin, err = admins.Token(mailbox.AdminLink{App: "main", Tenant: strings.Split(longAddress, "@")[1], Expires: e.now.Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	e.invite(nil)
	handler, err := callback.New(callback.Config{
		PublicURL: e.base, Apps: map[string]callback.App{"main": longApp(e.base)}, Invitations: e.invitations, Claims: e.claims, Grants: e.grants,
		Registrations: e.registrations, Publisher: stored{}, Codes: codes, Cookies: cookies, ParseLink: seal.ParseLink, PerSecond: 1e6, Burst: 1e6,
		AdminConsents: consoletest.NewBucket[mailbox.AdminConsent](), ParseAdminLink: admins.Parse,
		Refusal: func(string, string) *fault.Fault {
			return &fault.Fault{Class: fault.NeedsConsent, Code: "x", Reason: mailbox.Declined, Forecast: fault.ByPerson}
		},
		Now: func() time.Time { return e.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		handler = wrap(handler)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	e.done = e.consent()
	return e
}

const longAddress = "a.rather.long-local.part.that.nobody.would.type@a-department-with-a-long-name.subsidiary.contoso-international.example"

func longApp(base string) callback.App {
	return callback.App{
		AuthorizeURL: func(p callback.AuthorizeParams) string {
			return "https://login.example/authorize?state=" + url.QueryEscape(p.State.Reveal())
		},
		AdminConsentURL: func(string, secret.Text) string { return "https://login.example/adminconsent" },
		Tenant:          "organizations", RedirectURI: base + "/oauth-callback/main", LoginOrigin: "https://login.partner.microsoftonline-with-a-long-name.example",
		Name: "Contoso International Mailbox Connector (Production)", Operator: "Contoso International Holdings Marketing Operations GmbH & Co. KG",
		Contact: "the-people-who-know-about-mailboxes@contoso-international-holdings.example",
		Scopes:  []string{"Mail.Send", "Mail.ReadWrite", "User.Read", "offline_access", "A.Permission.Without.Words.Whose.Name.Has.No.End.At.All.ReadWrite"},
	}
}

func (e *pagedEdge) invite(change func(*mailbox.Invitation)) {
	i := mailbox.Invitation{
		ID: e.id, Campaign: "spring", App: "main", Account: "main", Address: longAddress, LinkGeneration: 1, LinkHash: mailbox.Hash(e.link),
		InvitedAt: e.now.Add(-time.Hour), LinkExpiresAt: e.now.Add(7 * 24 * time.Hour),
	}
	if change != nil {
		change(&i)
	}
	e.invitations.Put(e.id, i)
}

// consent walks one owner through, and returns the path of the page that thanks.
func (e *pagedEdge) consent() string {
	e.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	send := func(method, target string, cookies []*http.Cookie) *http.Response {
		req, err := http.NewRequestWithContext(e.t.Context(), method, target, http.NoBody)
		if err != nil {
			e.t.Fatal(err)
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := client.Do(req)
		if err != nil {
			e.t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	began := send(http.MethodPost, e.base+"/c/"+e.link+"/start", nil)
	to, err := began.Location()
	if err != nil {
		e.t.Fatalf("start: %d, %v", began.StatusCode, err)
	}
	thanked := send(http.MethodGet, e.base+"/oauth-callback/main?code=a&state="+to.Query().Get("state"), began.Cookies())
	done, err := thanked.Location()
	if err != nil {
		e.t.Fatalf("callback: %d, %v", thanked.StatusCode, err)
	}
	return done.Path
}

// grant has token-worker say something about the consent.
func (e *pagedEdge) grant(phase mailbox.GrantPhase, reason, code string) func() {
	return func() {
		claim, _, _ := e.claims.Load(e.t.Context(), e.id)
		a := claim.Attempts[0]
		e.grants.Put(e.id, mailbox.Grant{
			Phase: phase, Reason: reason, Attempt: a.ID, CodeAt: a.AnsweredAt, Since: a.AnsweredAt, Finding: &mailbox.Finding{Code: code}, Stage: "code",
		})
	}
}

func (e *pagedEdge) registration(phase mailbox.RegistrationPhase) func() {
	return func() {
		e.grant(mailbox.GrantSaved, "", "")()
		claim, _, _ := e.claims.Load(e.t.Context(), e.id)
		e.registrations.Put(e.id, mailbox.Registration{Phase: phase, Attempt: claim.Attempts[0].ID, Since: e.now})
	}
}

// shown is one page: what leads to it, and what its heading says.
type shown struct {
	name   string
	before func()
	path   string
	says   string
}

func (e *pagedEdge) everyPage() []shown {
	link := "/c/" + e.link
	invited := func(change func(*mailbox.Invitation)) func() { return func() { e.invite(change) } }
	down := func(down bool) func() { return func() { e.registrations.SetDown(down) } }
	return []shown{
		{"landing", nil, link, "Connect your mailbox"},
		{"admin landing", nil, "/admin-consent/" + e.admin, "Allow your people to connect"},
		{"not found", nil, "/c/x", "We do not know this link"},
		{"malformed", nil, "/oauth-callback/main?x=1", "This address is not complete"},
		{"other browser", nil, "/oauth-callback/main?code=a&state=" + strings.Repeat("A", 43), "Please start again in this browser"},
		{"wrong method", nil, link + "/start", "This cannot be opened so"},
		{"too long", nil, "/c/" + strings.Repeat("a", 9000), "This address is too long"},
		{"replaced", invited(func(i *mailbox.Invitation) { i.LinkHash = "new" }), link, "There is a newer link"},
		{"expired", invited(func(i *mailbox.Invitation) { i.LinkExpiresAt = i.InvitedAt }), link, "This link has expired"},
		{"erased", invited(func(i *mailbox.Invitation) { i.ErasedAt = i.InvitedAt }), link, "This invitation has ended"},
		{"code received", invited(nil), e.done, "Thank you"},
		{"registering", e.registration(mailbox.Posting), e.done, "Almost done"},
		{"connected", nil, link, "Already connected"},
		{"unclear", e.registration(mailbox.Uncertain), e.done, "We have your consent"},
		{"registered", e.registration(mailbox.Registered), e.done, "Your mailbox is connected"},
		{"mismatch", func() { e.registration("")(); e.grant(mailbox.GrantMismatch, "", handlers.CodeMismatch)() }, e.done, "That was another account"},
		{"alias", e.grant(mailbox.GrantMismatch, "", handlers.CodeAlias), e.done, "We have to check the address"},
		{"declined", e.grant(mailbox.GrantNeedsConsent, mailbox.Declined, ""), e.done, "You did not agree"},
		{"admin", e.grant(mailbox.GrantNeedsConsent, mailbox.AdminRequired, ""), e.done, "Your administrator has to agree first"},
		{"lost", e.grant(mailbox.GrantNeedsConsent, mailbox.ConsentLost, ""), e.done, "Please agree once more"},
		{"revoked", e.grant(mailbox.GrantNeedsConsent, mailbox.Revoked, ""), e.done, "Please agree once more"},
		{"sign-in failed", e.grant(mailbox.GrantNeedsConsent, mailbox.SignInFailed, ""), e.done, "Signing in did not work"},
		{"unavailable", down(true), e.done, "Please try again in a moment"},
		{"receipt expired", func() { down(false)(); e.now = e.now.Add(25 * time.Hour) }, e.done, "This page has expired"},
	}
}

// unreadable finds every text that stands out too little from what lies behind it (WCAG 2.2, 1.4.3), and every button too
// low for a thumb (2.5.8 wants 24 pixels; these are what the page is there for).
const unreadable = `(() => {
  const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
  const numbers = c => (c.match(/[\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = numbers(c); return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; const n = numbers(c); if (n.length < 4 || n[3] > 0) return c; } return "rgb(255,255,255)"; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest(".hidden")) continue;
    const a = light(getComputedStyle(e).color), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(e.tagName + " " + e.textContent.trim().slice(0, 30) + ": " + ratio.toFixed(2));
  }
  for (const e of document.querySelectorAll(".button")) if (e.getBoundingClientRect().height < 44) found.push("low button " + e.textContent);
  for (const e of document.querySelectorAll("svg")) if (e.getBoundingClientRect().width > 60) found.push("large sign");
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push("wider than the screen: " + document.documentElement.scrollWidth);
  if (document.scripts.length) found.push("a script");
  if (document.title !== document.querySelector("h1").textContent) found.push("title " + document.title);
  if (!document.documentElement.lang) found.push("no language");
  return found.join("\n");
})()`

func colours(scheme string) step {
	return call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// TestChromiumShowsEveryPageOfTheEdge looks at every page as an owner with a small phone does, in both colour schemes, and
// once without the style sheet. With -artifacts the pictures are kept.
func TestChromiumShowsEveryPageOfTheEdge(t *testing.T) {
	browser := startChromium(t)
	t.Run("a page that cannot be read would be noticed", func(t *testing.T) { seesUnreadable(t, browser) })
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) { startPages(t, nil).look(t, browser, scheme) })
	}
	t.Run("without the style sheet", func(t *testing.T) {
		startPages(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/static/style.css" {
					w.Header().Set("Content-Type", "text/css")
					return
				}
				next.ServeHTTP(w, r)
			})
		}).lookUnstyled(t, browser)
	})
}

func (e *pagedEdge) look(t *testing.T, browser chromium, scheme string) {
	t.Helper()
	b := browser.openTab(t, "")
	b.do(t, "take a small phone", chromedp.EmulateViewport(smallPhone, 740, chromedp.EmulateMobile, chromedp.EmulateTouch), colours(scheme))
	for i, p := range e.everyPage() {
		if p.before != nil {
			p.before()
		}
		b.do(t, p.name, chromedp.Navigate(e.base+p.path), chromedp.WaitVisible("main.card"))
		if h1 := b.text(t, "h1"); h1 != p.says {
			t.Errorf("%s is headed %q", p.name, h1)
		}
		if found := ask(t, b, "read "+p.name, chromedp.Evaluate[string](unreadable)); found != "" {
			t.Errorf("%s, %s: %s", p.name, scheme, found)
		}
		b.picture(t, fmt.Sprintf("%02d-%s.png", i, strings.ReplaceAll(p.name, " ", "-")))
	}
	b.honest(t)
}

// honest fails on complaints of the browser other than about the status of the pages that say no.
func (b *tab) honest(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(b.heard()) {
		if !strings.Contains(line, "Failed to load resource: the server responded with a status of") {
			t.Errorf("the browser complained: %s", line)
		}
	}
}

// lookUnstyled wants every page to be whole without its style sheet, the button of the first one included.
func (e *pagedEdge) lookUnstyled(t *testing.T, browser chromium) {
	t.Helper()
	b := browser.openTab(t, "")
	b.do(t, "take a small phone", chromedp.EmulateViewport(smallPhone, 740, chromedp.EmulateMobile), withoutScripts())
	b.do(t, "open the link", chromedp.Navigate(e.base+"/c/"+e.link), chromedp.WaitVisible("form button"))
	if width := ask(t, b, "measure the sign", chromedp.Evaluate[float64](`document.querySelector("svg").getBoundingClientRect().width`)); width > 60 {
		t.Errorf("without its style the sign is %v pixels wide", width)
	}
	b.do(t, "see the way on", chromedp.Navigate(e.base+e.done), chromedp.WaitVisible("ol li"))
	b.honest(t)
}

// seesUnreadable shows a page with one of each flaw: a look that finds nothing proves nothing.
func seesUnreadable(t *testing.T, browser chromium) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>bad</title><meta name=viewport content="width=device-width"><body style="background:#888"><h1>worse</h1>` +
			`<p style="color:#999">faint</p><a class=button>low</a><svg width=200 height=9></svg><script>1</script><div style="width:500px">wide</div>`))
	}))
	defer server.Close()
	b := browser.openTab(t, "")
	b.do(t, "open the bad page", chromedp.EmulateViewport(smallPhone, 740, chromedp.EmulateMobile), chromedp.Navigate(server.URL))
	found := ask(t, b, "read the bad page", chromedp.Evaluate[string](unreadable))
	for _, want := range []string{"P faint", "low button", "large sign", "wider than the screen", "a script", "title bad", "no language"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q was not noticed: %s", want, found)
		}
	}
}
