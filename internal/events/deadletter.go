package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
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

// Original returns the event of the letter. It is an error if there is none, or if it is not the one that the letter
// speaks of: a letter that was edited by hand must not send another mailbox's event on its way.
func (d DeadLetter) Original() (Event, error) {
	e, err := Decode(d.Payload())
	switch {
	case err != nil:
		return Event{}, err
	case e.Mailbox != d.Mailbox || e.App != d.App || e.Account != d.Account || !e.Agrees(d.Subject):
		return Event{}, errors.New("the dead letter and its event do not agree")
	}
	return e, nil
}

// rawBytes is the form in which a letter holds bytes that are no text.
type rawBytes struct {
	Base64 []byte `json:"base64"`
}

// Quote returns the bytes of a delivery as a letter holds them, all of them: an event as it is, other text as a JSON
// string, and what is no text, or would grow too long as a string, in base64.
func Quote(payload []byte) json.RawMessage {
	if _, err := Decode(payload); err == nil {
		return payload
	}
	quoted, err := json.Marshal(string(payload))
	if err != nil || !utf8.Valid(payload) || len(quoted) > 2*len(payload)+2 {
		return QuoteBytes(payload)
	}
	return quoted
}

// QuoteBytes is Quote in base64, whatever the bytes.
func QuoteBytes(payload []byte) json.RawMessage {
	data, err := json.Marshal(rawBytes{payload})
	if err != nil {
		return json.RawMessage("null") // bytes always encode
	}
	return data
}

// Payload returns the bytes that Quote was given; nil when the letter holds none.
func (d DeadLetter) Payload() []byte {
	var text string
	var raw rawBytes
	if _, err := Decode(d.Event); err == nil {
		return d.Event
	}
	switch {
	case len(d.Event) > 0 && d.Event[0] == '"' && json.Unmarshal(d.Event, &text) == nil:
		return []byte(text)
	case DecodeStrict(d.Event, &raw) == nil && raw.Base64 != nil:
		return raw.Base64
	case string(d.Event) == "null":
		return nil
	}
	return d.Event
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
	if err := DecodeStrict(data, &d); err != nil {
		return DeadLetter{}, fmt.Errorf("decode dead letter: %w", err)
	}
	if d.Version > Version {
		return DeadLetter{}, fmt.Errorf("decode dead letter of version %d: %w", d.Version, ErrNewer)
	}
	if d.Version < 1 || !IsToken(string(d.Stage)) {
		return DeadLetter{}, errors.New("decode dead letter: field v or stage is missing")
	}
	return d, nil
}
