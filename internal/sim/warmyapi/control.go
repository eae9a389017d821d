package warmyapi

import (
	"encoding/json"
	"net/http"

	"kindling/internal/sim/trouble"
)

// The operations that a rule can be limited to.
const (
	OpSignIn = "sign_in"
	OpPlans  = "plans"
	OpCreate = "create"
	OpList   = "list"
	OpGet    = "get"
	OpDelete = "delete"
	OpState  = "update_state"
	OpTariff = "change_tariff_plan"
)

func ops() []string {
	return []string{OpSignIn, OpPlans, OpCreate, OpList, OpGet, OpDelete, OpState, OpTariff}
}

// FieldError is a POST refused with a 422 about one field.
func FieldError(field, text string) trouble.Rule {
	body, _ := json.Marshal(map[string]any{"errors": map[string][]string{field: {text}}}) //nolint:errchkjson // strings always marshal
	return answer(http.StatusUnprocessableEntity, string(body))
}

// BadCredentials is a POST refused because Warmy cannot use the tokens.
func BadCredentials() trouble.Rule {
	return answer(http.StatusBadRequest, `{"message":"Please recheck your credentials and try again"}`)
}

// SignedOut is a POST refused as by an unknown caller.
func SignedOut() trouble.Rule {
	return answer(http.StatusUnauthorized, `{"errors":["You need to sign in or sign up before continuing."]}`)
}

// WithoutID is a POST that takes effect, and whose answer does not say as what.
func WithoutID() trouble.Rule {
	rule := answer(http.StatusOK, `{"message":["ok"],"data":{"tariff_plan_type_id":41}}`)
	rule.Commit = true
	return rule
}

// LostAnswer is a POST that takes effect and then hangs until the client
// gives up.
func LostAnswer() trouble.Rule {
	return trouble.Rule{Kind: trouble.Hang, Op: OpCreate, Commit: true}
}

func answer(status int, body string) trouble.Rule {
	return trouble.Rule{Kind: trouble.Answer, Op: OpCreate, Status: status, Body: body}
}

// Apply changes what is in force; on an error nothing after the faulty part is
// changed.
func (s *Server) Apply(c trouble.Control) error { return trouble.Apply(s.troubles, &s.switches, c) }

// Turn replaces all switches.
func (s *Server) Turn(next Switches) { s.switches.Store(&next) }

// Switches returns the settings in force.
func (s *Server) Switches() Switches { return *s.switches.Load() }

// Fault appends rules.
func (s *Server) Fault(rules ...trouble.Rule) error { return s.troubles.Add(rules...) }

// ClearFaults removes all rules.
func (s *Server) ClearFaults() { _ = s.troubles.Set(nil) }

// serveLedger answers GET /_sim/ledger: the totals, and with ?address= what is
// known of one address, with ?mailboxes=all every mailbox.
func (s *Server) serveLedger(w http.ResponseWriter, r *http.Request) {
	out := map[string]any{"summary": s.Summary()}
	if address := r.URL.Query().Get("address"); address != "" {
		out["posts"], out["mailboxes"] = s.Posts(address), s.Mailboxes(address)
	}
	if r.URL.Query().Get("mailboxes") == "all" {
		out["mailboxes"] = s.Mailboxes("")
	}
	trouble.JSON(http.StatusOK, out).Write(w)
}
