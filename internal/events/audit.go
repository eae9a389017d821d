package events

import "time"

// AuditEntry is one line of the audit trail: who did what to what, and why. It is stored before the action takes
// effect; an action that cannot be audited is refused.
type AuditEntry struct {
	Version int       `json:"v"`
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`  // the operator's name, never a token
	Role    string    `json:"role"`   // viewer, operator or admin
	Action  string    `json:"action"` // such as "campaign.import" or "dead.replay"
	Target  string    `json:"target"` // an id, or the selection in words
	Count   int       `json:"count"`  // how many things it touches
	Reason  string    `json:"reason,omitempty"`
	Outcome string    `json:"outcome"` // "intent" before, "done" or "failed" after
	Request string    `json:"request"` // ties intent and outcome together
}
