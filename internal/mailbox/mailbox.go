// Package mailbox is the heart of Kindling: what is known of one mailbox, and which changes of that knowledge are legal.
//
// Four facts describe a mailbox, each written by exactly one kind of process: the Invitation (console), the Claim
// (callback-ingest), the Grant (token-worker) and the Registration (warmy-worker). Each is a small state machine of
// pure functions: they take the fact and the news, and return the new fact and what may be done. Nothing here does I/O,
// so every hard question (may this code be spent? may this mailbox be posted again?) is a table test.
//
// What an operator sees is View, a pure function of the four facts and the time (docs/states.md).
package mailbox

import (
	"crypto/sha256"
	"encoding/base64"
	"time"

	"kindling/internal/fault"
)

// ID is the opaque id of a mailbox: base32 of a keyed hash of app and lower-case address. An address never
// appears in a subject, a key or a URL.
type ID = string

// Invitation is one imported row: whom to connect, and how. The console alone writes it.
type Invitation struct {
	ID               ID
	Campaign         string
	App              string // Azure app registration, by its configured name
	Account          string // Warmy account, by its configured name
	Tenant           string // tenant in the authorize URL; empty: the app's
	Address          string // the address to connect, lower case; sealed at rest
	FromName         string // sealed at rest
	ExternalID       string // the operator's own key; sealed at rest
	TariffPlanTypeID int
	SpeedMode        string // slow, medium or fast
	Line             int    // in the imported file
	LinkGeneration   int    // raised by a reinvitation: older links die
	LinkHash         string // Hash of the link's token; the token itself is stored nowhere
	InvitedAt        time.Time
	LinkExpiresAt    time.Time
	ErasedAt         time.Time   // zero: not erased
	Accepted         *Acceptance // another account that may consent; nil: only the address's own
}

// linkLeeway forgives a clock that is a little ahead of the owner's e-mail.
const linkLeeway = time.Minute

// LinkExpired reports whether the consent link no longer opens at now.
func (i Invitation) LinkExpired(now time.Time) bool {
	return now.After(i.LinkExpiresAt.Add(linkLeeway))
}

// Hash is how a link's token, a state and a code are remembered: never themselves, always their SHA-256.
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Finding says why a mailbox is not where it should be, in a form that a fact can keep.
type Finding struct {
	Class    fault.Class    `json:"class"`
	Code     string         `json:"code"`
	Cause    string         `json:"cause"`
	Remedy   string         `json:"remedy"`
	Forecast fault.Forecast `json:"forecast"`
	At       time.Time      `json:"at"`
}

// Found turns a fault into a Finding.
func Found(f *fault.Fault, at time.Time) *Finding {
	return &Finding{Class: f.Class, Code: f.Code, Cause: f.Cause, Remedy: f.Remedy, Forecast: f.Forecast, At: at.UTC()}
}
