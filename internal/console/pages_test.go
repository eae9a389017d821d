package console_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// browser is a person at the pages.
type browser struct {
	w   *consoletest.World
	jar http.CookieJar
}

func newBrowser(t *testing.T, w *consoletest.World, role string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{w: w, jar: jar}
	if role != "" {
		a := b.send(t, "/login", url.Values{"token": {w.Tokens[role]}, "next": {"/dead"}})
		if a.status != http.StatusSeeOther || a.header.Get("Location") != "/dead" {
			t.Fatalf("login: %d to %q: %s", a.status, a.header.Get("Location"), a.body)
		}
	}
	return b
}

func (b *browser) open(t *testing.T, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.w.Server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.do(t, req)
}

func (b *browser) send(t *testing.T, path string, form url.Values) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.w.Server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(t, req)
}

func (b *browser) do(t *testing.T, req *http.Request) answer {
	t.Helper()
	for _, c := range b.jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
	a := do(t, b.w, req)
	b.jar.SetCookies(req.URL, (&http.Response{Header: a.header}).Cookies())
	return a
}

// populated is a world with something on every page.
func populated(t *testing.T) *consoletest.World {
	t.Helper()
	w := consoletest.New(t)
	deadMailboxes(t, w, 3)
	importCSV(t, w, "Second", "email,from_name\nann@b.example,<script>alert(1)</script>\nben@b.example,Ben\n")
	w.Claims.Put(w.Links.Mailbox("main", "ann@b.example"), mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "x", StartedAt: w.Now(), AnsweredAt: w.Now(), Refusal: mailbox.Declined}}})
	w.Registrations.Put(w.Links.Mailbox("main", "ben@b.example"), mailbox.Registration{Phase: mailbox.Registered, WarmyID: "<b>7</b>", Since: w.Now()})
	d := letter(events.Code, fault.Permanent, fault.Never, "nosuch")
	d.Cause = "<script>alert(2)</script>"
	w.Dead.Add(d)
	w.Eventually(t, "one is registered", func() bool {
		var s console.Status
		call(t, w, console.Viewer, "GET", "/api/v1/status", "").decode(t, &s)
		return s.Funnel.ByState[mailbox.StateRegistered] == 1 && s.Funnel.ByState[mailbox.StateNeedsConsent] == 1
	})
	call(t, w, console.Worker, "POST", "/api/v1/legs/hold", `{"name":"warmy/main","cause":"maintenance"}`)
	return w
}

func TestEveryPageIsWholeForEveryRoleAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	w := populated(t)
	var j console.Job
	bulk(t, w, console.Worker, "replay", `{"selection":{"ids":[1]},"confirm":1,"rate":1000}`).decode(t, &j)
	waitForJob(t, w, j.ID)
	campaign := "second-" + strings.SplitN(importCSV(t, w, "Second", "email\nben@b.example\n").Campaign, "-", 2)[1]
	for _, role := range console.Roles() {
		b := newBrowser(t, w, role)
		for _, path := range []string{
			"/", "/campaigns", "/campaigns/" + campaign, "/mailboxes", "/mailboxes?state=needs_consent,mismatch&campaign=" + campaign, "/mailboxes?reason=declined",
			"/mailboxes/" + w.Links.Mailbox("main", "ann@b.example"), "/mailboxes/" + w.Links.Mailbox("main", "owner1@a.example"), "/mailboxes/" + w.Links.Mailbox("main", "ben@b.example"),
			"/dead", "/dead?stage=register&forecast=by_time&class=&code=&campaign=", "/dead/2", "/dead/4", "/jobs", "/jobs/" + j.ID, "/legs",
		} {
			a := b.open(t, path)
			if a.status != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(a.body), "</html>") {
				t.Errorf("%s as %s: %d\n%.600s", path, role, a.status, a.body)
			}
			if containsAny(a.body, w.Tokens[role], "canary", "connect.example/c/", "<script>alert", "<b>7", "style=", "ZgotmplZ", "<no value>") {
				t.Errorf("%s as %s shows what it must not:\n%s", path, role, a.body)
			}
			if changes := strings.Contains(a.body, `action="/legs`) || strings.Contains(a.body, `action="/dead/preview"`) && strings.Contains(a.body, "Replay"); changes && role == console.Viewer {
				t.Errorf("%s offers a viewer what he may not do", path)
			}
		}
	}
}

