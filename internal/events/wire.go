package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
	if err := decodeStrict(data, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	if e.Version > Version {
		return Event{}, fmt.Errorf("decode event of version %d: %w", e.Version, ErrNewer)
	}
	if err := e.check(); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// decodeStrict refuses bad UTF-8 (which encoding/json would replace), anything but an object, and trailing data.
func decodeStrict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(trimmed))
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON object")
	}
	return nil
}

func (e Event) check() error {
	switch {
	case e.Version < 1:
		return errors.New("field v: missing")
	case e.Kind.Lane() == "":
		return errors.New("field kind: unknown")
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
	case e.At.IsZero():
		return errors.New("field at: missing")
	case e.Kind == CodeReceived && len(e.Sealed) == 0:
		return errors.New("field sealed: a code event without its code")
	case !e.Deadline.IsZero() && e.Deadline.Before(e.At):
		return errors.New("field deadline: before field at")
	}
	return nil
}

// maxToken bounds ids and names, so that a subject stays far below the server's limit.
const maxToken = 64

// IsToken tells whether s may stand as one token of a subject: lower-case letters, digits, "-" and "_".
// Wildcards, dots, blanks and every non-ASCII letter are refused, because a subject is an address.
func IsToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}
