package callback

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"kindling/internal/mailbox"
)

// ticket is what an attempt leaves in the browser that started it. No other browser can finish the attempt.
type ticket struct {
	attempt    string
	mailbox    mailbox.ID
	app        string
	stateHash  string
	link       string // the link's token, so that a page can offer another try
	generation int
	issued     time.Time
	expires    time.Time
	consent    mailbox.Consent // all of it but the code
}

// sealedTicket is the form in which a ticket is sealed.
type sealedTicket struct {
	Attempt    string          `json:"attempt"`
	Mailbox    mailbox.ID      `json:"mailbox"`
	App        string          `json:"app"`
	StateHash  string          `json:"state_hash"`
	Link       string          `json:"link"`
	Generation int             `json:"generation"`
	Issued     time.Time       `json:"issued"`
	Expires    time.Time       `json:"expires"`
	Consent    json.RawMessage `json:"consent"`
}

// skew is how far two edges' clocks may differ.
const skew = 30 * time.Second

// afterlife is how long the cookie of an answered attempt stays: a browser that fetched the answer ahead of
// time, or whose connection broke, comes again with the same answer and must find its thanks. The claim, not
// the cookie, makes an answer count once.
const afterlife = time.Minute

// maxSameNamed bounds the work that a browser's cookie jar can cause.
const maxSameNamed = 4

var errNotOurs = errors.New("no cookie of this attempt")

// cookieName derives the name from the state, so that several attempts can be under way in one browser.
// The prefix __Host- keeps sibling hosts from planting cookies; browsers grant it over https alone.
func (e *edge) cookieName(stateHash string) string {
	name := "a-" + stateHash[:8]
	if e.secure {
		return "__Host-" + name
	}
	return name
}

func ticketContext(stateHash string) string { return "v1|cookie|attempt|" + stateHash }

// cookie seals t into the attempt's cookie.
func (e *edge) cookie(t ticket) (*http.Cookie, error) {
	consent, err := t.consent.Marshal()
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(sealedTicket{
		Attempt: t.attempt, Mailbox: t.mailbox, App: t.app, StateHash: t.stateHash, Link: t.link, Generation: t.generation,
		Issued: t.issued, Expires: t.expires, Consent: consent,
	})
	if err != nil {
		return nil, fmt.Errorf("marshal ticket: %w", err)
	}
	sealed, err := e.Cookies.Seal(plain, ticketContext(t.stateHash))
	if err != nil {
		return nil, fmt.Errorf("seal ticket: %w", err)
	}
	return e.bake(t.stateHash, base64.RawURLEncoding.EncodeToString(sealed), e.AttemptLife), nil
}

// bake makes the cookie. Microsoft's form post comes from another site, which SameSite=Lax would leave without
// the cookie; None is safe here, because the state has to match what is sealed in it.
func (e *edge) bake(stateHash, value string, life time.Duration) *http.Cookie {
	mode := http.SameSiteLaxMode
	if e.ResponseMode == FormPost {
		mode = http.SameSiteNoneMode
	}
	return &http.Cookie{ //nolint:gosec // Secure is missing on loopback alone, where there is no https
		Name: e.cookieName(stateHash), Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: e.secure, HttpOnly: true, SameSite: mode,
	}
}

// ticket finds and opens the attempt's ticket among the request's cookies.
func (e *edge) ticket(r *http.Request, stateHash string) (ticket, *http.Cookie, error) {
	for i, c := range r.CookiesNamed(e.cookieName(stateHash)) {
		if i == maxSameNamed {
			break
		}
		if t, err := e.openTicket(c.Value, stateHash); err == nil {
			return t, e.bake(stateHash, c.Value, afterlife), nil
		}
	}
	return ticket{}, nil, errNotOurs
}

func (e *edge) openTicket(value, stateHash string) (ticket, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return ticket{}, errNotOurs
	}
	plain, err := e.Cookies.Open(sealed, ticketContext(stateHash))
	if err != nil {
		return ticket{}, errNotOurs
	}
	var s sealedTicket
	if err := json.Unmarshal(plain, &s); err != nil {
		return ticket{}, errNotOurs
	}
	consent, err := mailbox.ParseConsent(s.Consent)
	if err != nil {
		return ticket{}, err
	}
	return ticket{
		attempt: s.Attempt, mailbox: s.Mailbox, app: s.App, stateHash: s.StateHash, link: s.Link, generation: s.Generation,
		issued: s.Issued, expires: s.Expires, consent: consent,
	}, nil
}

// receipt is what the done page's address says: which attempt it is about. Nobody else can read it.
type receipt struct {
	Mailbox mailbox.ID `json:"mailbox"`
	Attempt string     `json:"attempt"`
	Link    string     `json:"link"`
	At      time.Time  `json:"at"`
}

const receiptContext = "v1|done"

// receiptLife is how long a done page can be looked at.
const receiptLife = 24 * time.Hour

// maxReceipt is far above a sealed receipt's length.
const maxReceipt = 1024

// donePath seals a receipt into the done page's path.
func (e *edge) donePath(t ticket, now time.Time) (string, error) {
	plain, err := json.Marshal(receipt{Mailbox: t.mailbox, Attempt: t.attempt, Link: t.link, At: now.UTC()})
	if err != nil {
		return "", fmt.Errorf("marshal receipt: %w", err)
	}
	sealed, err := e.Cookies.Seal(plain, receiptContext)
	if err != nil {
		return "", fmt.Errorf("seal receipt: %w", err)
	}
	return "/done/" + base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (e *edge) openReceipt(token string) (receipt, bool) {
	if len(token) > maxReceipt {
		return receipt{}, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return receipt{}, false
	}
	plain, err := e.Cookies.Open(sealed, receiptContext)
	if err != nil {
		return receipt{}, false
	}
	var r receipt
	return r, json.Unmarshal(plain, &r) == nil
}
