package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Hint is what a webhook of Warmy has said of a mailbox: that it may be worth a look. Nobody signs webhooks, so nothing
// follows from a hint but that look. It names the mailbox as Warmy does, and never by its address.
type Hint struct {
	Version int       `json:"v"`
	Account string    `json:"account"`
	WarmyID string    `json:"warmy_id"`
	EventID string    `json:"event"` // a hash of Warmy's own id of the webhook
	At      time.Time `json:"at"`    // when it came
}

// HintFilter is the subject filter of every hint.
const HintFilter = "kindling.hint.>"

// NewHint is the hint of the webhook with this id.
func NewHint(account, warmyID, eventID string, at time.Time) Hint {
	sum := sha256.Sum256([]byte(account + "\x00" + eventID))
	return Hint{Version: 1, Account: account, WarmyID: warmyID, EventID: base64.RawURLEncoding.EncodeToString(sum[:18]), At: at.UTC()}
}

// Subject is where h is published: one for each mailbox, so that a later hint takes the place of an earlier one.
func (h Hint) Subject() string { return fmt.Sprintf("kindling.hint.%s.%s", h.Account, h.WarmyID) }

// Encode returns the wire form of h.
func (h Hint) Encode() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("encode hint: %w", err)
	}
	return json.Marshal(h)
}

// DecodeHint reads the wire form; it refuses what no correct producer writes.
func DecodeHint(data []byte) (Hint, error) {
	var h Hint
	if err := DecodeStrict(data, &h); err != nil {
		return Hint{}, fmt.Errorf("decode hint: %w", err)
	}
	if err := h.check(); err != nil {
		return Hint{}, fmt.Errorf("decode hint: %w", err)
	}
	return h, nil
}

func (h Hint) check() error {
	switch {
	case h.Version < 1:
		return errors.New("field v: missing")
	case !IsToken(h.Account):
		return errors.New("field account: not a name")
	case !IsToken(h.WarmyID):
		return errors.New("field warmy_id: not an id")
	case !isID(h.EventID):
		return errors.New("field event: not an id")
	case h.At.Before(dawn()):
		return errors.New("field at: missing, or from a clock that was never set")
	}
	return nil
}
