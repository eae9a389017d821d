package microsoft_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

func TestACodeIsRedeemedWithOneRequest(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	tokens, err := server.client(t).Redeem(t.Context(), "main", consent())
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {"code-" + canary}, "code_verifier": {"verifier-" + canary},
		"redirect_uri": {"https://connect.example/oauth-callback/main"}, "client_id": {clientID}, "client_secret": {"secret-" + canary},
	}
	if diff := cmp.Diff([]url.Values{want}, server.forms); diff != "" {
		t.Error(diff)
	}
	if tokens.Access.Reveal() != "access-"+canary || tokens.Refresh.Reveal() != "refresh-"+canary || tokens.IDToken.Reveal() != "x.y.z" {
		t.Error("tokens were lost")
	}
	if !tokens.Expiry.Equal(clock().Add(75*time.Minute)) || len(tokens.Scope) != 5 || tokens.Nonce.Reveal() != nonce {
		t.Errorf("tokens = %+v", tokens)
	}
	if tokens.Whose != (events.Proof{}) {
		t.Errorf("an id_token that cannot be read names %+v", tokens.Whose)
	}
}

func TestACodeIsRedeemedAtTheTenantAndRedirectItWasIssuedFor(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	frozen := consent()
	frozen.Tenant, frozen.RedirectURI = tenantID, "https://old.example/cb"
	if _, err := server.client(t).Redeem(t.Context(), "main", frozen); err != nil {
		t.Fatal(err)
	}
	if server.paths[0] != "/"+tenantID+"/oauth2/v2.0/token" || server.forms[0].Get("redirect_uri") != "https://old.example/cb" {
		t.Errorf("sent to %s with %s", server.paths[0], server.forms[0].Get("redirect_uri"))
	}
	frozen.Tenant = "../../evil"
	_, err := server.client(t).Redeem(t.Context(), "main", frozen)
	wants(t, err, fault.Permanent, "tenant_invalid", "")
	if server.hits.Load() != 1 {
		t.Error("a tenant that is none was used")
	}
}

func TestAGrantIsRefreshedWithOneRequest(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	server.onToken(answerJSON(http.StatusOK, map[string]any{"access_token": "new", "token_type": "Bearer", "expires_in": 3600}))
	tokens, err := server.client(t).Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"refresh-" + canary}, "client_id": {clientID}, "client_secret": {"secret-" + canary},
	}
	if diff := cmp.Diff([]url.Values{want}, server.forms); diff != "" {
		t.Error(diff)
	}
	if tokens.Access.Reveal() != "new" || !tokens.Refresh.Empty() || len(tokens.Scope) != 0 || !tokens.Expiry.Equal(clock().Add(time.Hour)) {
		t.Errorf("tokens = %+v", tokens)
	}
}

