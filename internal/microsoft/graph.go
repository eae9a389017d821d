package microsoft

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// profile is what Graph says about the account whose token asks.
type profile struct {
	ID      string   `json:"id"`
	Mail    string   `json:"mail"` // null for personal accounts
	UPN     string   `json:"userPrincipalName"`
	Proxies []string `json:"proxyAddresses"` // "SMTP:" the primary one, "smtp:" the aliases
}

// me asks Graph, or the provider that stands in for it, whose token this is.
func (c *Client) me(ctx context.Context, app App, t mailbox.Tokens) (profile, error) {
	address, parse := strings.TrimRight(app.GraphURL, "/")+"/v1.0/me?$select=id,mail,userPrincipalName,proxyAddresses", parseProfile
	if app.OpenID != nil {
		address, parse = app.OpenID.UserInfoURL, app.OpenID.parseUserInfo
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return profile{}, fmt.Errorf("address of Graph: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+t.Access.Reveal())
	req.Header.Set("Accept", "application/json")
	got, began := &answer{}, time.Now()
	resp, err := httpClient(recorder{base: c.transport, got: got}).Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	p, f := c.readProfile(ctx, got, parse)
	c.observer.Answered(CallMe, outcomeOf(f), time.Since(began))
	if f != nil {
		return profile{}, f
	}
	return p, nil
}

func (c *Client) readProfile(ctx context.Context, got *answer, parse func([]byte) (profile, *fault.Fault)) (profile, *fault.Fault) {
	if f := got.broken(ctx, "graph"); f != nil && !got.failed() {
		f.Class = fault.Transient // the leg is the token endpoint's: codes must not wait because Graph is away
		return profile{}, judged(f)
	}
	if f := graphRefused(got, c.now()); f != nil {
		return profile{}, judged(f)
	}
	return parse(got.body)
}

func parseProfile(body []byte) (profile, *fault.Fault) {
	var p profile
	if err := json.Unmarshal(trimBOM(body), &p); err != nil || p.ID == "" {
		return profile{}, unreadable("graph")
	}
	return p, nil
}

// graphRefused classifies an answer of Graph by its status; nil if it is good.
func graphRefused(a *answer, now time.Time) *fault.Fault {
	if f := byStatus(a.status, "graph"); f != nil {
		if f.Class == fault.RetryAfter || a.header.Get("Retry-After") != "" {
			f.After = retryAfter(a.header, now, waitUnsaid)
		}
		return f
	}
	f := &fault.Fault{Class: fault.Permanent, Forecast: fault.ByPerson}
	switch a.status {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		f.Code, f.Cause = "graph_401", "Graph does not accept the access token"
		f.Remedy = "check that the app asks for User.Read of Graph (not of outlook.office.com), then send the owner a new link"
	case http.StatusForbidden:
		f.Code, f.Cause = "graph_403", "Graph does not let the token read its own profile"
		f.Remedy = "add User.Read to the app's API permissions, let an admin consent, then send the owner a new link"
	case http.StatusNotFound:
		f.Code, f.Cause = "graph_404", "Graph knows no account behind the token"
		f.Remedy = "ask the tenant's admin whether the account still exists, then send a new link"
	default:
		f.Class, f.Code, f.Forecast = fault.Transient, "graph_unknown_error", fault.ByTime
		f.Cause, f.Remedy = fmt.Sprintf("Graph answered %d", a.status), "none: it is tried again"
	}
	return f
}

// match compares the account that consented, as proven, with the one that was invited; nil if they are the same. A fault
// is stored readably, so it holds addresses masked; the account beside it is sealed.
func (p profile) match(proof events.Proof, address string) error {
	if !sameObject(proof.ObjectID, p.ID) {
		return mismatch("the id_token and Graph speak of two different accounts", "send the owner a new link; look into it if it happens twice")
	}
	invited := foldASCII(address)
	switch {
	case p.guest():
	case invited != "" && (foldASCII(p.Mail) == invited || foldASCII(p.UPN) == invited):
		return nil
	}
	other := p.account(proof, p.alias(invited))
	return &handlers.MismatchError{Fault: p.stranger(address, other.Alias), Account: other}
}

func (p profile) account(proof events.Proof, alias bool) mailbox.Account {
	return mailbox.Account{Proof: proof, Address: secret.New(p.address()), Alias: alias}
}

// stranger words who consented where address was invited.
func (p profile) stranger(address string, alias bool) *fault.Fault {
	switch {
	case p.guest():
		return mismatch("the account that consented for "+mask(address)+" is a guest of the tenant that it signed in to, and has no mailbox there",
			"leave the tenant of this mailbox out, or name the one that the account belongs to; then send the owner the link again")
	case alias:
		f := mismatch(fmt.Sprintf("the invited address %s is an alias of %s, which consented", mask(address), mask(p.address())),
			"if this is the right mailbox, accept the alias and send the owner the link again; or import its main address")
		f.Code = handlers.CodeAlias
		return f
	}
	return mismatch(fmt.Sprintf("%s was invited, but %s consented", mask(address), mask(p.address())),
		"send the owner the link again and ask them to choose the invited account")
}

// address is what the account is called: its main address, or the name that it signs in with.
func (p profile) address() string {
	if p.Mail != "" {
		return p.Mail
	}
	return p.UPN
}

// guest reports whether the account is at home in another tenant. Its mail is then that of its home, which its tokens do
// not open.
func (p profile) guest() bool { return strings.Contains(foldASCII(p.UPN), "#ext#") }

// alias reports whether invited is one of the account's further addresses.
func (p profile) alias(invited string) bool {
	return !p.guest() && invited != "" && slices.ContainsFunc(p.Proxies, func(proxy string) bool { return foldASCII(proxy) == "smtp:"+invited })
}

// sameObject compares an oid with Graph's id. For personal accounts Graph shortens the oid to its last 16 digits.
func sameObject(oid, id string) bool {
	oid, id = strings.ToLower(oid), strings.ToLower(id)
	short := strings.ReplaceAll(oid, "-", "")
	return oid == id || len(id) == 16 && strings.HasPrefix(short, "0000000000000000") && strings.HasSuffix(short, id)
}

// foldASCII lowers ASCII letters alone: Unicode folding would take other letters for these.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// mask shows the first letter and the domain of an address. What does not look like one is hidden wholly.
func mask(address string) string {
	const hidden = "•••"
	local, domain, ok := strings.Cut(foldASCII(address), "@")
	if !ok || local == "" || len(domain) > 253 || !isTenant(domain) {
		return hidden
	}
	first := local[:1]
	if first < "a" || first > "z" {
		first = ""
	}
	return first + hidden + "@" + domain
}
