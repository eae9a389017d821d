package warmy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sessionState is what is kept of an account's session. All of it is secret; fields are only added.
type sessionState struct {
	Of     string `json:"of"` // mark of the user at the address: another one's session is none
	UID    string `json:"uid,omitempty"`
	Client string `json:"client,omitempty"`
	Token  string `json:"token,omitempty"` // empty: there is no session
	// Expires is when Warmy forgets the token; zero if it did not say.
	Expires time.Time `json:"expires,omitzero"`

	Adopted string `json:"adopted,omitempty"` // mark of the configured token that was in use last: it is no use again

	Tried  time.Time `json:"tried,omitzero"`   // the last sign-in
	Tries  int       `json:"tries,omitempty"`  // sign-ins since a session worked
	With   string    `json:"with,omitempty"`   // mark of the password of the last one
	Denied bool      `json:"denied,omitempty"` // Warmy said no to it
}

// openSession reads what is kept. What cannot be read, or is another user's, is no session.
func openSession(kept []byte, w *workspace) sessionState {
	var s sessionState
	of := mark(w.BaseURL, w.HolderUID, w.Email.Reveal(), w.UID.Reveal())
	if json.Unmarshal(kept, &s) != nil || s.Of != of {
		return sessionState{Of: of}
	}
	return s
}

func (s *sessionState) marshal() []byte {
	data, _ := json.Marshal(s) //nolint:errchkjson // texts, numbers and times always marshal
	return data
}

// mark tells texts apart without holding them.
func mark(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return base64.RawStdEncoding.EncodeToString(sum[:12])
}

func (s *sessionState) usable(now time.Time) bool {
	return s.Token != "" && (s.Expires.IsZero() || now.Before(s.Expires))
}

// adopt takes the configured token, unless that was in use already.
func (s *sessionState) adopt(w *workspace) bool {
	token := w.login.Load().token.Reveal()
	of := mark(token, w.UID.Reveal(), w.Client.Reveal())
	if token == "" || s.Adopted == of {
		return false
	}
	s.Token, s.UID, s.Client, s.Expires, s.Adopted = token, w.UID.Reveal(), w.Client.Reveal(), time.Time{}, of
	return true
}

func (s *sessionState) sign(header http.Header) {
	header.Set("access-token", s.Token)
	header.Set("client", s.Client)
	header.Set("uid", s.UID)
}

// follow keeps a rotated access-token. A blank one means that the old one stays (devise_token_auth sends a single
// space for requests that come close together).
func (s *sessionState) follow(header http.Header) {
	token := plainToken(header.Get("access-token"))
	if token == "" || s.Token == "" {
		return
	}
	s.Token = token
	if expires, ok := expiry(header); ok {
		s.Expires = expires
	}
}

// begun takes the session that a sign-in opened, if it did.
func (s *sessionState) begun(header http.Header) bool {
	s.Token, s.UID, s.Client = plainToken(header.Get("access-token")), plainToken(header.Get("uid")), plainToken(header.Get("client"))
	s.Expires, _ = expiry(header)
	return s.Token != "" && s.UID != "" && s.Client != ""
}

// longestToken is far above any token, and below what a record may hold.
const longestToken = 1024

// plainToken returns a header's text if it can be sent again.
func plainToken(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > longestToken || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return text
}

// expiry reads unix seconds.
func expiry(header http.Header) (time.Time, bool) {
	seconds, err := strconv.ParseInt(strings.TrimSpace(header.Get("expiry")), 10, 64)
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

func (s *sessionState) worked() { s.Tries, s.Denied = 0, false }
func (s *sessionState) end()    { s.Token, s.UID, s.Client, s.Expires = "", "", "", time.Time{} }

func (s *sessionState) deny() {
	s.end()
	s.Denied = true
}

func (s *sessionState) trying(w *workspace, now time.Time) {
	s.end()
	s.Tried, s.Tries, s.With, s.Denied = now.UTC(), s.Tries+1, mark(w.login.Load().password.Reveal()), false
}

// The waits between sign-ins that lead to no session. Warmy may lock a user after some refusals.
const (
	firstRefused, mostRefused = time.Minute, time.Hour
	firstUnheard, mostUnheard = 5 * time.Second, 10 * time.Minute
)

// mayTry returns how long to wait before the next sign-in. Another password need not wait.
func (s *sessionState) mayTry(w *workspace, now time.Time) time.Duration {
	if s.Tries == 0 || s.With != mark(w.login.Load().password.Reveal()) {
		return 0
	}
	wait, most := firstUnheard, mostUnheard
	if s.Denied {
		wait, most = firstRefused, mostRefused
	}
	for i := 1; i < s.Tries && wait < most; i++ {
		wait *= 2
	}
	wait = min(wait, most)
	if since := now.Sub(s.Tried); since.Abs() < wait { // a time far ahead is of a clock that was wrong
		return wait - max(since, 0)
	}
	return 0
}
