// Package secret holds texts that must never be printed: client secrets, tokens, authorization codes, keys.
//
// A Text keeps its value behind a pointer, so that no formatting verb, no encoder and no logger reaches it,
// however deeply it is nested. Reveal is the only way out; a search for its callers lists every place
// in which a secret is readable.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// mask is what every printed form of a Text shows.
const mask = "***"

// Text is a secret text. Its zero value is empty and ready to use.
type Text struct{ value *string }

// New hides value in a Text.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{value: &value}
}

// Reveal returns the secret itself. The caller must not log, store or wrap it unsealed.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// Empty reports whether there is no secret.
func (t Text) Empty() bool { return t.value == nil }

// Equal compares two secrets in constant time.
func (t Text) Equal(other Text) bool {
	a, b := sha256.Sum256([]byte(t.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String returns the mask.
func (Text) String() string { return mask }

// GoString returns the mask.
func (Text) GoString() string { return mask }

// Format writes the mask, whatever the verb.
func (Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mask)) }

// LogValue gives slog the mask.
func (Text) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText writes the mask: a secret in a JSON, YAML or XML document is a defect, not a leak.
func (Text) MarshalText() ([]byte, error) { return []byte(mask), nil }