func TestASessionBeginsWithATokenAndEndsWithLogout(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	b := newBrowser(t, w, "")
	if a := b.open(t, "/dead?stage=code"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login?next=%2Fdead%3Fstage%3Dcode" {
		t.Errorf("%d to %q", a.status, a.header.Get("Location"))
	}
	if a := b.send(t, "/login", url.Values{"token": {"kdl_wrong"}}); a.status != http.StatusUnauthorized || len(a.header.Values("Set-Cookie")) != 0 {
		t.Errorf("a wrong token got %d %v", a.status, a.header)
	}
	for _, next := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil"} {
		a := newBrowser(t, w, "").send(t, "/login", url.Values{"token": {w.Tokens[console.Viewer]}, "next": {next}})
		if a.header.Get("Location") != "/" {
			t.Errorf("%q leads to %q", next, a.header.Get("Location"))
		}
	}
	b = newBrowser(t, w, console.Viewer)
	u, err := url.Parse(w.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	kept := b.jar.Cookies(u)
	if len(kept) != 1 || kept[0].Name != "kindling_console" || strings.Contains(kept[0].Value, "kdl_") {
		t.Fatalf("cookies = %v", kept)
	}
	if a := b.open(t, "/api/v1/status"); a.status != http.StatusOK {
		t.Errorf("the session does not open the API: %d", a.status)
	}
	if a := b.send(t, "/logout", nil); a.status != http.StatusSeeOther {
		t.Errorf("logout got %d", a.status)
	}
	b.jar.SetCookies(u, kept)
	if a := b.open(t, "/"); a.status != http.StatusSeeOther {
		t.Errorf("a stolen cookie works after logout: %d", a.status)
	}
	b = newBrowser(t, w, console.Viewer)
	w.Advance(8*time.Hour + time.Second)
	if a := b.open(t, "/"); a.status != http.StatusSeeOther {
		t.Errorf("a session lives too long: %d", a.status)
	}
}

