package callback

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// adminTicket is what an attempt at admin consent leaves in the browser that started it. It is of another kind than an
// owner's ticket: another name and another seal, so that neither ever finishes an attempt of the other.
type adminTicket struct {
	App       string    `json:"app"`
	Tenant    string    `json:"tenant"`
	StateHash string    `json:"state_hash"`
	Link      string    `json:"link"` // the link's token, so that a page can offer another try
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"`
}

func (e *edge) adminCookieName(stateHash string) string {
	name := "g-" + stateHash[:8]
	if e.secure {
		return "__Host-" + name
	}
	return name
}

func adminTicketContext(stateHash string) string { return "v1|cookie|admin|" + stateHash }

func (e *edge) adminCookie(t adminTicket) (*http.Cookie, error) {
	sealed, err := e.sealJSON(t, adminTicketContext(t.StateHash))
	if err != nil {
		return nil, err
	}
	return e.adminBake(t.StateHash, sealed, e.AttemptLife), nil
}

// adminBake makes the cookie. Microsoft answers a request for admin consent by a redirect and never by a form that posts
// itself, so that SameSite=Lax lets it through, and nothing else that comes from another site.
func (e *edge) adminBake(stateHash, value string, life time.Duration) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure is missing on loopback alone, where there is no https
		Name: e.adminCookieName(stateHash), Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: e.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// adminTicket finds and opens the attempt's ticket among the request's cookies.
func (e *edge) adminTicket(r *http.Request, stateHash string) (adminTicket, *http.Cookie, bool) {
	for i, c := range r.CookiesNamed(e.adminCookieName(stateHash)) {
		if i == maxSameNamed {
			break
		}
		var t adminTicket
		if err := e.openJSON(c.Value, adminTicketContext(stateHash), &t); err == nil {
			return t, e.adminBake(stateHash, c.Value, afterlife), true
		}
	}
	return adminTicket{}, nil, false
}

// sealJSON seals a value for the edge itself, in the alphabet of URLs and cookies.
func (e *edge) sealJSON(value any, context string) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("marshal for sealing: %w", err)
	}
	sealed, err := e.Cookies.Seal(plain, context)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// maxSealed is far above the length of what sealJSON writes.
const maxSealed = 2048

func (e *edge) openJSON(text, context string, into any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxSealed {
		return errNotOurs
	}
	plain, err := e.Cookies.Open(sealed, context)
	if err != nil || json.Unmarshal(plain, into) != nil {
		return errNotOurs
	}
	return nil
}
