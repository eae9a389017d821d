package microsoft

import (
	"context"
	"errors"
	"slices"
	"time"

	"kindling/internal/fault"
)

// Call is a kind of request to Microsoft.
type Call string

// The kinds of request.
const (
	CallRedeem  Call = "redeem"  // a code for tokens
	CallRefresh Call = "refresh" // a refresh token for tokens
	CallMe      Call = "me"      // Graph: whose tokens these are
	CallKeys    Call = "keys"    // the keys that id_tokens are signed with
)

// Calls lists every kind of request.
func Calls() []Call { return []Call{CallRedeem, CallRefresh, CallMe, CallKeys} }

// Outcome is what became of one request: a closed set, fit for a label.
type Outcome string

// The outcomes that are no fault class.
const (
	OutcomeOK          Outcome = "ok"
	OutcomeOutage      Outcome = "outage"      // Microsoft itself failed, was not reached, or did not answer in time
	OutcomeInterrupted Outcome = "interrupted" // our own shutdown cut it off
	OutcomeMixedUp     Outcome = "mixed_up"    // a verifier did not fit its code: attempts were mixed up, or a code slipped in
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	all := []Outcome{OutcomeOK, OutcomeOutage, OutcomeInterrupted, OutcomeMixedUp}
	for _, class := range fault.Classes() {
		if class != fault.Unclear { // nothing that Microsoft is asked has an effect that must not be repeated
			all = append(all, Outcome(class))
		}
	}
	return all
}

// Observer is told of every request and of every answer that the taxonomy does not know.
type Observer interface {
	// Answered counts one request, by what became of it and how long it took.
	Answered(call Call, outcome Outcome, took time.Duration)
	// Unknown counts an AADSTS number without a row, beside the error word that it came with (one of UnknownWords); 0 when
	// the word itself is unknown and no number was given. The number is Microsoft's: it is no label.
	Unknown(word string, number int)
}

// wordOther stands for every error word that is not in UnknownWords.
const wordOther = "other"

// UnknownWords is the closed set of error words under which unknown numbers are counted.
func UnknownWords() []string {
	return []string{
		"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_resource", "invalid_scope", "invalid_request",
		"invalid_grant", "interaction_required", "consent_required", "login_required", "access_denied", "temporarily_unavailable",
		"server_error", wordOther,
	}
}

// silent is the Observer of a Client that has none.
type silent struct{}

func (silent) Answered(Call, Outcome, time.Duration) {}
func (silent) Unknown(string, int)                   {}

// observe reports one request of the token endpoint.
func (c *Client) observe(call Call, got *answer, f *fault.Fault, took time.Duration) {
	outcome := outcomeOf(f)
	if f != nil && got.status != 0 && got.err == nil {
		r := parseRefusal(got.body)
		if known, _, ok := r.known(); ok && known.mixed {
			outcome = OutcomeMixedUp
		}
		if word, number, yes := r.unheardOf(); yes {
			c.observer.Unknown(word, number)
		}
	}
	c.observer.Answered(call, outcome, took)
}

// unheardOf tells what the taxonomy lacks: a row for any of the numbers or, without a number, the word itself. What is not
// an error answer of Microsoft's form lacks nothing.
func (r refusal) unheardOf() (word string, number int, yes bool) {
	word = r.name
	if !slices.Contains(UnknownWords(), word) {
		word = wordOther
	}
	if _, _, ok := r.known(); ok {
		return "", 0, false
	}
	if len(r.codes) > 0 {
		return word, r.codes[0], true
	}
	return word, 0, r.name != "" && word == wordOther
}

func outcomeOf(f *fault.Fault) Outcome {
	switch {
	case f == nil:
		return OutcomeOK
	case errors.Is(f.Err, context.Canceled):
		return OutcomeInterrupted
	case f.Outage:
		return OutcomeOutage
	}
	return Outcome(f.Class)
}