func TestASingleTenantAppRefreshesInTheGrantsTenant(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t, func(a *microsoft.App) { a.Tenant = "contoso.example" })
	grant := mailbox.Tokens{Refresh: secret.New("r"), IDToken: idToken(t, server.URL, nil)}
	if _, err := client.Refresh(t.Context(), "main", grant); err != nil {
		t.Fatal(err)
	}
	grant.IDToken = secret.New("not.a.token")
	if _, err := client.Refresh(t.Context(), "main", grant); err != nil {
		t.Fatal(err)
	}
	want := []string{"/" + tenantID + "/oauth2/v2.0/token", "/contoso.example/oauth2/v2.0/token"}
	if diff := cmp.Diff(want, server.paths); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedSecretGivesWayToTheNextAndIsNotOfferedFirstAgain(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	server.onToken(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_secret") == "old" {
			errorAnswer("invalid_client", 7000222)(w, r)
			return
		}
		answerJSON(http.StatusOK, goodGrant())(w, r)
	})
	client := server.client(t, func(a *microsoft.App) { a.Secrets = []secret.Text{secret.New("old"), secret.New("new")} })
	for range 3 {
		if err := redeem(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.hits.Load(); got != 4 {
		t.Errorf("%d requests for 3 codes, want 4", got)
	}
	if id, used, err := client.Credentials("main"); err != nil || id != clientID || used.Reveal() != "new" {
		t.Errorf("Credentials = %s, %v", id, err)
	}
	server.onToken(errorAnswer("invalid_client", 7000222))
	wants(t, redeem(t.Context(), client), fault.LegDown, "AADSTS7000222", "")
	if got := server.hits.Load(); got != 6 {
		t.Errorf("%d requests, want each secret tried once", got)
	}
	server.onToken(errorAnswer("invalid_client", 50011))
	wants(t, redeem(t.Context(), client), fault.LegDown, "AADSTS50011", "")
	if got := server.hits.Load(); got != 7 {
		t.Errorf("%d requests: another secret does not mend a redirect URI", got)
	}
}

func TestOddGoodAnswersLoseNoToken(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	long := strings.Repeat("t", 12<<10)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		life   time.Duration
	}{
		"expires_in text":     {answerJSON(200, with(goodGrant(), "expires_in", "3600")), time.Hour},
		"expires_in float":    {answerText(200, `{"access_token":"a","refresh_token":"r","expires_in":3600.5,"scope":"mail.read mail.send user.read"}`), time.Hour + time.Second/2},
		"expires_in 0":        {answerJSON(200, with(goodGrant(), "expires_in", 0)), time.Minute},
		"expires_in negative": {answerJSON(200, with(goodGrant(), "expires_in", -5)), time.Minute},
		"expires_in 1<<40":    {answerJSON(200, with(goodGrant(), "expires_in", 1<<40)), 24 * time.Hour},
		"expires_in 1e400":    {answerText(200, `{"access_token":"a","refresh_token":"r","expires_in":1e400,"scope":"Mail.Read Mail.Send User.Read"}`), 24 * time.Hour},
		"expires_in missing":  {answerJSON(200, with(goodGrant(), "expires_in", nil)), 10 * time.Minute},
		"expires_in null":     {answerText(200, `{"access_token":"a","refresh_token":"r","expires_in":null,"scope":"Mail.Read Mail.Send User.Read"}`), 10 * time.Minute},
		"expires_in object":   {answerJSON(200, with(goodGrant(), "expires_in", map[string]any{})), 10 * time.Minute},
		"bearer":              {answerJSON(200, with(goodGrant(), "token_type", "bearer")), 75 * time.Minute},
		"no token_type":       {answerJSON(200, with(goodGrant(), "token_type", nil)), 75 * time.Minute},
		"scopes reordered":    {answerJSON(200, with(goodGrant(), "scope", "https://graph.microsoft.com/Mail.Read profile HTTPS://GRAPH.microsoft.com/mail.send user.read")), 75 * time.Minute},
		"extra fields":        {answerJSON(200, with(goodGrant(), "refresh_in", 43200, "ext_expires_in", "x", "foci", []int{1})), 75 * time.Minute},
		"12 KB token":         {answerJSON(200, with(goodGrant(), "access_token", long)), 75 * time.Minute},
		"error is null":       {answerText(200, `{"error":null,"access_token":"a","refresh_token":"r","expires_in":60,"scope":"Mail.Read Mail.Send User.Read"}`), time.Minute},
		"BOM":                 {answerText(200, "\xef\xbb\xbf"+`{"access_token":"a","refresh_token":"r","expires_in":60,"scope":"Mail.Read Mail.Send User.Read"}`), time.Minute},
		"text/plain":          {answerText(200, `{"access_token":"a","refresh_token":"r","expires_in":60,"scope":"Mail.Read Mail.Send User.Read"}`, "Content-Type", "text/plain"), time.Minute},
		"gzip":                {gzipped(`{"access_token":"a","refresh_token":"r","expires_in":60,"scope":"Mail.Read Mail.Send User.Read"}`), time.Minute},
		"chunked":             {chunked(`{"access_token":"a","refresh_token":"r",`, `"expires_in":60,"scope":"Mail.Read Mail.Send User.Read"}`), time.Minute},
	} {
		server.onToken(c.answer)
		tokens, err := client.Redeem(t.Context(), "main", consent())
		if err != nil || tokens.Access.Empty() || tokens.Refresh.Empty() {
			t.Errorf("%s: %v", name, err)
		}
		if got := tokens.Expiry.Sub(clock()); got != c.life {
			t.Errorf("%s: lives %s, want %s", name, got, c.life)
		}
	}
}

func gzipped(body string) http.HandlerFunc {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(writer, body)
	_ = writer.Close()
	return answerText(http.StatusOK, packed.String(), "Content-Encoding", "gzip")
}

func chunked(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, part := range parts {
			_, _ = io.WriteString(w, part)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func TestAnIncompleteGrantIsRefusedWithItsRemedy(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for name, c := range map[string]struct {
		answer map[string]any
		code   string
	}{
		"no refresh token":    {with(goodGrant(), "refresh_token", nil), "incomplete_grant_no_refresh_token"},
		"empty refresh token": {with(goodGrant(), "refresh_token", ""), "incomplete_grant_no_refresh_token"},
		"no access token":     {with(goodGrant(), "access_token", nil), "incomplete_grant_no_access_token"},
		"token not a text":    {with(goodGrant(), "access_token", 5), "incomplete_grant_no_access_token"},
		"no scope":            {with(goodGrant(), "scope", nil), "incomplete_grant_no_scope"},
		"other token type":    {with(goodGrant(), "token_type", "pop"), "incomplete_grant_token_type"},
		"no Mail.Send":        {with(goodGrant(), "scope", "User.Read Mail.Read"), "incomplete_grant_missing_scope"},
		"no reading":          {with(goodGrant(), "scope", "User.Read Mail.Send"), "incomplete_grant_missing_scope"},
		"no User.Read":        {with(goodGrant(), "scope", "Mail.Send Mail.ReadWrite"), "incomplete_grant_missing_scope"},
		"another resource":    {with(goodGrant(), "scope", "User.Read Mail.Read https://outlook.office.com/Mail.Send"), "incomplete_grant_missing_scope"},
	} {
		t.Log(name)
		server.onToken(answerJSON(http.StatusOK, c.answer))
		wants(t, redeem(t.Context(), client), fault.Permanent, c.code, "")
	}
	server.onToken(answerJSON(http.StatusOK, map[string]any{"access_token": "a", "scope": "User.Read"}))
	_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("r")})
	wants(t, err, fault.Permanent, "incomplete_grant_missing_scope", "")
}