func TestTheSessionCookieIsBoundToItsHostUnlessOnLoopback(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Server.URL+"/login", strings.NewReader(url.Values{"token": {w.Tokens[console.Viewer]}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "console.example.com"
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	cookies := strings.Join(do(t, w, req).header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"__Host-kindling_console=", "HttpOnly", "SameSite=Strict", "Secure", "Path=/"} {
		if !strings.Contains(cookies, want) {
			t.Errorf("%q is not in %q", want, cookies)
		}
	}
}

func TestAPersonReplaysWhatTheFilterShows(t *testing.T) {
	t.Parallel()
	w := populated(t)
	b := newBrowser(t, w, console.Worker)
	a := b.send(t, "/dead/preview", url.Values{"what": {"replay filter"}, "filter": {"stage=register"}})
	if a.status != http.StatusOK || !strings.Contains(a.body, "Replay 3 dead letters") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	form := url.Values{"filter": {"stage=register"}, "confirm": {"2"}, "rate": {"1000"}, "canary": {""}, "max_failure": {"10"}, "reason": {"Warmy is back"}}
	if a := b.send(t, "/dead/replay", form); a.status != http.StatusConflict {
		t.Errorf("a changed count got %d", a.status)
	}
	form.Set("confirm", "3")
	a = b.send(t, "/dead/replay", form)
	if a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	waitForJob(t, w, strings.TrimPrefix(a.header.Get("Location"), "/jobs/"))
	if len(w.Dead.Replayed()) != 3 {
		t.Errorf("replayed %v", w.Dead.Replayed())
	}
	if a := b.send(t, "/dead/preview", url.Values{"what": {"replay chosen"}}); a.status != http.StatusBadRequest {
		t.Errorf("nothing chosen got %d", a.status)
	}
}

func TestAPersonDiscardsOnlyWhatWasTicked(t *testing.T) {
	t.Parallel()
	w := populated(t)
	b := newBrowser(t, w, console.Admin)
	a := b.send(t, "/dead/preview", url.Values{"what": {"discard chosen"}, "id": {"1", "3"}, "filter": {""}})
	if !strings.Contains(a.body, "Discard 2 dead letters") || !strings.Contains(a.body, "id=1&amp;id=3") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a = b.send(t, "/dead/discard", url.Values{"filter": {"id=1&id=3"}, "confirm": {"2"}, "rate": {"1000"}})
	waitForJob(t, w, strings.TrimPrefix(a.header.Get("Location"), "/jobs/"))
	if w.Dead.Len() != 2 || len(w.Dead.Replayed()) != 0 {
		t.Errorf("%d are left, %v replayed", w.Dead.Len(), w.Dead.Replayed())
	}
}

func TestAPersonImportsFindsAndInvitesAgain(t *testing.T) {
	t.Parallel()
	w := populated(t)
	b := newBrowser(t, w, console.Worker)
	body := "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nJune\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"j.csv\"\r\n\r\nemail\r\nzoe@c.example\r\nbad\r\n\r\n--b--\r\n"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Server.URL+"/campaigns", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	if a := b.do(t, req); a.status != http.StatusOK || !strings.Contains(a.body, "Imported June") || !strings.Contains(a.body, "has no @") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	id := w.Links.Mailbox("main", "zoe@c.example")
	if a := b.send(t, "/mailboxes/find", url.Values{"address": {"ZOE@c.example"}}); a.header.Get("Location") != "/mailboxes/"+id {
		t.Errorf("%d to %q", a.status, a.header.Get("Location"))
	}
	if a := b.send(t, "/mailboxes/find", url.Values{"address": {"@b.exam"}}); !strings.Contains(a.body, "ann@b.example") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.send(t, "/mailboxes/"+id+"/reinvite", nil); !strings.Contains(a.body, w.Links.Link(id, 2)) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.open(t, "/mailboxes/"+id); strings.Contains(a.body, w.Links.Link(id, 2)) {
		t.Error("the link is shown more than once")
	}
	a := b.send(t, "/mailboxes/reinvite", url.Values{"state": {"needs_consent"}})
	if !strings.Contains(a.body, "Issue new links for 1 mailboxes") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a = b.send(t, "/mailboxes/reinvite/confirm", url.Values{"filter": {"state=needs_consent"}, "confirm": {"1"}, "rate": {"200"}})
	waitForJob(t, w, strings.TrimPrefix(a.header.Get("Location"), "/jobs/"))
	if inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "ann@b.example")); inv.LinkGeneration != 2 {
		t.Errorf("generation %d", inv.LinkGeneration)
	}
}

func TestLegsAreHeldAndReleasedOnTheirPage(t *testing.T) {
	t.Parallel()
	w := populated(t)
	b := newBrowser(t, w, console.Worker)
	if a := b.open(t, "/legs"); !strings.Contains(a.body, "maintenance") {
		t.Errorf("%s", a.body)
	}
	if a := b.send(t, "/legs/release", url.Values{"name": {"warmy/main"}}); a.status != http.StatusSeeOther {
		t.Errorf("%d", a.status)
	}
	if a := b.open(t, "/legs"); strings.Contains(a.body, "maintenance") {
		t.Errorf("%s", a.body)
	}
	if a := b.send(t, "/legs/hold", url.Values{"name": {"warmy/nosuch"}}); a.status != http.StatusNotFound {
		t.Errorf("%d", a.status)
	}
}

func TestAMissingOperatorsFileIsExplainedAtTheDoor(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	if err := console.SaveOperators(w.OperatorsFile, nil); err != nil {
		t.Fatal(err)
	}
	w.Advance(2 * time.Second)
	if a := newBrowser(t, w, "").open(t, "/login"); !strings.Contains(a.body, "kindling operator add") {
		t.Errorf("%s", a.body)
	}
}

func TestNumbersReadWell(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	csv := "email\n"
	for i := range 1234 {
		csv += fmt.Sprintf("o%d@a.example\n", i)
	}
	importCSV(t, w, "Many", csv)
	if a := newBrowser(t, w, console.Viewer).open(t, "/"); !strings.Contains(a.body, "1,234") {
		t.Errorf("%s", a.body)
	}
}
