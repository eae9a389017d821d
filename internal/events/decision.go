package events

import "errors"

// Decision is an operator's word about a POST of unknown outcome. It speaks of that one POST, and of no later one.
type Decision struct {
	WarmyID string `json:"warmy_id,omitempty"` // Warmy has the mailbox under this id; empty: the POST had no effect
	Posts   int    `json:"posts"`              // which POST of the attempt: the last of so many
	Forced  bool   `json:"forced,omitempty"`   // whatever Warmy's listing says
}

func (e Event) checkDecision() error {
	switch d := e.Decision; {
	case (d != nil) != (e.Kind == RegistrationDecided):
		return errors.New("field decision: it goes with " + string(RegistrationDecided) + " and with nothing else")
	case d == nil:
		return nil
	case d.WarmyID != "" && !isID(d.WarmyID):
		return errors.New("field decision: warmy_id is no id of Warmy's")
	case d.Posts < 0 || d.Posts > mostFailed:
		return errors.New("field decision: no number of POSTs")
	}
	return nil
}

// IsWarmyID reports whether s may be an id of Warmy's.
func IsWarmyID(s string) bool { return isID(s) }
