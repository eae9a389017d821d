package warmy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
)

// Detail is what Warmy says of one mailbox. Its texts are safe to show: Warmy's own words are kept only if they are keys.
type Detail struct {
	ID      string
	Address string // for comparison; empty if Warmy does not say
	State   string // state_key: a-z, 0-9, _ and at most 40 long; empty if Warmy does not say, or says something else
	Status  string // status, likewise
	// WarmupActive tells that the warm-up runs. It is false, too, if Warmy does not say: starting it again is harmless.
	WarmupActive bool
	// TariffPlanTypeID is the mailbox's plan; 0 for none, and if Warmy does not say.
	TariffPlanTypeID int
}

// Get reads one mailbox by Warmy's id. It changes nothing and costs one call of the account's budget.
//
// A mailbox that Warmy does not know (any more) is a Permanent fault with the code warmy_gone; an answer that does not speak
// of this mailbox is a Transient one, warmy_detail_untrusted. All others are those of every call: Transient or RetryAfter
// for what passes, LegDown for what concerns the whole account.
func (c *Client) Get(ctx context.Context, account, warmyID string) (Detail, error) {
	got, err := c.one(ctx, account, warmyID, call{method: http.MethodGet, limit: maxAnswer})
	if err != nil {
		return Detail{}, err
	}
	d, ok := parseDetail(got.body)
	if !ok || d.ID != warmyID {
		return Detail{}, &fault.Fault{
			Class: fault.Transient, Code: "warmy_detail_untrusted", Forecast: fault.ByTime,
			Cause: "Warmy's answer about the mailbox is not one about it", Remedy: "none: it is asked again; look at Warmy's API if it lasts",
		}
	}
	return d, nil
}

// Activate starts the warm-up of a mailbox, which Warmy may create paused. Repeating it is harmless: no error comes of
// "not allowed transmission", with which Warmy answers for a mailbox that is started already, and for one that cannot be
// started. Get tells the two apart. Faults are as with Get, and Permanent with warmy_change_refused for another refusal.
func (c *Client) Activate(ctx context.Context, account, warmyID string) error {
	return c.move(ctx, account, warmyID, "activate!")
}

// Pause stops the warm-up of a mailbox; as Activate in all else.
func (c *Client) Pause(ctx context.Context, account, warmyID string) error {
	return c.move(ctx, account, warmyID, "pause!")
}

func (c *Client) move(ctx context.Context, account, warmyID, state string) error {
	_, err := c.one(ctx, account, warmyID, call{
		method: http.MethodPut, path: "/update_state", limit: maxAnswer, body: map[string]map[string]string{"mailbox": {"state": state}},
	})
	return err // the body may be plain text such as "success"
}

// ChangePlan puts a mailbox on another tariff plan of its account; 0 takes its plan away. Repeating it is harmless. Faults
// are as with Activate.
func (c *Client) ChangePlan(ctx context.Context, account, warmyID string, plan int) error {
	var id *int // null takes the plan away
	if plan != 0 {
		id = &plan
	}
	_, err := c.one(ctx, account, warmyID, call{
		method: http.MethodPut, path: "/change_tariff_plan", limit: maxAnswer, body: map[string]map[string]*int{"mailbox": {"tariff_plan_type_id": id}},
	})
	return err
}

// one makes a call about one mailbox that may be made again; q.path is what comes behind its id.
func (c *Client) one(ctx context.Context, account, warmyID string, q call) (answer, error) {
	if !isID(warmyID) {
		return answer{}, permanent("warmy_id_invalid", "the mailbox's id at Warmy cannot stand in a path", "report a defect of Kindling", fault.Never)
	}
	q.path = mailboxesPath + "/" + url.PathEscape(warmyID) + q.path
	got, err := c.do(ctx, account, q)
	if err != nil {
		return answer{}, err
	}
	if f := failedChange(got, c.now()); f != nil {
		return answer{}, f
	}
	return got, nil
}

// failedChange classifies the answer to a call about one mailbox, as failed does for a POST.
func failedChange(a answer, now time.Time) *fault.Fault {
	switch a.status {
	case http.StatusNotFound, http.StatusGone:
		return permanent(handlers.CodeGone, "Warmy does not know the mailbox any more", "send the registration again by replay", fault.ByConfig)
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		if !a.whole() {
			break
		}
		words := complaints(a.body)
		if words.say([]string{"not allowed transmission"}) {
			return nil
		}
		return permanent("warmy_change_refused", "Warmy refused to change "+words.field(), "correct the setting, or change the mailbox at Warmy", fault.ByConfig)
	}
	if f := failed(a, now); f != nil {
		return repeatable(f)
	}
	return nil
}

// parseDetail reads the mailbox in an answer. Warmy's documents show it bare; it is taken from under "data", too, as in
// the answer to a POST.
func parseDetail(body []byte) (Detail, bool) {
	document, ok := parse(body)
	if !ok {
		return Detail{}, false
	}
	for _, object := range objects(document) {
		if id := identifier(object["id"]); id != "" {
			return detailOf(id, object), true
		}
	}
	return Detail{}, false
}

func detailOf(id string, object map[string]any) Detail {
	address, _ := object["email"].(string)
	active, _ := object["warmup_active"].(bool)
	return Detail{
		ID: id, Address: address, State: key(object["state_key"]), Status: key(object["status"]), WarmupActive: active,
		TariffPlanTypeID: number(object["tariff_plan_type_id"]),
	}
}

// key returns a text that can only be one of Warmy's names for something, and "" for everything else.
func key(value any) string {
	text, _ := value.(string)
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }
	if len(text) > 40 || strings.ContainsFunc(text, other) {
		return ""
	}
	return text
}

// number returns a positive number that fits, and 0 for everything else.
func number(value any) int {
	n, _ := value.(json.Number)
	whole, err := strconv.Atoi(n.String())
	if err != nil || whole < 0 {
		return 0
	}
	return whole
}
