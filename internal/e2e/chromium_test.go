//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// TestChromiumShowsOwnersAndOperatorsTheirPages walks two people through a running system in a real browser: an owner
// on a phone without JavaScript, from the link to "connected", and an operator through the console.
func TestChromiumShowsOwnersAndOperatorsTheirPages(t *testing.T) {
	browser := startChromium(t)
	s := startSandbox(t, 3)
	links := s.links(t)
	if len(links) != 3 {
		t.Fatalf("%d links for 3 mailboxes", len(links))
	}
	t.Run("a violation, an exception and a console error would be noticed", func(t *testing.T) { seesTrouble(t, browser) })
	t.Run("an owner connects a mailbox on a phone without JavaScript", func(t *testing.T) { s.walkOwner(t, browser, links[0]) })
	t.Run("an operator looks at every page", func(t *testing.T) {
		s.kill422(t, links[1])
		s.walkOperator(t, browser, links[1])
	})
}

// seesTrouble shows the tab a page with one of each complaint: a watch that hears nothing proves nothing.
func seesTrouble(t *testing.T, browser chromium) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'")
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<!doctype html><title>bad</title><p style="color:red">bad</p><script src="/bad.js"></script>`))
		case "/bad.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(`console.error("an error"); throw new Error("an exception")`))
		}
	}))
	defer server.Close()
	b := browser.openTab(t, "")
	b.do(t, "open the bad page", chromedp.Navigate(server.URL))
	for _, want := range []string{"Content Security Policy", "issue: ContentSecurityPolicyIssue", "exception", "console.error"} {
		eventually(t, 10*time.Second, want, func() bool { return strings.Contains(b.heard(), want) })
	}
}

func (s *sandboxed) walkOwner(t *testing.T, browser chromium, l console.LinkView) {
	t.Helper()
	b := browser.openTab(t, s.microsoft)
	b.do(t, "follow the link", phone(), withoutScripts(), chromedp.Navigate(l.Link), chromedp.WaitVisible("form button"))
	b.fits(t)
	b.do(t, "continue to Microsoft", chromedp.Click("form button"), chromedp.WaitVisible("#consent button"))
	if hint := ask(t, b, "read the account", chromedp.Value("input[name=address]")); !strings.EqualFold(hint, l.Email) {
		t.Errorf("Microsoft is told of %q, the link is for %s", hint, l.Email)
	}
	b.do(t, "accept", chromedp.Click("#consent button[value=accept]"), chromedp.WaitVisible("main.card"))
	b.fits(t)
	// The page looks again by itself: nobody clicks from here on.
	b.do(t, "be connected", chromedp.WaitVisible("main.good"))
	if title := b.text(t, "h1"); title != "Your mailbox is connected" {
		t.Errorf("the last page says %q", title)
	}
	b.fits(t)
	b.quiet(t)
	for _, again := range s.links(t) {
		if again.Email == l.Email && again.State != mailbox.StateRegistered {
			t.Errorf("the owner was told that %s is connected, and it is %s", l.Email, again.State)
		}
	}
}

// fits fails when the page is wider than the phone.
func (b *tab) fits(t *testing.T) {
	t.Helper()
	metrics := ask(t, b, "measure the page", func(ctx context.Context, target *chromedp.Target) (page.GetLayoutMetricsResult, error) {
		return cdp.Call(ctx, target, page.GetLayoutMetrics, cdp.Empty{})
	})
	if width := metrics.CSSContentSize.Width; width > phoneWidth {
		t.Errorf("the page is %v pixels wide on a phone of %d", width, phoneWidth)
	}
}

// kill422 has Warmy refuse one mailbox, so that there is a dead letter to look at.
func (s *sandboxed) kill422(t *testing.T, l console.LinkView) {
	t.Helper()
	rule := warmyapi.FieldError("tariff_plan_type_id", "is not available for this workspace")
	rule.Address = l.Email
	play(t, s.warmy, trouble.Control{Add: []trouble.Rule{rule}})
	if err := persist(t.Context(), l, crowd.Accept); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the dead letter", func() bool {
		out, code := s.kindling(t, "dead", "list", "-o", "jsonl")
		return code == 0 && strings.Count(out, "\n") == 1
	})
}

func (s *sandboxed) walkOperator(t *testing.T, browser chromium, dead console.LinkView) {
	t.Helper()
	token, err := os.ReadFile(s.data.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	b := browser.openTab(t, s.microsoft)
	b.do(t, "sign in", chromedp.Navigate(s.console), chromedp.WaitVisible("input[name=token]"),
		chromedp.SendKeys("input[name=token]", strings.TrimSpace(string(token))), chromedp.Click("button.main"), chromedp.WaitVisible(".kpis"))
	b.says(t, "Overview", "3 mailboxes in 1 campaigns")
	b.do(t, "choose the campaign", chromedp.Click("a[href^='/campaigns/']"), chromedp.WaitVisible(".funnel"))
	b.says(t, "people", "registered")
	b.do(t, "open the dead letters", chromedp.Click("nav a[href='/dead']"), chromedp.WaitVisible("td a[href^='/dead/']"))
	b.says(t, "Dead letters", dead.Email)
	b.do(t, "open the dead letter", chromedp.Click("td a[href^='/dead/']"), chromedp.WaitVisible("main a[href^='/mailboxes/']"))
	b.do(t, "open its mailbox", chromedp.Click("main a[href^='/mailboxes/']"), chromedp.WaitVisible("h1"))
	b.says(t, dead.Email, "")
	for _, path := range []string{"/campaigns", "/mailboxes", "/jobs", "/legs"} {
		b.do(t, "open "+path, chromedp.Navigate(s.console+path), chromedp.WaitVisible("nav a[aria-current=page]"))
	}
	b.do(t, "sign out", chromedp.Click(".who form button"), chromedp.WaitVisible("input[name=token]"))
	b.quiet(t)
}

// says wants a heading, and somewhere below it some words.
func (b *tab) says(t *testing.T, heading, words string) {
	t.Helper()
	if h1 := b.text(t, "h1"); h1 != heading {
		t.Errorf("the page is headed %q, want %q", h1, heading)
	}
	if text := b.text(t, "main"); !strings.Contains(strings.ToLower(text), strings.ToLower(words)) {
		t.Errorf("the page %q does not say %q:\n%s", heading, words, text)
	}
}
