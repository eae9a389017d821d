package callback_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/callback"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

const (
	mailboxID = "abcdefghijklmnopqrstuvwx"
	link      = mailboxID + "0123456789-_ABCDEFGH"
	address   = "jane@contoso.example"
	code      = "0.AXcode-canary_5d1f.!*"
	origin    = "https://login.microsoftonline.com"
	callPath  = "/oauth-callback/main"
)

var errDown = errors.New("the store is down")

// rig is the edge with everything around it.
type rig struct {
	t             testing.TB
	edge          http.Handler
	config        callback.Config
	base          string
	invitations   *records[mailbox.Invitation]
	claims        *records[mailbox.Claim]
	grants        *records[mailbox.Grant]
	registrations *records[mailbox.Registration]
	admins        *records[mailbox.AdminConsent]
	publisher     *publisher
	codes         box
	logs          *strings.Builder
	mu            *sync.Mutex
	now           time.Time
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// newRig invites one mailbox to an edge at base. Changes to the configuration come last.
func newRig(tb testing.TB, base string, changes ...func(*callback.Config)) *rig {
	tb.Helper()
	r := &rig{
		t: tb, base: base, invitations: newRecords[mailbox.Invitation](), claims: newRecords[mailbox.Claim](),
		grants: newRecords[mailbox.Grant](), registrations: newRecords[mailbox.Registration](), admins: newRecords[mailbox.AdminConsent](), publisher: &publisher{},
		codes: newBox(tb), logs: &strings.Builder{}, mu: &sync.Mutex{}, now: time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC),
	}
	r.invitations.set(mailboxID, func(i *mailbox.Invitation) {
		*i = mailbox.Invitation{
			ID: mailboxID, Campaign: "spring", App: "main", Account: "acme", Address: address, LinkGeneration: 1,
			LinkHash: mailbox.Hash(link), InvitedAt: r.now.Add(-time.Hour), LinkExpiresAt: r.now.Add(7 * 24 * time.Hour),
		}
	})
	r.config = callback.Config{
		PublicURL: base, Apps: map[string]callback.App{"main": testApp(base, "main"), "other": testApp(base, "other")},
		Invitations: r.invitations, Claims: r.claims, Grants: r.grants, Registrations: r.registrations, Publisher: r.publisher,
		Codes: r.codes, Cookies: newBox(tb), ParseLink: parseLink, AdminConsents: r.admins, ParseAdminLink: parseAdminLink, Refusal: refusal, Now: r.clock,
		Log:       slog.New(slog.NewJSONHandler(&lockedWriter{r.mu, r.logs}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		PerSecond: 1e6, Burst: 1e6,
	}
	for _, change := range changes {
		change(&r.config)
	}
	edge, err := callback.New(r.config)
	must(tb, err)
	r.edge = edge
	return r
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs.String()
}

func testApp(base, name string) callback.App {
	return callback.App{
		AuthorizeURL: func(p callback.AuthorizeParams) string {
			return origin + "/" + p.Tenant + "/oauth2/v2.0/authorize?" + url.Values{
				"state": {p.State.Reveal()}, "nonce": {p.Nonce.Reveal()}, "verifier_for_the_test": {p.Verifier.Reveal()},
				"login_hint": {p.LoginHint}, "prompt": {p.Prompt}, "response_mode": {p.ResponseMode},
			}.Encode()
		},
		AdminConsentURL: adminConsentURL, Tenant: "organizations", RedirectURI: base + "/oauth-callback/" + name, LoginOrigin: origin, Name: "Mail Connector",
		Operator: "Contoso Marketing", Contact: "it@contoso.example",
		Scopes: []string{"https://graph.microsoft.com/Mail.Send", "Mail.ReadWrite", "User.Read", "openid", "offline_access"},
	}
}

var linkPattern = regexp.MustCompile(`^[a-z2-7]{24}[A-Za-z0-9_-]{20}$`)

// parseLink stands for seal.ParseLink, in a form that is readable in tests.
func parseLink(token string) (mailbox.ID, bool) {
	if !linkPattern.MatchString(token) || strings.HasSuffix(token, "\n") {
		return "", false
	}
	return token[:24], true
}

// refusal stands for microsoft.Refusal.
func refusal(errorCode, _ string) *fault.Fault {
	f := &fault.Fault{Class: fault.NeedsConsent, Code: "refused", Cause: "in our words", Remedy: "a remedy", Forecast: fault.ByPerson}
	switch errorCode {
	case "access_denied", "consent_required":
		f.Reason = mailbox.Declined
	case "interaction_required":
		f.Reason = mailbox.AdminRequired
	case "invalid_scope", "unauthorized_client":
		f.Class, f.Forecast, f.Code = fault.LegDown, fault.ByConfig, "app_misconfigured"
	case "server_error", "temporarily_unavailable":
		f.Class, f.Forecast = fault.Transient, fault.ByTime
	}
	return f
}

// do sends one request to the edge.
func (r *rig) do(req *http.Request) *http.Response {
	r.t.Helper()
	recorder := httptest.NewRecorder()
	r.edge.ServeHTTP(recorder, req)
	return recorder.Result()
}

func (r *rig) request(method, target, body string, cookies ...*http.Cookie) *http.Request {
	r.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := httptest.NewRequestWithContext(context.Background(), method, r.base+target, reader)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	return req
}

func (r *rig) get(target string, cookies ...*http.Cookie) *http.Response {
	r.t.Helper()
	return r.do(r.request(http.MethodGet, target, "", cookies...))
}

// attempt is one press of the button.
type attempt struct {
	state, nonce, verifier string
	authorize              *url.URL
	cookie                 *http.Cookie
}

// press presses the button of a link.
func (r *rig) press() attempt {
	r.t.Helper()
	answer := r.do(r.request(http.MethodPost, "/c/"+link+"/start", ""))
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) != 1 {
		r.t.Fatalf("start answers %d with %d cookies", answer.StatusCode, len(answer.Cookies()))
	}
	to, err := answer.Location()
	must(r.t, err)
	q := to.Query()
	return attempt{
		state: q.Get("state"), nonce: q.Get("nonce"), verifier: q.Get("verifier_for_the_test"), authorize: to, cookie: answer.Cookies()[0],
	}
}

// come brings an answer of Microsoft back in the attempt's browser, as a query.
func (r *rig) come(a attempt, query url.Values) *http.Response {
	r.t.Helper()
	query.Set("state", a.state)
	return r.get(callPath+"?"+query.Encode(), a.cookie)
}

func withCode(c string) url.Values { return url.Values{"code": {c}, "session_state": {"ignored"}} }

func bodyOf(tb testing.TB, answer *http.Response) string {
	tb.Helper()
	body, err := io.ReadAll(answer.Body)
	must(tb, err)
	must(tb, answer.Body.Close())
	return string(body)
}
