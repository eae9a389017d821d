package warmy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"kindling/internal/fault"
	"kindling/internal/handlers"
)

const mailboxesPath = "/api/v2/mailboxes"

// newMailbox is the body of the POST as Warmy's guide shows it, and the address beside it.
type newMailbox struct {
	Provider         string   `json:"provider"`
	Email            string   `json:"email"`
	FromName         string   `json:"from_name"`
	ClientID         string   `json:"client_id"`
	ClientSecret     string   `json:"client_secret"`
	AccessToken      string   `json:"access_token"`
	RefreshToken     string   `json:"refresh_token"`
	TariffPlanTypeID int      `json:"tariff_plan_type_id"`
	Settings         settings `json:"setting_attributes"`
}

type settings struct {
	SpeedMode string `json:"speed_mode"`
}

// Create registers m with one POST and returns Warmy's id. Only an answer that names an id is a success; whatever may
// have taken effect otherwise is an Unclear fault, which must go to the listing and never to a second POST. The id beside
// such a fault is what Warmy answered with, and another address: the listing may never show the invited one.
func (c *Client) Create(ctx context.Context, account string, m handlers.NewMailbox) (string, error) {
	body := map[string]newMailbox{"mailbox": {
		Provider: "oauth_outlook", Email: m.Address, FromName: m.FromName,
		ClientID: m.ClientID, ClientSecret: m.ClientSecret.Reveal(), AccessToken: m.Access.Reveal(), RefreshToken: m.Refresh.Reveal(),
		TariffPlanTypeID: m.TariffPlanTypeID, Settings: settings{SpeedMode: m.SpeedMode},
	}}
	got, err := c.do(ctx, account, call{method: http.MethodPost, path: mailboxesPath, body: body, limit: maxAnswer, intend: m.Intend})
	if err != nil {
		return "", err
	}
	if f := failed(got, c.now()); f != nil {
		return "", f
	}
	id, f := created(got.status, got.body, m.Address)
	if f != nil {
		return id, f
	}
	return id, nil
}

// created reads the id from a success. 202 promises nothing yet, and other good statuses are not documented. An answer about
// another address is no success, but its id is kept: whoever forgot it would post the mailbox again.
func created(status int, body []byte, address string) (string, *fault.Fault) {
	if status != http.StatusOK && status != http.StatusCreated {
		return "", unclear("warmy_no_id", "Warmy accepted the mailbox without saying that it exists")
	}
	document, ok := parse(body)
	if !ok {
		return "", unclear("warmy_unreadable", "Warmy's answer cannot be read")
	}
	ids, elsewhere := make(map[string]bool), false
	for _, object := range objects(document) {
		if value, given := object["id"]; given {
			ids[identifier(value)] = true
		}
		if email, given := object["email"].(string); given && !sameAddress(email, address) {
			elsewhere = true
		}
	}
	if document["success"] == false {
		return "", denied(body, len(ids) > 1 || len(ids) == 1 && !ids[""])
	}
	id := theOne(ids)
	switch {
	case elsewhere:
		return id, unclear("warmy_other_address", "Warmy's answer names another address")
	case id == "":
		return "", unclear("warmy_no_id", "Warmy's answer names no single id")
	}
	return id, nil
}

// theOne returns the one id that is named, or "" when there is none, several, or one that cannot be an id.
func theOne(ids map[string]bool) string {
	if len(ids) != 1 {
		return ""
	}
	for id := range ids {
		return id
	}
	return ""
}

// denied is a no with a status that says yes: what its words say, and nothing certain when it names a mailbox all the same.
func denied(body []byte, named bool) *fault.Fault {
	if f := complaints(body).verdict(); f != nil {
		return f
	}
	if named {
		return unclear("warmy_no_id", "Warmy said no, and named a mailbox")
	}
	return permanent("warmy_refused", "Warmy said no, with a status that says yes", "ask Warmy's support; replay when it is settled", fault.ByConfig)
}

// objects are the places of an answer in which Warmy may name the mailbox.
func objects(document map[string]any) []map[string]any {
	found := []map[string]any{document}
	for _, path := range [][]string{{"data"}, {"mailbox"}, {"data", "mailbox"}} {
		at := document
		for _, key := range path {
			at, _ = at[key].(map[string]any)
		}
		if at != nil {
			found = append(found, at)
		}
	}
	return found
}

// identifier returns an id's text, or "" for what cannot be one.
func identifier(value any) string {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil && n > 0 && n < math.MaxInt64 {
			return strconv.FormatInt(n, 10)
		}
	case string:
		if isID(v) {
			return v
		}
	}
	return ""
}

// isID tells whether s may stand in a path: no separator, nothing that a URL would change, not zero.
func isID(s string) bool {
	if s == "" || len(s) > 64 || strings.Trim(s, "0") == "" || s[0] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// parse reads one JSON object, and only that: trailing text, a key given twice or broken UTF-8 make the whole
// answer doubtful.
func parse(body []byte) (map[string]any, bool) {
	if !utf8.Valid(body) || !singular(body) {
		return nil, false
	}
	var document map[string]any
	if unmarshal(body, &document) != nil || document == nil {
		return nil, false
	}
	return document, true
}

// errTrailing refuses text after a document.
var errTrailing = errors.New("text after the document")

// unmarshal reads one document without rounding its numbers: an id must not lose digits.
func unmarshal(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err // only its presence counts
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// singular tells whether body is JSON in which no object has a key twice: encoding/json would silently take the last.
func singular(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	type level struct {
		keys  map[string]bool // nil in a list
		value bool            // the next token is a value
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].keys != nil {
			at := &levels[n-1]
			if key, _ := token.(string); !at.value && at.keys[key] {
				return false
			} else if !at.value {
				at.keys[key], at.value = true, true
				continue
			}
			at.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: make(map[string]bool)})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}

// sameAddress compares whole addresses as Warmy stores them: outer blanks and the case of letters do not count.
func sameAddress(a, b string) bool { return canonical(a) == canonical(b) }

func canonical(address string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(address))
}

// repeatable turns the unclear outcome of a call that may be made again into a failure that passes.
func repeatable(f *fault.Fault) *fault.Fault {
	if f.Class == fault.Unclear {
		f.Class, f.After, f.Remedy = fault.Transient, 0, "none: the call is harmless and is made again"
	}
	return f
}
