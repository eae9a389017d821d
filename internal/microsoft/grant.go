package microsoft

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

const (
	leastLife  = time.Minute      // a shorter one would only cause a storm of refreshes
	mostLife   = 24 * time.Hour   // as long as Microsoft lets a policy set it
	unsaidLife = 10 * time.Minute // the least that Microsoft lets a policy set
)

// parseGrant reads an answer with a good status. It is as tolerant as can be: the code is spent, and refusing
// an odd answer would lose the consent.
func parseGrant(a *answer, from origin, now time.Time) (mailbox.Tokens, *fault.Fault) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(trimBOM(a.body), &fields); err != nil || fields == nil {
		return mailbox.Tokens{}, unreadable("microsoft")
	}
	if raw, failed := fields["error"]; failed && string(raw) != "null" && string(raw) != `""` {
		return mailbox.Tokens{}, refused(a, from, now) // with tokens beside it, too: the error wins
	}
	t := mailbox.Tokens{
		Access: secret.New(text(fields["access_token"])), Refresh: secret.New(text(fields["refresh_token"])),
		IDToken: secret.New(text(fields["id_token"])),
		Expiry:  now.Add(life(fields["expires_in"])).UTC(), Scope: strings.Fields(text(fields["scope"])),
	}
	if t.Access.Empty() {
		return mailbox.Tokens{}, incomplete("no_access_token", "the answer holds no access token",
			"send the owner the link again; look for a proxy in between")
	}
	if kind := text(fields["token_type"]); kind != "" && !strings.EqualFold(kind, "bearer") {
		return mailbox.Tokens{}, incomplete("token_type", "the access token is not a bearer token",
			"switch proof-of-possession tokens off for this app")
	}
	return t, nil
}

// life reads expires_in, which may be a number, a float or a text, and clamps it.
func life(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(string(raw), `"`)), 64)
	switch {
	case err != nil && !math.IsInf(seconds, 0) || math.IsNaN(seconds):
		return unsaidLife
	case seconds <= leastLife.Seconds():
		return leastLife
	case seconds >= mostLife.Seconds():
		return mostLife
	}
	return time.Duration(seconds * float64(time.Second))
}

// incomplete tells what a redeemed grant lacks; nil if nothing. An incomplete grant never gets to Warmy.
func (a App) incomplete(t mailbox.Tokens) *fault.Fault {
	if t.Refresh.Empty() {
		return incomplete("no_refresh_token", "the grant holds no refresh token, so Warmy could not keep it alive",
			"add offline_access to the app's API permissions in the Azure portal and grant admin consent (Kindling asks for it, spelled without a resource), then send the owner a new link")
	}
	if len(t.Scope) == 0 {
		return incomplete("no_scope", "the answer does not say what was granted", "send the owner the link again")
	}
	if absent := a.missing(t.Scope); len(absent) > 0 {
		return a.lacking(absent)
	}
	return nil
}

func incomplete(what, cause, remedy string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "incomplete_grant_" + what, Forecast: fault.ByPerson, Cause: cause, Remedy: remedy,
	}
}

// lacking names what was not granted. With .default that has a cause of its own: whoever consented to anything before is not
// asked, and gets what he granted then.
func (a App) lacking(absent []string) *fault.Fault {
	cause := "the grant lacks " + strings.Join(absent, ", ")
	if slices.ContainsFunc(a.scopes(), isDefault) {
		return incomplete("missing_scope", cause+": the app asks for .default, which gives only the old permissions to whoever consented to anything before",
			"name the permissions in the app's scopes instead of .default, or ask once more with edge.start_prompt: consent; then send the owner a new link")
	}
	return incomplete("missing_scope", cause,
		"add the permission in the Azure portal, grant admin consent there, then send the owner a new link")
}

// unreadable is a good status with an answer that is not Microsoft's. Whether the code was spent is not known.
func unreadable(who string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Transient, Code: who + "_unreadable", Forecast: fault.ByTime,
		Cause: "the answer cannot be read", Remedy: "none: it is tried again; look for a proxy in between if it lasts",
	}
}
