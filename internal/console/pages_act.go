package console

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// loginPage is what the login form shows.
type loginPage struct{ Next, Failed, Trouble string }

func (c *Console) pageLogin(r *request) error {
	return c.showLogin(r, http.StatusOK, localPath(r.URL.Query().Get("next")), "")
}

func (c *Console) showLogin(r *request, status int, next, failed string) error {
	data := loginPage{Next: next, Failed: failed}
	if err := c.operators.trouble(); err != nil {
		data.Trouble = err.Error()
	}
	return c.pages.render(r, status, "login", page{Title: "Sign in", Data: data})
}

func (c *Console) actLogin(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	next := localPath(form.Get("next"))
	o, err := c.signIn(r.w, r.Request, form.Get("token"))
	if err != nil {
		p := asProblem(err)
		return c.showLogin(r, p.Status, next, p.Detail)
	}
	c.cfg.Log.InfoContext(r.Context(), "operator_signed_in", "operator", o.Name, "role", o.Role)
	http.Redirect(r.w, r.Request, next, http.StatusSeeOther) //nolint:gosec // localPath keeps it on this host
	return nil
}

func (c *Console) actLogout(r *request) error {
	c.signOut(r.w, r.Request)
	http.Redirect(r.w, r.Request, "/login", http.StatusSeeOther)
	return nil
}

// localPath keeps a redirect on this console.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

// readForm reads a small form.
func readForm(r *request) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, problem(http.StatusUnsupportedMediaType, "not_a_form", "this is not a form", "use the page's own form")
	}
	r.Body = http.MaxBytesReader(r.w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return nil, errBadRequest("bad_form", "the form cannot be read", "send it again").because(err)
	}
	return r.PostForm, nil
}

func (c *Console) seeOther(r *request, target string) error {
	http.Redirect(r.w, r.Request, target, http.StatusSeeOther)
	return nil
}

func (c *Console) actImport(r *request) error {
	form, err := c.importForm(r)
	if err != nil {
		return err
	}
	m := &importer{}
	if err := c.importCampaign(r, form, m); err != nil {
		return err
	}
	return c.pages.render(r, http.StatusOK, "imported", page{Title: "Import", Active: "/campaigns", Data: m.report})
}

func (c *Console) actFind(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(form.Get("address"))
	look := Lookup{Contains: strings.ToLower(text)}
	if strings.Contains(text, "@") && strings.Contains(text[strings.Index(text, "@"):], ".") {
		exact, err := c.find(Lookup{Address: text})
		if err != nil {
			return err
		}
		if len(exact.Mailboxes) == 1 {
			return c.seeOther(r, "/mailboxes/"+exact.Mailboxes[0].ID)
		}
	}
	list, err := c.find(look)
	if err != nil {
		return err
	}
	data := mailboxesPage{Campaigns: c.campaignViews(nil), List: list, Search: text}
	return c.pages.render(r, http.StatusOK, "mailboxes", page{Title: "Mailboxes", Active: "/mailboxes", Data: data})
}

func (c *Console) actReinvite(r *request) error {
	link, err := c.reinviteOne(r, r.PathValue("id"), Reinvitation{})
	if err != nil {
		return err
	}
	return c.showMailbox(r, outcomes{Link: &link})
}

// confirmPage asks before a bulk verb.
type confirmPage struct {
	Title, Action, Verb, Noun, Style, Back string
	Encoded                                string // the selection
	Preview                                Preview
	Paced                                  bool // has canary and max_failure
	Canary, Rate                           int
}

// worthACanary is how many chosen ones a canary is offered for.
const worthACanary = 50

func (p *confirmPage) offerCanary() {
	if p.Paced && p.Preview.Count >= worthACanary {
		p.Canary = 10
	}
}

func (c *Console) actPreviewReinvite(r *request) error {
	return c.confirmMailboxes(r, c.previewReinvite, confirmPage{
		Title: "Issue new links", Action: "/mailboxes/reinvite/confirm", Verb: "Issue new links for", Rate: defaultInviteRate,
	})
}

// confirmMailboxes asks before a bulk verb about the mailboxes that a page has chosen.
func (c *Console) confirmMailboxes(r *request, look func(MailboxSelection) (Preview, error), data confirmPage) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	sel, encoded, err := mailboxSelection(form)
	if err != nil {
		return err
	}
	if data.Preview, err = look(sel); err != nil {
		return err
	}
	data.Noun, data.Style, data.Encoded, data.Back = "mailboxes", "main", encoded, "/mailboxes?"+encoded
	if len(sel.IDs) == 1 {
		data.Back = "/mailboxes/" + url.PathEscape(sel.IDs[0])
	}
	data.offerCanary()
	return c.pages.render(r, http.StatusOK, "confirm", page{Title: data.Title, Active: "/mailboxes", Data: data})
}

// mailboxSelection reads what a page has chosen, and encodes it for the next one; nothing means all.
func mailboxSelection(form url.Values) (MailboxSelection, string, error) {
	given := url.Values{}
	for _, key := range append(mailboxKeys(), "id") {
		if v := form.Get(key); v != "" {
			given.Set(key, v)
		}
	}
	sel, err := mailboxSelectionOf(query(given))
	sel.All = len(given) == 0
	return sel, given.Encode(), err
}

