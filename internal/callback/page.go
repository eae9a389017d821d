package callback

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

// page is what a template shows. Every text in it is ours or the operator's own, but for the masked address.
type page struct {
	Tone      string // wait, good, stop or plain: colour and sign
	Title     string
	Lines     []string // paragraphs
	Mailbox   string   // masked address; empty: not shown
	Again     string   // path of the landing page, offered as a button; empty: not offered
	AgainText string
	Contact   string
	Steps     []step // of the done page
	Refresh   int    // seconds until the page loads itself again; 0: never
	Reference string
	Landing   *landingTexts // the landing page has a body of its own
	Admin     *adminTexts   // so has that of a tenant's admin
}

// step is one line of the done page's progress.
type step struct {
	Text string
	Mark string // done, now or open
}

// landingTexts are what an owner should know before agreeing.
type landingTexts struct {
	Action      string // where the button posts to
	Operator    string
	App         string
	LoginHost   string
	Permissions []string
	Until       string
}

type pages struct{ templates *template.Template }

func loadPages() (pages, error) {
	t, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return pages{}, fmt.Errorf("parse pages: %w", err)
	}
	return pages{templates: t}, nil
}

// render fills the whole page before anything is sent, so that a failure is an empty page and not half of one.
func (p pages) render(content *page) ([]byte, error) {
	var text bytes.Buffer
	if err := p.templates.ExecuteTemplate(&text, "page.html", content); err != nil {
		return nil, fmt.Errorf("render page: %w", err)
	}
	return text.Bytes(), nil
}

// landingPage describes what pressing the button means.
func (e *edge) landingPage(v visit) *page {
	inv, app := v.invitation, v.app
	host := app.LoginOrigin
	if origin, err := url.Parse(app.LoginOrigin); err == nil {
		host = origin.Host
	}
	return &page{
		Tone: "plain", Title: "Connect your mailbox", Mailbox: masked(inv.Address), Contact: app.Contact,
		Landing: &landingTexts{
			Action: "/c/" + v.link + "/start", Operator: orDefault(app.Operator, "Your organisation"), App: app.Name,
			LoginHost: host, Permissions: inWords(app.Scopes), Until: inv.LinkExpiresAt.UTC().Format("2 January 2006"),
		},
	}
}

// masked shows enough of an address for its owner to recognise it, and too little for anybody else to write to.
func masked(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at <= 0 {
		return ""
	}
	_, first := utf8.DecodeRuneInString(address)
	return address[:first] + "•••" + address[at:]
}

// inWords says in plain words what the scopes allow; several may say the same.
func inWords(scopes []string) []string {
	var lines []string
	seen := make(map[string]bool)
	for _, scope := range scopes {
		words := scopeWords(scope[strings.LastIndexByte(scope, '/')+1:])
		if !seen[words] {
			seen[words] = true
			lines = append(lines, words)
		}
	}
	return lines
}

func scopeWords(scope string) string {
	switch scope {
	case "Mail.Read", "Mail.ReadBasic":
		return "Read the mail in this mailbox"
	case "Mail.ReadWrite", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All":
		return "Read, move and delete mail in this mailbox"
	case "Mail.Send", "SMTP.Send":
		return "Send mail from this mailbox"
	case "MailboxSettings.Read":
		return "Read the settings of this mailbox"
	case "MailboxSettings.ReadWrite":
		return "Read and change the settings of this mailbox"
	case "User.Read", "openid", "profile", "email":
		return "See your name and address, to be sure that this mailbox is yours"
	case "offline_access", ".default":
		return "Keep this access until you, or your administrator, take it back"
	}
	return "Use the permission “" + scope + "”, which Microsoft will explain"
}

// static serves the style sheet and the icon, always whole: the library's answers to a bad range lack our headers. They
// hold nothing of anybody, so they alone may be cached.
func (e *edge) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	data, err := staticFiles.ReadFile("static/" + name)
	if err != nil || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		e.write(w, r, "other", refusal("not_found"))
		return
	}
	e.setHeaders(w.Header(), "static")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) //nolint:gosec // a file of ours; the browser may be gone
	}
}
