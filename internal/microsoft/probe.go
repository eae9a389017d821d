package microsoft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"kindling/internal/fault"
	"kindling/internal/secret"
)

// What a probe sends in place of an owner's code and of a client secret. Nobody was ever given them.
const (
	madeUpCode     = "kindling-doctor-sends-no-code"
	madeUpVerifier = "kindling-doctor-sends-no-verifier-that-anyone-kept"
	madeUpSecret   = "kindling-doctor-sends-no-secret"
)

// probeDeadline bounds one question of a Prober. It is shorter than a code's: somebody is looking on.
const probeDeadline = 8 * time.Second

// Prober finds out what Microsoft thinks of an app, without an owner. It sends no code but a made-up one, so nothing
// can come of it; it follows no redirect, and says nothing of an answer but in our own words.
type Prober struct {
	Transport http.RoundTripper // nil: Transport()
	Timeout   time.Duration     // of one question; 0: 8 s
	Now       func() time.Time  // nil: time.Now

	certificate *Certificate // signs what is sent for clientID; nil: nothing is signed
	clientID    string
	standIn     bool // another provider than Microsoft answers, without Microsoft's numbers
}

// Verdict is what came of one question.
type Verdict struct {
	Fault   *fault.Fault // nil: what was asked about is right
	Foreign bool         // the answer is not one of Microsoft's, whatever it says; Fault is set, too
	Refused bool         // the client secret or certificate was refused: another one may do better; Fault is set, too
	Clock   Clock
}

// Unreachable reports whether nothing was learned because nobody answered, or not now.
func (v Verdict) Unreachable() bool {
	f := v.Fault
	if f == nil || v.Foreign || f.Code == "microsoft_unknown_error" {
		return false
	}
	return f.Outage || f.Class == fault.Transient || f.Class == fault.RetryAfter
}

// Clock is what an answer tells of the time.
type Clock struct {
	Server      time.Time // of the Date header, cut to the second; zero: there was none
	Sent, Heard time.Time // by this machine's clock
}

// Known reports whether the answer told the time.
func (c Clock) Known() bool { return !c.Server.IsZero() }

// Offset is by how much this machine's clock is certainly ahead (or, below zero, behind). A slow answer and the
// missing fraction of a second make it smaller, never larger.
func (c Clock) Offset() time.Duration {
	least, most := c.Sent.Sub(c.Server.Add(time.Second)), c.Heard.Sub(c.Server)
	switch {
	case least > 0:
		return least
	case most < 0:
		return most
	}
	return 0
}

// Secret asks the app's token endpoint, at a tenant, for the tokens of a made-up code. The refusal of the code alone
// means that app, tenant and client secret are right; so a Verdict without a Fault says that they are, if Microsoft
// looks at the client before the code (RFC 6749 § 4.1.3). Control reports whether it does.
func (p Prober) Secret(ctx context.Context, app App, tenant string, clientSecret secret.Text) Verdict {
	tenant = app.tenant(tenant)
	if !isTenant(tenant) {
		return Verdict{Fault: badTenant()}
	}
	p.standIn = app.OpenID != nil
	return p.ask(ctx, p.judgeCode, func(ctx context.Context) error {
		_, err := app.oauth(tenant, app.RedirectURI, clientSecret).Exchange(ctx, madeUpCode, oauth2.VerifierOption(madeUpVerifier))
		return err // never shown: it can hold the answer
	})
}

// Control asks as Secret does, with a client secret that is certainly wrong. If it is not refused for that, Secret
// tells nothing about secrets.
func (p Prober) Control(ctx context.Context, app App) Verdict {
	return p.Secret(ctx, app, "", secret.New(madeUpSecret))
}

// Certificate asks as Secret does, with a certificate in place of a secret.
func (p Prober) Certificate(ctx context.Context, app App, certificate *Certificate) Verdict {
	p.certificate, p.clientID = certificate, app.ClientID
	return p.Secret(ctx, app, "", secret.Text{})
}

// Directory is what Microsoft's discovery document says of a tenant.
type Directory struct {
	TenantID string // a GUID; empty at a shared address
	Cloud    string // public, usgov or china; empty: not said
}

// Tenant asks whether the app's tenant exists, and what it is.
func (p Prober) Tenant(ctx context.Context, app App) (Directory, Verdict) {
	if !isTenant(app.Tenant) {
		return Directory{}, Verdict{Fault: badTenant()}
	}
	var found Directory
	judge := func(ctx context.Context, got *answer) Verdict {
		var v Verdict
		found, v = p.judgeDocument(ctx, got)
		return v
	}
	v := p.ask(ctx, judge, func(ctx context.Context) error {
		return get(ctx, app.authority(app.Tenant)+"/v2.0/.well-known/openid-configuration")
	})
	return found, v
}

