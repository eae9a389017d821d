package callback

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"kindling/internal/events"
	"kindling/internal/secret"
)

// HintPublisher takes hints. It returns nil only when the hint is stored.
type HintPublisher interface {
	Publish(ctx context.Context, h events.Hint) error
}

const (
	// maxHint bounds a webhook's body.
	maxHint = 64 << 10
	// LeastWebhookSecret is the least length of the secret in a webhook's address.
	LeastWebhookSecret = 24
)

// webhook is what Warmy's page on webhooks shows, as far as it is read. Nothing in it is believed.
type webhook struct {
	EventID    any    `json:"event_id"`
	Action     string `json:"action_key"`
	AffectedID any    `json:"affected_id"`
	Affected   string `json:"affected_type"`
	Data       struct {
		ID    any    `json:"id"`
		State string `json:"state"`
	} `json:"data"`
}

// hint takes a webhook of Warmy. Whatever is well-formed is answered alike, so that nobody learns what follows from it.
func (e *edge) hint(r *http.Request) reply {
	account := e.accountOf(r.PathValue("secret"))
	if account == "" {
		return refusal("not_found")
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return refusal("content_type")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxHint+1))
	switch {
	case len(body) > maxHint:
		return refusal("too_large")
	case err != nil:
		return refusal("malformed")
	}
	hook, ok := parseWebhook(body)
	if !ok {
		return refusal("malformed")
	}
	if !hook.concerns() {
		return reply{status: http.StatusNoContent, outcome: "hint_ignored"}
	}
	eventID, warmyID := idText(hook.EventID), idText(hook.AffectedID)
	if err := e.Hints.Publish(r.Context(), events.NewHint(account, warmyID, eventID, e.Now())); err != nil {
		return unavailable(err)
	}
	return reply{status: http.StatusNoContent, outcome: "hint"}
}

// accountOf returns the account with this secret. It compares with every account's, in a time that tells nothing.
func (e *edge) accountOf(given string) (account string) {
	hash := sha256.Sum256([]byte(given))
	for name, own := range e.Webhooks {
		want := sha256.Sum256([]byte(own.Reveal()))
		if subtle.ConstantTimeCompare(hash[:], want[:]) == 1 {
			account = name
		}
	}
	return account
}

func parseWebhook(body []byte) (w webhook, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if !utf8.Valid(body) || decoder.Decode(&w) != nil || decoder.More() {
		return w, false
	}
	if w.AffectedID == nil {
		w.AffectedID = w.Data.ID
	}
	id := idText(w.AffectedID)
	other := w.Data.ID != nil && idText(w.Data.ID) != id
	return w, events.IsToken(id) && !other && idText(w.EventID) != "" && (w.Affected == "" || strings.EqualFold(w.Affected, "mailbox"))
}

// idText is an id as a number or as a text, in small letters; "" for anything else.
func idText(value any) string {
	switch v := value.(type) {
	case json.Number:
		return v.String()
	case string:
		if len(v) <= 200 {
			return strings.ToLower(strings.TrimSpace(v))
		}
	}
	return ""
}

// concerns reports whether the webhook may say that Warmy cannot use the mailbox's tokens any more.
func (w webhook) concerns() bool {
	return w.Action == "connection_failed" || slices.Contains([]string{"reconnect", "credentials", "less_secure"}, w.Data.State)
}

// checkWebhooks wants secrets that nobody guesses, one for each account.
func (e *edge) checkWebhooks() (problem string) {
	seen := map[string]bool{}
	for _, own := range e.Webhooks {
		if !isWebhookSecret(own) || seen[own.Reveal()] || e.Hints == nil {
			return "webhooks: a secret is too short, not of A-Z a-z 0-9 - and _, or used twice"
		}
		seen[own.Reveal()] = true
	}
	return ""
}

func isWebhookSecret(s secret.Text) bool {
	text := s.Reveal()
	return len(text) >= LeastWebhookSecret && len(text) <= 128 && strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}
