package microsoft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// lane says which exchange an answer belongs to: the same refusal means different things for a code and for a
// refresh token.
type lane int

const (
	codeLane lane = iota
	refreshLane
)

// origin is what the classification needs to know about a request.
type origin struct {
	lane      lane
	ownTenant bool // the tenant is the mailbox's own, not the app's
	accepted  bool // a moment ago Microsoft gave tokens to the same app at the same address: the app itself is fine
}

// call names the request for whoever counts.
func (o origin) call() Call {
	if o.lane == refreshLane {
		return CallRefresh
	}
	return CallRedeem
}

// refusal is an error answer of the token endpoint (RFC 6749 § 5.2, and Microsoft's additions). Every field that may
// be odd is read leniently: an answer that cannot be read must still be classified.
type refusal struct {
	name        string // error
	sub         string // suberror
	codes       []int  // error_codes, then those that the description names
	trace       string
	correlation string
	unreadable  bool
}

// parseRefusal reads an error answer. The description is looked at for numbers only and kept nowhere: it can hold
// what was sent.
func parseRefusal(body []byte) refusal {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(trimBOM(body), &fields); err != nil {
		return refusal{unreadable: true}
	}
	r := refusal{
		name: text(fields["error"]), sub: text(fields["suberror"]), codes: numbers(fields["error_codes"]),
		trace: guid(text(fields["trace_id"])), correlation: guid(text(fields["correlation_id"])),
	}
	r.codes = append(r.codes, namedCodes(text(fields["error_description"]))...)
	return r
}

// trimBOM takes off a byte order mark, which encoding/json refuses.
func trimBOM(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) }

// text reads a JSON string; anything else is empty.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// numbers reads a list of numbers, one number, or either as text; anything else is empty.
func numbers(raw json.RawMessage) []int {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var found []int
	for _, item := range list {
		if n, err := strconv.Atoi(string(bytes.Trim(item, `"`))); err == nil && n > 0 {
			found = append(found, n)
		}
	}
	return found
}

// namedCodes finds the AADSTS numbers in a description.
func namedCodes(description string) []int {
	var found []int
	for _, match := range regexp.MustCompile(`AADSTS([0-9]{4,9})\b`).FindAllStringSubmatch(description, 8) {
		if n, err := strconv.Atoi(match[1]); err == nil {
			found = append(found, n)
		}
	}
	return found
}

