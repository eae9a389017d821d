package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNewer is returned for an event of a version that this build cannot read yet: during a rolling upgrade
// another replica can, so the message must be left for it, not buried.
var ErrNewer = errors.New("event is of a newer version than this build reads")

// Encode returns the wire form of e.
func Encode(e Event) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return data, nil
}

// Decode reads the wire form. It refuses what a correct producer cannot have written; unknown fields are
// accepted, since a newer producer may add them.
func Decode(data []byte) (Event, error) {
	var e Event
	if err := DecodeStrict(data, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	if e.Version > e.Kind.version() {
		return Event{}, fmt.Errorf("decode event of version %d: %w", e.Version, ErrNewer)
	}
	if err := e.check(); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

const (
	// mostTries is more than any version has ever kept of an event's history.
	mostTries = 64
	// mostFailed is more failures than any policy allows.
	mostFailed = 1 << 20
)

// dawn is before every event: a time before it comes from a clock that was never set.
func dawn() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (e Event) check() error {
	switch {
	case e.Version < 1:
		return errors.New("field v: missing")
	case e.Kind.Lane() == "":
		return errors.New("field kind: unknown")
	case e.At.Before(dawn()):
		return errors.New("field at: missing, or from a clock that was never set")
	case e.Kind == CodeReceived && len(e.Sealed) == 0:
		return errors.New("field sealed: a code event without its code")
	case !e.Deadline.IsZero() && e.Deadline.Before(e.At):
		return errors.New("field deadline: before field at")
	case e.Failed < 0 || e.Failed > mostFailed:
		return errors.New("field failed: no number of failures")
	case len(e.Tries) > mostTries:
		return errors.New("field tries: too long a history")
	}
	return e.checkIDs()
}

func (e Event) checkIDs() error {
	switch {
	case !IsToken(e.ID):
		return errors.New("field id: not an id")
	case !IsToken(e.Mailbox):
		return errors.New("field mailbox: not an id")
	case !IsToken(e.App):
		return errors.New("field app: not a name")
	case !IsToken(e.Account):
		return errors.New("field account: not a name")
	case e.Campaign != "" && !IsToken(e.Campaign):
		return errors.New("field campaign: not an id")
	case e.Attempt == "" && e.Kind == CodeReceived:
		return errors.New("field attempt: a code event without its attempt")
	case e.Attempt != "" && !isID(e.Attempt):
		return errors.New("field attempt: not an id")
	case e.Proof != nil && (!isID(e.Proof.TenantID) || !isID(e.Proof.ObjectID)):
		return errors.New("field proof: no ids of Microsoft's")
	}
	return e.checkDecision()
}

// ClockSkew is how far two machines' clocks may differ.
const ClockSkew = 15 * time.Minute

// Ahead reports whether e claims to have happened later than now, by more than clocks may differ.
func (e Event) Ahead(now time.Time) bool {
	latest := now.Add(ClockSkew)
	return e.At.After(latest) || e.Renewed.After(latest)
}

// maxToken bounds ids and names, so that a subject stays far below the server's limit.
const maxToken = 64

// IsToken reports whether s may stand as one token of a subject: lower-case letters, digits, "-" and "_".
// Wildcards, dots, blanks and every non-ASCII letter are refused, because a subject is an address.
func IsToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// isID is IsToken for what never stands in a subject: ids that others make may have capitals.
func isID(s string) bool {
	return IsToken(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s))
}
