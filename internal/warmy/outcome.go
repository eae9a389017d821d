package warmy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// breaks tells whether a fault speaks of the health of Warmy as a whole: only 5xx, time-outs and connection errors may
// open a breaker. A refused mailbox says nothing about the next one.
func breaks(code string) bool {
	switch code {
	case "warmy_5xx", "warmy_timeout", "warmy_connection_lost", "warmy_unreachable":
		return true
	}
	return false
}

// failed classifies an answer that is not a success; nil for a success that came whole. With a POST, whatever may
// have taken effect is Unclear.
func failed(a answer, now time.Time) *fault.Fault {
	f := outcome(a, now)
	if f != nil {
		f.Outage = breaks(f.Code)
	}
	return f
}

func outcome(a answer, now time.Time) *fault.Fault {
	switch {
	case a.status == 0 && !a.sent:
		return unsent(a.err)
	case a.status == 0:
		return lost(a)
	case a.status >= 200 && a.status < 300:
		return torn(a)
	case a.status >= 500:
		return unclear("warmy_5xx", fmt.Sprintf("Warmy answered %d", a.status))
	case a.status == http.StatusRequestTimeout, a.status == 499: // it may be our own line that was slow: no failure of Warmy's, and no sign of health
		return unclear(codeSlow, fmt.Sprintf("Warmy answered %d", a.status))
	case a.status == http.StatusTooManyRequests:
		return &fault.Fault{
			Class: fault.RetryAfter, Code: "warmy_429", Forecast: fault.ByTime, After: retryAfter(a.header, now),
			Cause: "Warmy's limit of calls per minute is reached", Remedy: "none: it waits; lower calls_per_minute if others use the account too",
		}
	}
	return refused(a)
}

// codeSlow is the code of a request that took too long for a server to wait for its end.
const codeSlow = "warmy_4xx_timeout"

// lost is a call whose connection broke after a byte had left.
func lost(a answer) *fault.Fault {
	switch {
	case errors.Is(a.err, context.Canceled):
		return interrupted()
	case isTimeout(a.err):
		return unclear("warmy_timeout", "no answer came within the deadline")
	}
	return unclear("warmy_connection_lost", "the connection broke before an answer came")
}

// torn is an answer whose body did not come whole; nil if it did.
func torn(a answer) *fault.Fault {
	switch {
	case a.whole():
		return nil
	case a.large:
		return unclear("warmy_unreadable", "the answer is longer than any answer of Warmy")
	case errors.Is(a.err, context.Canceled):
		return interrupted()
	case isTimeout(a.err):
		return unclear("warmy_timeout", "the answer did not end within the deadline")
	}
	return unclear("warmy_connection_lost", "the connection broke in the middle of the answer")
}

// interrupted is a call that our own shutdown cut off. It says nothing about Warmy's health.
func interrupted() *fault.Fault {
	f := unclear("warmy_interrupted", "this worker was shut down in the middle of the call")
	f.Err = context.Canceled
	return f
}

func unclear(code, cause string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Unclear, Code: code, Forecast: fault.ByTime, Cause: cause,
		Remedy: "none: Warmy's listing settles whether the mailbox exists",
	}
}

// refused classifies a 3xx or 4xx.
func refused(a answer) *fault.Fault {
	switch a.status {
	case http.StatusConflict:
		return taken()
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if !a.whole() { // the words that are missing may be those that count
			return torn(a)
		}
		words := complaints(a.body)
		switch f := words.verdict(); {
		case f != nil:
			return f
		case a.status == http.StatusBadRequest:
			return permanent("warmy_400_credentials", "Warmy could not use the mailbox's tokens",
				"check that the app is multi-tenant, its client secret current and its permissions complete, then replay", fault.ByConfig)
		}
		return permanent("warmy_422", "Warmy refused "+words.field(), "correct the setting in the campaign, then import the row again or replay", fault.ByConfig)
	case http.StatusRequestEntityTooLarge, http.StatusUnavailableForLegalReasons:
		return permanent(fmt.Sprintf("warmy_%d", a.status), fmt.Sprintf("Warmy refused the mailbox with %d", a.status), "ask Warmy's support", fault.Never)
	}
	return byStatus(a.status)
}

// verdict is what a refusal's words say that its status does not: nil if they say nothing known.
func (c complaint) verdict() *fault.Fault {
	switch {
	case c.say(takenPhrases()):
		return taken()
	case c.say(planPhrases()):
		return down("warmy_plan_limit", "the account's plan has no room for another mailbox", "raise the plan's limit at Warmy, or free seats; then release the leg")
	}
	return nil
}