// guid returns s if it is a GUID and "" if not: only so may an id of Microsoft's enter an error.
func guid(s string) string {
	if regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`).MatchString(s) {
		return s
	}
	return ""
}

// refused classifies an error answer: by status, then error and suberror; a known AADSTS number refines.
func refused(a *answer, from origin, now time.Time) *fault.Fault {
	r := parseRefusal(a.body)
	f := r.classify(a.status, from)
	if a.status == http.StatusTooManyRequests || a.header.Get("Retry-After") != "" && f.Class == fault.Transient {
		f.After = max(f.After, retryAfter(a.header, now, waitUnsaid))
	}
	f.Err = r.support(a.status)
	return f
}

// support gives Microsoft's support what it asks for, and nothing else of the answer.
func (r refusal) support(status int) error {
	return fmt.Errorf("status %d, correlation id %q, trace id %q", status, r.correlation, r.trace)
}

func (r refusal) classify(status int, from origin) *fault.Fault {
	if f := byStatus(status, "microsoft"); f != nil {
		if known, number, ok := r.known(); ok && f.Class == fault.RetryAfter && known.class == fault.RetryAfter {
			return known.fault(aadsts(number), from)
		}
		return f
	}
	base, code := r.base(status)
	known, number, ok := r.known()
	passing := base.class == fault.Transient || base.class == fault.RetryAfter
	if ok && (!passing || r.name == "" || known.actor == nobody) {
		known.dead = known.dead || r.neverAgain()
		return known.fault(aadsts(number), from)
	}
	f := base.fault(code, from)
	if len(r.codes) > 0 && !ok {
		f.Cause += fmt.Sprintf(" (AADSTS%d, which Kindling does not know)", r.codes[0])
	}
	return f
}

func aadsts(number int) string { return "AADSTS" + strconv.Itoa(number) }

// known returns the first row that one of the numbers has.
func (r refusal) known() (row, int, bool) {
	for _, number := range r.codes {
		if found, ok := lookup(number); ok {
			return found, number, true
		}
	}
	return row{}, 0, false
}

// byStatus classifies what the status alone decides; nil if the body has to be read.
func byStatus(status int, who string) *fault.Fault {
	f := &fault.Fault{Class: fault.Transient, Forecast: fault.ByTime, Remedy: "none: it is tried again"}
	switch {
	case status == http.StatusTooManyRequests:
		f.Class, f.Code, f.After = fault.RetryAfter, who+"_429", time.Second
		f.Cause, f.Remedy = "too many requests", "none: it waits as long as was asked; lower the pace if it comes back"
	case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout:
		f.Code, f.Cause = who+"_5xx", "a passing fault of Microsoft's service"
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		f.Class, f.Code, f.Forecast = fault.LegDown, who+"_redirect", fault.ByConfig
		f.Cause = "Microsoft's address answers with a redirect, which is not followed: it would carry the client secret along"
		f.Remedy = "check the app's cloud and whatever stands between Kindling and Microsoft"
	default:
		return nil
	}
	return f
}

// base is the default of an error, before an AADSTS number refines it.
func (r refusal) base(status int) (row, string) {
	switch r.name {
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_resource", "invalid_scope":
		return row{
			class: fault.LegDown, actor: operator, cause: "Microsoft does not accept this app",
			remedy: "check client id, client secret, tenant and scopes of the app",
		}, r.name
	case "invalid_request":
		return row{
			class: fault.Permanent, actor: operator, cause: "Microsoft calls the request malformed",
			remedy: "check the app's settings; if they are right, report a defect of Kindling",
		}, r.name
	case "invalid_grant":
		return r.bySuberror(), r.name
	case "interaction_required", "consent_required", "login_required", "access_denied":
		return row{
			class: fault.NeedsConsent, reason: mailbox.SignInFailed, actor: owner,
			cause: "Microsoft wants to see the owner", remedy: "send the owner the link again",
		}, r.name
	case "temporarily_unavailable":
		return row{
			class: fault.RetryAfter, after: waitUnsaid, actor: nobody, cause: "Microsoft is overloaded",
			remedy: "none: it is tried again",
		}, r.name
	case "server_error":
		return row{
			class: fault.Transient, actor: nobody, cause: "a passing fault of Microsoft's service",
			remedy: "none: it is tried again",
		}, r.name
	}
	return unknown(r, status), "microsoft_unknown_error"
}

// unknown is an answer of no known kind. It is tried again until its budget is spent.
func unknown(r refusal, status int) row {
	cause := fmt.Sprintf("Microsoft answered %d with an error that Kindling does not know", status)
	if r.unreadable {
		cause = fmt.Sprintf("something answered %d, but not as Microsoft does", status)
	}
	return row{
		class: fault.Transient, actor: nobody, cause: cause,
		remedy: "look for a proxy in between; report the correlation id to Microsoft's support if it lasts",
	}
}

// bySuberror refines invalid_grant (MSAL's MsalError names the values).
func (r refusal) bySuberror() row {
	switch r.sub {
	case "message_only", "additional_action", "protection_policy_required", "client_mismatch", "device_authentication_failed":
		return row{
			class: fault.NeedsConsent, reason: mailbox.AdminRequired, actor: admin,
			cause: "the tenant's policy refuses the grant", remedy: "ask the tenant's admin to allow the app, then send a new link",
		}
	case "basic_action", "user_password_expired", "consent_required":
		return row{
			class: fault.NeedsConsent, reason: mailbox.SignInFailed, actor: owner,
			cause: "Microsoft wants to see the owner", remedy: "send the owner the link again",
		}
	}
	return row{
		class: fault.NeedsConsent, reason: mailbox.CodeExpired, actor: owner, dead: r.neverAgain(),
		cause: "the code or grant is not valid any more", remedy: "send the owner the link again",
	}
}

// neverAgain reports whether the suberror says that this refresh token is dead. invalid_grant alone does not: it also stands
// for policies, which pass.
func (r refusal) neverAgain() bool { return r.sub == "bad_token" || r.sub == "token_expired" }

// fault turns a row into the fault that it is for this request.
func (r row) fault(code string, from origin) *fault.Fault {
	f := &fault.Fault{
		Class: r.class, Code: code, Cause: r.cause, Remedy: r.remedy, Forecast: r.forecast(), Reason: r.reason, After: r.after,
	}
	if r.class == fault.NeedsConsent && from.lane == refreshLane {
		f.Reason = r.refreshReason()
	}
	if r.class == fault.LegDown && r.local && (from.ownTenant || from.accepted) {
		f.Class = fault.Permanent
	}
	return f
}

// refreshReason is the reason on the refresh lane. Tokens are destroyed for "revoked" and kept for any other: whoever
// says it must be sure.
func (r row) refreshReason() string {
	switch {
	case r.dead:
		return mailbox.Revoked
	case r.reason == mailbox.CodeExpired:
		return mailbox.SignInFailed
	}
	return r.reason
}