// The trap of .default: whoever consented to anything before is not asked, and gives what he gave then.
func TestTheMissingScopeOfDefaultHasItsOwnRemedy(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	server.onToken(answerJSON(200, with(goodGrant(), "scope", "openid profile User.Read")))
	for scope, c := range map[string]struct{ cause, remedy string }{
		"https://graph.microsoft.com/.default": {
			"the grant lacks Mail.Send, Mail.Read: the app asks for .default, which gives only the old permissions to whoever consented to anything before",
			"name the permissions in the app's scopes instead of .default, or ask once more with edge.start_prompt: consent; then send the owner a new link",
		},
		"Mail.Send": {
			"the grant lacks Mail.Send, Mail.Read",
			"add the permission in the Azure portal, grant admin consent there, then send the owner a new link",
		},
	} {
		client := server.client(t, func(a *microsoft.App) { a.Scopes = []string{"openid", "profile", "offline_access", scope} })
		f := wants(t, redeem(t.Context(), client), fault.Permanent, "incomplete_grant_missing_scope", "")
		if f.Cause != c.cause || f.Remedy != c.remedy || f.Forecast != fault.ByPerson {
			t.Errorf("%s: %s; %s", scope, f.Cause, f.Remedy)
		}
		_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("r")})
		wants(t, err, fault.Permanent, "incomplete_grant_missing_scope", "")
	}
}

func TestAnAnswerThatMayHaveSpentTheCodeIsTransientAndAskedForOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   string
		breaks bool
	}{
		"time-out before headers": {hang, "microsoft_timeout", true},
		"time-out in the body":    {drip(`{"access_token":`, 1), "microsoft_timeout", true},
		"a byte at a time":        {trickle(`{"access_token":"a","refresh_token":"r"}`), "microsoft_timeout", true},
		"RST":                     {reset(""), "microsoft_connection_lost", true},
		"RST in the body":         {reset("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"access_token\":"), "microsoft_connection_lost", true},
		"EOF":                     {cut(""), "microsoft_connection_lost", true},
		"short body":              {cut("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"access_token\":"), "microsoft_connection_lost", true},
		"not HTTP":                {cut(canary + " nonsense\r\n\r\n"), "microsoft_connection_lost", true},
		"500":                     {answerText(500, canary), "microsoft_5xx", true},
		"502 HTML":                {answerText(502, "<html>"+canary), "microsoft_5xx", true},
		"503":                     {answerText(503, ""), "microsoft_5xx", true},
		"504":                     {answerText(504, ""), "microsoft_5xx", true},
		"408":                     {answerText(408, ""), "microsoft_5xx", true},
		"407":                     {answerText(407, ""), "microsoft_unknown_error", false},
		"200 HTML":                {answerText(200, "<html>"), "microsoft_unreadable", false},
		"200 empty":               {answerText(200, ""), "microsoft_unreadable", false},
		"200 null":                {answerText(200, "null"), "microsoft_unreadable", false},
		"200 bad JSON":            {answerText(200, `{"access_token":"`+canary), "microsoft_unreadable", false},
		"endless body":            {endless, "microsoft_unreadable", false},
		"gzip bomb":               {gzipped(strings.Repeat("0", 8<<20)), "microsoft_unreadable", false},
		"broken gzip":             {answerText(200, canary, "Content-Encoding", "gzip"), "microsoft_connection_lost", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			server.onToken(c.answer)
			ctx, seen := leg.Watch(t.Context())
			client := server.client(t)
			if c.code == "microsoft_timeout" {
				client = impatient(t, server)
			}
			err := redeem(ctx, client)
			wants(t, err, fault.Transient, c.code, "")
			if fault.Of(err).Outage != c.breaks || seen.Failed() != c.breaks || seen.Answered() == c.breaks {
				t.Errorf("counts against Microsoft: %t, reported %t", fault.Of(err).Outage, seen.Failed())
			}
			if server.hits.Load() != 1 {
				t.Errorf("%d requests", server.hits.Load())
			}
		})
	}
}

