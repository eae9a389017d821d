package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// DeadLetter is an event that will not be tried again by itself, with all that an operator needs to judge it.
// It holds the original event, sealed payload included; it never holds anything readable that was sealed before.
type DeadLetter struct {
	Seq      uint64          `json:"-"` // its sequence in the stream of dead letters: the id that operators use
	Version  int             `json:"v"`
	Event    json.RawMessage `json:"event"`             // the wire form as it was delivered
	Mailbox  string          `json:"mailbox,omitempty"` // empty when the event could not be decoded
	App      string          `json:"app,omitempty"`
	Account  string          `json:"account,omitempty"`
	Campaign string          `json:"campaign,omitempty"`
	Stage    Lane            `json:"stage"`
	Subject  string          `json:"subject"` // where it was delivered from
	Class    string          `json:"class"`
	Code     string          `json:"code"`
	Cause    string          `json:"cause"`
	Remedy   string          `json:"remedy"`
	Forecast string          `json:"forecast"`
	Tries    []Try           `json:"tries"` // every failure, the last one included
	DiedAt   time.Time       `json:"died_at"`
	Trace    string          `json:"trace,omitempty"` // W3C traceparent of the delivery
}

// EncodeDeadLetter returns the wire form of d.
func EncodeDeadLetter(d DeadLetter) ([]byte, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	return data, nil
}

// DecodeDeadLetter reads the wire form of a dead letter.
func DecodeDeadLetter(data []byte) (DeadLetter, error) {
	var d DeadLetter
	if err := decodeStrict(data, &d); err != nil {
		return DeadLetter{}, fmt.Errorf("decode dead letter: %w", err)
	}
	if d.Version > Version {
		return DeadLetter{}, fmt.Errorf("decode dead letter of version %d: %w", d.Version, ErrNewer)
	}
	if d.Version < 1 || d.Stage == "" {
		return DeadLetter{}, fmt.Errorf("decode dead letter: field v or stage is missing")
	}
	return d, nil
}
