//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// TestChromiumLetsAnOperatorAcceptWhoConsented has an operator look at two mismatches in a real browser, on a narrow
// window: an alias takes one press, a different account a reason.
func TestChromiumLetsAnOperatorAcceptWhoConsented(t *testing.T) {
	browser := startChromium(t)
	w := consoletest.New(t)
	sales, lone := mismatched(t, w, "sales@a.example", true), mismatched(t, w, "lone@a.example", false)
	b := browser.openTab(t, "")
	b.do(t, "sign in", chromedp.EmulateViewport(smallPhone*2, 900), chromedp.Navigate(w.Server.URL), chromedp.WaitVisible("input[name=token]"),
		chromedp.SendKeys("input[name=token]", w.Tokens[console.Worker]), chromedp.Click("button.main"), chromedp.WaitVisible(".kpis"))

	b.do(t, "open the alias", chromedp.Navigate(w.Server.URL+"/mailboxes/"+sales), chromedp.WaitVisible("section.note button.main"))
	b.says(t, "sales@a.example", "not.sales@a.example")
	b.picture(t, "alias.png")
	b.do(t, "accept the alias", chromedp.Click("section.note button.main"), chromedp.WaitVisible("div.note code"))
	b.says(t, "sales@a.example", "not.sales@a.example is accepted for sales@a.example.")
	b.says(t, "sales@a.example", w.Links.Link(sales, 1))
	b.picture(t, "accepted.png")

	b.do(t, "open the other", chromedp.Navigate(w.Server.URL+"/mailboxes/"+lone), chromedp.WaitVisible("section.note summary"),
		chromedp.Click("section.note summary"), chromedp.WaitVisible("section.note input[name=reason]"))
	b.picture(t, "other.png")
	b.do(t, "give no reason", chromedp.Click("section.note button.danger"))
	if inv, _, _ := w.Invitations.Load(t.Context(), lone); inv.Accepted != nil {
		t.Error("a different account was accepted without a reason")
	}
	b.do(t, "give a reason", chromedp.SendKeys("section.note input[name=reason]", "took over"), chromedp.Click("section.note button.danger"),
		chromedp.WaitVisible("div.note code"))
	if inv, _, _ := w.Invitations.Load(t.Context(), lone); inv.Accepted == nil || inv.Accepted.Alias {
		t.Errorf("accepted: %+v", inv.Accepted)
	}
	b.quiet(t)
}

// mismatched imports an address, and has the account not.<address> consent for it.
func mismatched(t *testing.T, w *consoletest.World, address string, alias bool) mailbox.ID {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Server.URL+"/api/v1/campaigns?name="+strings.Split(address, "@")[0], strings.NewReader("email\n"+address+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/csv")
	req.Header.Set("Authorization", "Bearer "+w.Tokens[console.Worker])
	resp, err := w.Server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("import: %d, %v", resp.StatusCode, err)
	}
	id := w.Links.Mailbox("main", address)
	w.Grants.Put(id, mailbox.Grant{
		Phase: mailbox.GrantMismatch, Attempt: "att", Since: w.Now(),
		Finding: &mailbox.Finding{Class: fault.Permanent, Code: "identity_mismatch", Cause: "another account consented", Remedy: "decide about it"},
		Consented: &mailbox.Account{
			Proof:   events.Proof{TenantID: "11111111-2222-4333-8444-555555555555", ObjectID: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"},
			Address: secret.New("not." + address), Alias: alias,
		},
	})
	return id
}

// picture keeps what the tab shows; with -artifacts it outlives the test.
func (b *tab) picture(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), ask(t, b, "picture of "+name, chromedp.FullScreenshot(100)), 0o600); err != nil {
		t.Fatal(err)
	}
}