// byStatus is a status that says something about the account or the API, not about a mailbox.
func byStatus(status int) *fault.Fault {
	switch {
	case status == http.StatusUnauthorized:
		return down("warmy_401", "Warmy does not accept the account's credentials", "put a valid API key into api_key_file (Workspace > Settings > API Keys)")
	case status == http.StatusPaymentRequired:
		return down("warmy_402", "Warmy wants to be paid first", "settle the account's plan at Warmy, then release the leg")
	case status == http.StatusForbidden:
		return down("warmy_403", "the account may not do this at Warmy, or something in between blocks the call", "check holder_uid and the API key's permissions; look for a challenge page")
	case status < http.StatusBadRequest:
		return down("warmy_redirect", "Warmy's address answers with a redirect, which is not followed: it would carry the tokens along", "set base_url to the address that Warmy documents")
	}
	return down("warmy_api_changed", fmt.Sprintf("Warmy answered %d: the API is not where it is documented", status), "check base_url; look for a new version of Kindling")
}

func down(code, cause, remedy string) *fault.Fault {
	return &fault.Fault{Class: fault.LegDown, Code: code, Cause: cause, Remedy: remedy, Forecast: fault.ByConfig}
}

func permanent(code, cause, remedy string, forecast fault.Forecast) *fault.Fault {
	return &fault.Fault{Class: fault.Permanent, Code: code, Cause: cause, Remedy: remedy, Forecast: forecast}
}

// taken is an address that Warmy has already: the listing gives its id.
func taken() *fault.Fault {
	f := unclear(mailbox.CodeTaken, "Warmy has this address already")
	f.After = time.Second
	return f
}

// takenPhrases are Rails' words for a duplicate, and what clients have seen.
func takenPhrases() []string {
	return []string{"has already been taken", "already taken", "already exists", "already connected", "already been added"}
}

// planPhrases are words for a plan without room. [ASSUMPTION]: none is documented. They name the plan or its mailboxes, because
// a mailbox's own settings have limits, too (user_max_limit), and a refusal of one of those must not hold the account.
func planPhrases() []string {
	return []string{
		"plan limit", "limit of your plan", "limit for your plan", "plan's limit", "upgrade your plan", "subscription limit",
		"mailbox limit", "mailboxes limit", "limit of mailboxes", "maximum number of mailboxes", "seat limit",
	}
}

// complaint holds the texts of an error answer, lower case, for comparison only: they are not ours to show.
type complaint struct{ texts []string }

// complaints gathers the texts of every shape that Warmy's errors have: message, error (text or object), errors (list
// or object of lists); without any of them those of the whole document, or of what is no document at all.
func complaints(body []byte) complaint {
	var document any
	if json.Unmarshal(body, &document) != nil {
		return complaint{gather(nil, "", string(body[:min(len(body), maxPlain)]), 0)}
	}
	object, _ := document.(map[string]any)
	var texts []string
	for _, name := range []string{"message", "error", "errors"} {
		texts = gather(texts, "", object[name], 0)
	}
	if len(texts) == 0 {
		texts = gather(nil, "", document, 0)
	}
	return complaint{texts}
}

const (
	// maxDepth bounds how deep an error may be nested, maxTexts how many texts are looked at, and maxPlain how much of one
	// without a form; words beyond are not ours to know.
	maxDepth = 6
	maxTexts = 1000
	maxPlain = 4 << 10
)

// gather adds the texts in value, each with the names of the fields that it is under.
func gather(texts []string, path string, value any, depth int) []string {
	if depth > maxDepth || len(texts) >= maxTexts {
		return texts
	}
	switch v := value.(type) {
	case string:
		return append(texts, strings.ToLower(strings.TrimSpace(path+" "+v)))
	case []any:
		for _, item := range v {
			texts = gather(texts, path, item, depth+1)
		}
	case map[string]any:
		for key, item := range v {
			texts = gather(texts, path+" "+key, item, depth+1)
		}
	}
	return texts
}

func (c complaint) say(phrases []string) bool {
	return slices.ContainsFunc(c.texts, func(text string) bool {
		return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(text, phrase) })
	})
}

// field names what was refused, from a closed list.
func (c complaint) field() string {
	for _, field := range []string{
		"tariff_plan_type_id", "refresh_token", "access_token", "client_secret", "client_id", "provider", "from_name", "speed_mode", "email",
	} {
		if c.say([]string{field, strings.ReplaceAll(field, "_", " ")}) {
			return "the field " + field
		}
	}
	if c.say([]string{"tariff"}) {
		return "the field tariff_plan_type_id"
	}
	return "a field of the mailbox"
}
