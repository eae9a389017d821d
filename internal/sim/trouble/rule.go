// Package trouble plans what goes wrong at a simulated third party, and plays
// it on the wire.
//
// A Rule says which calls are hit and how; a Book holds the rules of one
// server and decides, call by call. The decision is a pure function of the
// seed, the rule's place, the address and how often that address called, so a
// run with the same seed meets the same trouble whatever the scheduling.
package trouble

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kind names what goes wrong. Kinds that are not listed here belong to one
// server, which names them in its own package.
type Kind string

// The kinds that every server plays.
const (
	// Answer replaces the answer by Status, Header and Body.
	Answer Kind = "answer"
	// Throttled answers 429 in plain text, with RetryAfter unless empty.
	Throttled Kind = "throttled"
	// ServerError answers 500 in JSON.
	ServerError Kind = "server_error"
	// BadGateway answers 502 with a proxy's HTML page.
	BadGateway Kind = "bad_gateway"
	// Reset tears the connection down (TCP RST) without an answer.
	Reset Kind = "reset"
	// Hang holds the call until the client gives up, or for Delay.
	Hang Kind = "hang"
	// Drip sends the answer one byte per Delay (default 1 s).
	Drip Kind = "drip"
	// Truncate announces the whole answer and sends half of it.
	Truncate Kind = "truncate"
	// Huge sends Size bytes (default 100 MiB) of well-formed nonsense.
	Huge Kind = "huge"
	// Bomb sends Size zero bytes, compressed with gzip.
	Bomb Kind = "gzip_bomb"
	// Redirect answers 307 (or Status) to Value, or to a trap on this server
	// whose visits the ledger counts: a client must never follow it.
	Redirect Kind = "redirect"
	// Delay lets the call through after Delay.
	Delay Kind = "delay"
	// Bend changes fields of the JSON answer, as Set and Drop say.
	Bend Kind = "bend"
)

// TrapPath is where Redirect leads to when a rule names no target.
const TrapPath = "/_sim/trap"

// Rule plans one trouble. The zero Rule is no trouble at all.
type Rule struct {
	Kind Kind `json:"kind"`

	// Op limits the rule to one operation of the server; empty means any.
	Op string `json:"op,omitempty"`
	// Address limits the rule to one mailbox, in any letter case; empty means any.
	Address string `json:"address,omitempty"`
	// After lets the first calls pass: of the address if PerAddress, else of all.
	After int `json:"after,omitempty"`
	// Times ends the rule after so many hits, counted as After is; 0 means never.
	Times int `json:"times,omitempty"`
	// PerAddress makes After and Times count for each address on its own.
	PerAddress bool `json:"per_address,omitempty"`
	// Share hits only this part of all addresses, always the same ones for a
	// seed; 0 means all of them.
	Share float64 `json:"share,omitempty"`
	// Probability hits each call with this chance; 0 means always.
	Probability float64 `json:"probability,omitempty"`

	// Commit lets the call take effect before the trouble is played, so that
	// the client cannot know.
	Commit bool `json:"commit,omitempty"`

	// Code is the AADSTS number of a Microsoft error.
	Code int `json:"code,omitempty"`
	// Status, Header and Body make up an Answer.
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
	// RetryAfter is the value of the Retry-After header, verbatim.
	RetryAfter string `json:"retry_after,omitempty"`
	// Delay is the pace of Drip, the length of Delay, the end of Hang.
	Delay Duration `json:"delay,omitempty"`
	// Size is the number of bytes of Huge and Bomb.
	Size int64 `json:"size,omitempty"`
	// Set and Drop change fields of a JSON answer that is otherwise good.
	Set  map[string]json.RawMessage `json:"set,omitempty"`
	Drop []string                   `json:"drop,omitempty"`
	// Value is a further word whose meaning depends on the kind.
	Value string `json:"value,omitempty"`
}

// Wire reports whether the rule spoils the transport or replaces the answer,
// so that the server need not look at it.
func (r Rule) Wire() bool { return slices.Contains(wireKinds(), r.Kind) }

// Hits reports whether the rule changes the call at all.
func (r Rule) Hits() bool { return r.Kind != "" }

// Lost reports whether the client cannot have received the true answer.
func (r Rule) Lost() bool { return r.Wire() && r.Kind != Drip }

func wireKinds() []Kind {
	return []Kind{Answer, Throttled, ServerError, BadGateway, Reset, Hang, Drip, Truncate, Huge, Bomb, Redirect}
}

// check tells what is wrong with a rule; own are the server's kinds and ops.
func (r Rule) check(kinds []Kind, ops []string) error {
	switch {
	case !r.Wire() && r.Kind != Delay && r.Kind != Bend && !slices.Contains(kinds, r.Kind):
		return fmt.Errorf("unknown kind %q", r.Kind)
	case r.Op != "" && !slices.Contains(ops, r.Op):
		return fmt.Errorf("unknown op %q (one of %q)", r.Op, ops)
	case r.Share < 0 || r.Share > 1 || r.Probability < 0 || r.Probability > 1:
		return fmt.Errorf("%s: share and probability lie between 0 and 1", r.Kind)
	case r.Times < 0 || r.After < 0 || r.Delay < 0 || r.Size < 0:
		return fmt.Errorf("%s: negative number", r.Kind)
	case r.Kind == Answer && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("answer: status %d is not between 200 and 599", r.Status)
	}
	return nil
}

// Duration is a time span written as text ("150ms") in JSON.
type Duration time.Duration

// MarshalText writes the span as time.Duration prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = Duration(v)
	return nil
}
