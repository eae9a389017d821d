package warmy

import (
	"context"
	"net/http"
	"strings"

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