// get makes a request with the client in ctx.
func get(ctx context.Context, address string) error {
	client, ok := ctx.Value(oauth2.HTTPClient).(*http.Client)
	if !ok {
		return errors.New("no client to ask with")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("discovery document: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("discovery document: %w", err)
	}
	return resp.Body.Close()
}

// ask makes one request and judges its answer.
func (p Prober) ask(ctx context.Context, judge func(context.Context, *answer) Verdict, call func(context.Context) error) Verdict {
	transport, limit := p.Transport, p.Timeout
	if transport == nil {
		own := Transport()
		defer own.CloseIdleConnections()
		transport = own
	}
	if limit <= 0 {
		limit = probeDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got := &answer{}
	clock := Clock{Sent: p.now()}
	err := call(context.WithValue(ctx, oauth2.HTTPClient, httpClient(p.path(recorder{base: transport, got: got}))))
	clock.Heard = p.now()
	if got.status == 0 && got.err == nil {
		return Verdict{Fault: &fault.Fault{
			Class: fault.Permanent, Code: "microsoft_not_asked", Forecast: fault.ByConfig, Err: fmt.Errorf("no request was made: %T", err),
			Cause: "no request could be made of the app's settings", Remedy: "check cloud and tenant of the app",
		}}
	}
	v := judge(ctx, got)
	if server, err := http.ParseTime(got.header.Get("Date")); err == nil && got.header.Get("Age") == "" {
		clock.Server = server
		v.Clock = clock
	}
	return v
}

// path is what a request goes through.
func (p Prober) path(end recorder) http.RoundTripper {
	if p.certificate == nil {
		return end
	}
	return asserting{base: end, certificate: p.certificate, clientID: p.clientID, now: p.now}
}

func (p Prober) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// judgeCode reads the answer to a made-up code. Error comes before number: the text of a refused code has named
// AADSTS70002 before AADSTS70000.
func (p Prober) judgeCode(ctx context.Context, got *answer) Verdict {
	if v, done := p.judgeTransport(ctx, got); done {
		return v
	}
	r := parseRefusal(got.body)
	known, _, ok := r.known()
	switch {
	case !got.failed(), p.standIn && (r.unreadable || r.name == ""), !p.standIn && !r.vouched():
		return foreign()
	case r.name == "invalid_grant" && (!ok || known.actor != nobody):
		return Verdict{}
	case r.name == "invalid_request" && ok && known.class == fault.NeedsConsent:
		return Verdict{} // a malformed code was also seen under this name
	}
	return Verdict{Fault: judged(refused(got, origin{lane: codeLane}, p.now())), Refused: clientRefused(got)}
}

// judgeTransport reads what does not depend on the body.
func (p Prober) judgeTransport(ctx context.Context, got *answer) (v Verdict, done bool) {
	if byStatus(got.status, "microsoft") != nil {
		return Verdict{Fault: judged(refused(got, origin{lane: codeLane}, p.now()))}, true
	}
	if got.large {
		return foreign(), true
	}
	if f := got.broken(ctx, "microsoft"); f != nil {
		return Verdict{Fault: judged(f)}, true
	}
	return Verdict{}, false
}

// vouched reports whether a refusal has what every refusal of Microsoft's token endpoint has.
func (r refusal) vouched() bool {
	return !r.unreadable && r.name != "" && len(r.codes) > 0 && (r.trace != "" || r.correlation != "")
}

func foreign() Verdict {
	return Verdict{Foreign: true, Fault: &fault.Fault{
		Class: fault.LegDown, Code: "microsoft_foreign", Forecast: fault.ByConfig,
		Cause:  "what answers there is not Microsoft's token service",
		Remedy: "look for a proxy or a name server in between, and at authority if it is set; no client secret should go there",
	}}
}

// judgeDocument reads a discovery document.
func (p Prober) judgeDocument(ctx context.Context, got *answer) (Directory, Verdict) {
	if v, done := p.judgeTransport(ctx, got); done {
		return Directory{}, v
	}
	if got.failed() {
		if r := parseRefusal(got.body); !r.vouched() {
			return Directory{}, foreign()
		}
		return Directory{}, Verdict{Fault: judged(refused(got, origin{lane: codeLane}, p.now()))}
	}
	var document struct {
		Issuer   string `json:"issuer"`
		Token    string `json:"token_endpoint"`
		Instance string `json:"cloud_instance_name"`
	}
	if json.Unmarshal(trimBOM(got.body), &document) != nil || document.Token == "" {
		return Directory{}, foreign()
	}
	issuer, err := url.Parse(document.Issuer)
	if err != nil || issuer.Host == "" || !strings.HasSuffix(issuer.Path, "/v2.0") {
		return Directory{}, foreign()
	}
	return Directory{
		TenantID: guid(strings.Trim(strings.TrimSuffix(issuer.Path, "/v2.0"), "/")), Cloud: cloudOf(document.Instance),
	}, Verdict{}
}

// cloudOf names the cloud that a tenant's document names as its own. The government's two clouds share their login.
func cloudOf(instance string) string {
	for _, name := range []string{"public", "usgov", "china"} {
		login, _, err := Cloud(name)
		if err == nil && instance != "" && strings.HasSuffix(login, "."+instance) {
			return name
		}
	}
	return ""
}
