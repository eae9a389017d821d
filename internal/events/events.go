// Package events holds the facts that travel between Kindling's processes: their wire form, its versions,
// and the subjects they are published under.
//
// An event says what has happened ("a code was received") and carries identifiers only. What is secret in it is
// sealed before it gets here. Fields are added, never renamed or removed: an event written by an older version
// must decode for ever, because a stream, a dead letter or a backup may still hold it.
package events

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"
)

// Version is the wire version that this build writes, but for kinds that older builds do not know: see Kind.version.
const Version = 1

// laterVersion is the one that the kinds came with which the first builds do not know.
const laterVersion = 2

// Kind names what has happened.
type Kind string

// The kinds of event. Each has one lane, in which exactly one kind of process handles it.
const (
	CodeReceived          Kind = "code.received"          // an owner consented; the sealed code waits for its redeem
	RefreshRequested      Kind = "refresh.requested"      // a grant lives too short for what comes next
	RegistrationRequested Kind = "registration.requested" // a proven grant is stored; Warmy may have it
	RegistrationUnclear   Kind = "registration.unclear"   // a POST may have taken effect; the listing decides
	RegistrationDecided   Kind = "registration.decided"   // an operator says what became of a POST of unknown outcome
	GrantIdle             Kind = "grant.idle"             // a grant was not used for so long that it must be refreshed to live on
	ActivationRequested   Kind = "activation.requested"   // Warmy has a new mailbox; its warm-up is to be started
	ReconnectRequested    Kind = "reconnect.requested"    // an operator wants Warmy to be told anew what to use for a mailbox
)

// Lane is one kind of work. It is also the stage at which a dead letter died.
type Lane string

// The lanes, in the order in which a mailbox passes them.
const (
	Code      Lane = "code"
	Refresh   Lane = "refresh"
	Register  Lane = "register"
	Reconcile Lane = "reconcile"
)

// Lanes lists every lane.
func Lanes() []Lane { return []Lane{Code, Refresh, Register, Reconcile} }

// Lane returns the lane that handles k, or "" for a kind that this build does not know.
func (k Kind) Lane() Lane {
	switch k {
	case CodeReceived:
		return Code
	case RefreshRequested, GrantIdle:
		return Refresh
	case RegistrationRequested, ReconnectRequested, ActivationRequested:
		return Register
	case RegistrationUnclear, RegistrationDecided:
		return Reconcile
	}
	return ""
}

// version is the wire version that events of kind k are written in, and the highest that this build reads of them. A
// build that does not know a kind would bury its events; one that meets a higher version leaves them for a newer worker.
func (k Kind) version() int {
	if k == GrantIdle || k == RegistrationDecided || k == ReconnectRequested || k == ActivationRequested {
		return laterVersion
	}
	return Version
}

// Event is one fact about one mailbox.
type Event struct {
	Version   int       `json:"v"`
	ID        string    `json:"id"`                  // derived from cause and kind, so a redelivery publishes the same id again
	Kind      Kind      `json:"kind"`                //
	Mailbox   string    `json:"mailbox"`             // opaque id, never an address
	App       string    `json:"app"`                 // Azure app registration, by its configured name
	Account   string    `json:"account"`             // Warmy account, by its configured name
	Campaign  string    `json:"campaign"`            //
	Attempt   string    `json:"attempt,omitempty"`   // the consent attempt this follows from
	At        time.Time `json:"at"`                  // when the fact happened
	Deadline  time.Time `json:"deadline,omitzero"`   // when the code dies; zero: no deadline
	NotBefore time.Time `json:"not_before,omitzero"` // when to handle it; zero: now
	Sealed    []byte    `json:"sealed,omitempty"`    // sealed to the one process that may open it
	Proof     *Proof    `json:"proof,omitempty"`     // whose mailbox the grant is
	Tries     []Try     `json:"tries,omitempty"`     // failures so far, oldest first; long histories are shortened
	Failed    int       `json:"failed,omitempty"`    // failures that speak against the event, all counted
	Outages   int       `json:"outages,omitempty"`   // failures of the dependency itself, all counted
	Renewed   time.Time `json:"renewed,omitzero"`    // when an operator gave it a new life; zero: never
	Decision  *Decision `json:"decision,omitempty"`  // with RegistrationDecided
	Restored  bool      `json:"restored,omitempty"`  // made anew from the facts, which may be older than what Warmy knows
	Refused   time.Time `json:"refused,omitzero"`    // the tokens saved then could not be used: they are to be refreshed, or were, however long they live
}

// Proof is the stable identity of an account at Microsoft, as verified by token-worker: tid and oid claims,
// never an address (docs/adr/0005).
type Proof struct {
	TenantID string `json:"tid"`
	ObjectID string `json:"oid"`
}

// Try is one failure that a handler saw.
type Try struct {
	At    time.Time `json:"at"`
	Class string    `json:"class"`
	Code  string    `json:"code"`
	Cause string    `json:"cause"`
}

// New starts a chain of events for a mailbox. The seed makes the id: the same seed gives the same id, so a
// publisher that repeats itself is recognised.
func New(kind Kind, seed string, at time.Time) Event {
	return Event{Version: kind.version(), ID: deriveID(seed, kind), Kind: kind, At: at.UTC().Truncate(time.Millisecond)}
}

// Follow returns the event of the given kind that e causes: same mailbox, an id derived from e's, no tries.
func (e Event) Follow(kind Kind, at time.Time) Event {
	next := e
	next.Version = kind.version()
	next.Kind = kind
	next.ID = deriveID(e.ID, kind)
	next.At = at.UTC().Truncate(time.Millisecond)
	next.Deadline, next.NotBefore, next.Sealed, next.Decision = time.Time{}, time.Time{}, nil, nil
	next.Tries, next.Failed, next.Outages, next.Renewed = nil, 0, 0, time.Time{}
	next.Refused = time.Time{}
	return next
}

// Later returns e, to be handled not before t.
func (e Event) Later(t time.Time) Event {
	e.NotBefore = t.UTC()
	return e
}

func deriveID(seed string, kind Kind) string {
	sum := sha256.Sum256([]byte(seed + "\x00" + string(kind)))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15]))
}

// Replayed returns e as it is published again by a replay of dead letter seq: a new id, so that it is not taken for a
// repetition, and no failures counted.
func (e Event) Replayed(seq uint64, at time.Time) Event {
	e.ID = deriveID(e.ID+"|replay|"+strconv.FormatUint(seq, 10), e.Kind)
	e.Tries, e.Failed, e.Outages = nil, 0, 0
	e.NotBefore, e.Renewed = time.Time{}, at.UTC().Truncate(time.Millisecond)
	return e
}