// impatient returns a client with a short deadline.
func impatient(t *testing.T, server *fake) *microsoft.Client {
	t.Helper()
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return microsoft.New(microsoft.Config{Apps: []microsoft.App{server.app()}, Transport: transport, Now: clock, Timeout: 300 * time.Millisecond})
}

// drip sends the beginning of an answer and then a byte at a time, slower than any deadline.
func drip(start string, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, start+strings.Repeat(" ", n))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// trickle sends a byte at a time, none too late for a deadline that begins anew with each.
func trickle(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte(body) {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// reset writes raw bytes and resets the connection instead of closing it.
func reset(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, raw)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 32<<10)); err != nil {
			return
		}
	}
}

func TestWhatWasNeverSentHoldsTheLegAndNotTheCode(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + listener.Addr().String()
	_ = listener.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for login, code := range map[string]string{
		refusing: "microsoft_unreachable", "http://nowhere.invalid": "microsoft_unreachable", untrusted.URL: "microsoft_tls",
		"ftp://odd": "microsoft_unreachable", "://": "microsoft_not_asked",
	} {
		server := newFake(t)
		err := redeem(t.Context(), server.client(t, func(a *microsoft.App) { a.LoginURL = login }))
		class := fault.LegDown
		if code == "microsoft_not_asked" {
			class = fault.Transient
		}
		wants(t, err, class, code, "")
	}
}

func TestAShutdownIsNotMicrosoftsFault(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	server.onToken(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	ctx, seen := leg.Watch(ctx)
	err := redeem(ctx, server.client(t))
	wants(t, err, fault.Transient, "microsoft_interrupted", "")
	if fault.Of(err).Outage || seen.Failed() || seen.Answered() {
		t.Error("a shutdown says something about Microsoft")
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := newFake(t)
		server.onToken(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/organizations/oauth2/v2.0/token", status)
		})
		wants(t, redeem(t.Context(), server.client(t)), fault.LegDown, "microsoft_redirect", "")
		if server.hits.Load() != 1 {
			t.Errorf("%d: followed", status)
		}
	}
}

func TestTooManyRequestsWaitsAsAsked(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for header, want := range map[string]time.Duration{
		"7":                   7 * time.Second,
		"0":                   time.Second,
		"":                    time.Minute,
		"-5":                  time.Minute,
		"soon":                time.Minute,
		"315360000":           10 * time.Minute,
		"9999999999999999999": 10 * time.Minute,
		clock().Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		clock().Add(-time.Hour).Format(http.TimeFormat):       time.Second,
		clock().AddDate(10, 0, 0).Format(http.TimeFormat):     10 * time.Minute,
	} {
		server.onToken(answerText(429, "Too Many Requests", "Retry-After", header, "Content-Type", "text/plain"))
		if f := wants(t, redeem(t.Context(), client), fault.RetryAfter, "microsoft_429", ""); f.After != want {
			t.Errorf("Retry-After %q: wait %s, want %s", header, f.After, want)
		}
	}
	server.onToken(answerText(429, `{"error":"invalid_grant","error_codes":[50196]}`))
	if f := wants(t, redeem(t.Context(), client), fault.RetryAfter, "AADSTS50196", ""); f.After != 5*time.Minute {
		t.Errorf("wait %s", f.After)
	}
	server.onToken(answerText(503, "", "Retry-After", "33"))
	if f := wants(t, redeem(t.Context(), client), fault.Transient, "microsoft_5xx", ""); f.After != 33*time.Second {
		t.Errorf("wait %s", f.After)
	}
}

func TestAnUnknownAppHoldsItsLeg(t *testing.T) {
	t.Parallel()
	client := newFake(t).client(t)
	_, err := client.Redeem(t.Context(), "other", consent())
	wants(t, err, fault.LegDown, "app_unknown", "")
	_, err = client.Refresh(t.Context(), "other", mailbox.Tokens{})
	wants(t, err, fault.LegDown, "app_unknown", "")
	_, err = client.Prove(t.Context(), "other", mailbox.Tokens{}, address)
	wants(t, err, fault.LegDown, "app_unknown", "")
}

func TestManyCallsAtOnceShareThePool(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	failures := make(chan error)
	const calls = 64
	for range calls {
		go func() { failures <- redeem(t.Context(), client) }()
	}
	for range calls {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	if got := server.hits.Load(); got != calls {
		t.Errorf("%d requests for %d codes", got, calls)
	}
	if transport := microsoft.Transport(); transport.Proxy != nil || transport.MaxIdleConnsPerHost < 256 {
		t.Error(fmt.Sprint("pool ", transport.MaxIdleConnsPerHost, " or a proxy from the environment"))
	}
}