func (c *Console) actReinvites(r *request) error {
	return c.actMailboxes(r, jobReinvite, c.previewReinvite)
}

// actMailboxes starts what confirmMailboxes has asked about.
func (c *Console) actMailboxes(r *request, kind string, look func(MailboxSelection) (Preview, error)) error {
	given, b, err := readBulkForm(r)
	if err != nil {
		return err
	}
	sel, _, err := mailboxSelection(given)
	if err != nil {
		return err
	}
	preview, err := look(sel)
	if err != nil {
		return err
	}
	return c.startFromPage(r, kind, b, preview)
}

func (c *Console) startFromPage(r *request, kind string, b BulkOptions, preview Preview) error {
	j, err := c.startBulk(r, kind, b, preview)
	if err != nil {
		return err
	}
	return c.seeOther(r, "/jobs/"+j.ID)
}

// actPreviewDead shows what a bulk verb would touch: the chosen letters, or all that match the filter.
func (c *Console) actPreviewDead(r *request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	verb, which, _ := strings.Cut(form.Get("what"), " ")
	given, err := url.ParseQuery(form.Get("filter"))
	if err != nil {
		return errBadRequest("bad_form", "the filter cannot be read", "choose again")
	}
	if which == "chosen" {
		given = url.Values{"id": form["id"]}
		if f := form.Get("forecast"); f != "" {
			given.Set("forecast", f)
		}
		if len(form["id"]) == 0 {
			return errBadRequest("nothing_chosen", "no dead letter is chosen", "tick some in the list")
		}
	}
	return c.showPreviewDead(r, verb, given)
}

func (c *Console) showPreviewDead(r *request, verb string, given url.Values) error {
	sel, err := selectionFrom(given)
	if err != nil {
		return err
	}
	data := confirmPage{
		Title: "Replay dead letters", Action: "/dead/replay", Verb: "Replay", Noun: "dead letters", Style: "main", Back: "/dead?" + given.Encode(),
		Encoded: given.Encode(), Paced: true, Rate: defaultRate,
	}
	look := c.previewReplay
	if verb == jobDiscard {
		look = c.previewDiscard
		data.Title, data.Action, data.Verb, data.Style, data.Paced = "Discard dead letters", "/dead/discard", "Discard", "danger", false
	}
	if data.Preview, err = look(r.Context(), sel); err != nil {
		return err
	}
	data.offerCanary()
	return c.pages.render(r, http.StatusOK, "confirm", page{Title: data.Title, Active: "/dead", Data: data})
}

// selectionFrom reads a selection that a page has encoded; an empty one means all.
func selectionFrom(given url.Values) (Selection, error) {
	sel, err := selectionOf(query(given))
	if err == nil && sel.Empty() {
		sel.All = true
	}
	return sel, err
}

func (c *Console) actReplay(r *request) error { return c.actDead(r, jobReplay) }

func (c *Console) actDiscard(r *request) error { return c.actDead(r, jobDiscard) }

func (c *Console) actDead(r *request, kind string) error {
	given, b, err := readBulkForm(r)
	if err != nil {
		return err
	}
	sel, err := selectionFrom(given)
	if err != nil {
		return err
	}
	look := c.previewReplay
	if kind == jobDiscard {
		look = c.previewDiscard
	}
	preview, err := look(r.Context(), sel)
	if err != nil {
		return err
	}
	return c.startFromPage(r, kind, b, preview)
}

// readBulkForm reads what the confirm page asks, and the selection that it was opened with.
func readBulkForm(r *request) (url.Values, BulkOptions, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, BulkOptions{}, err
	}
	b := BulkOptions{Reason: form.Get("reason")}
	var numbers [4]float64
	for i, key := range []string{"confirm", "canary", "max_failure", "rate"} {
		text := strings.TrimSpace(form.Get(key))
		if text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= 1e9) { // NaN is neither
			return nil, b, errBadRequest("bad_form", fmt.Sprintf("the field %s is not a number", words(key)), "go back and write a number")
		}
		numbers[i] = n
	}
	if form.Has("confirm") {
		confirm := int(numbers[0])
		b.Confirm = &confirm
	}
	b.Canary, b.MaxFailure, b.Rate = int(numbers[1]), numbers[2], numbers[3]
	given, err := url.ParseQuery(form.Get("filter"))
	if err != nil {
		return nil, b, errBadRequest("bad_form", "the selection cannot be read", "choose again")
	}
	return given, b, nil
}

func (c *Console) actCancel(r *request) error {
	j, err := c.cancelJob(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.seeOther(r, "/jobs/"+j.ID)
}

func (c *Console) actResume(r *request) error {
	j, err := c.resumeJob(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.seeOther(r, "/jobs/"+j.ID)
}

func (c *Console) actHold(r *request) error { return c.actLeg(r, c.hold) }

func (c *Console) actRelease(r *request) error { return c.actLeg(r, c.release) }

func (c *Console) actLeg(r *request, change func(*request, LegChange) error) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if err := change(r, LegChange{Name: form.Get("name"), Cause: form.Get("cause")}); err != nil {
		return err
	}
	return c.seeOther(r, "/legs")
}
