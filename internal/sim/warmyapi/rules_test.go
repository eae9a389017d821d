package warmyapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

func TestAMailboxIsValidated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, old, new string
		status         int
		want           string
	}{
		{"no mailbox", `"mailbox"`, `"box"`, 400, "param is missing"},
		{"not JSON", `{"mailbox"`, `mailbox`, 400, "param is missing"},
		{"no access token", `"access_token":"at"`, `"access_token":" "`, 422, `{"errors":{"access_token":["can't be blank"]}}`},
		{"no refresh token", `"refresh_token":"rt"`, `"x":"rt"`, 422, `{"errors":{"refresh_token":["can't be blank"]}}`},
		{"no name", `"from_name":"Ann"`, `"from_name":""`, 422, "from_name"},
		{"other provider", "oauth_outlook", "oauth_microsoft", 422, `{"errors":{"provider":["is not included in the list"]}}`},
		{"unknown plan", "41", "7", 422, `{"errors":{"tariff_plan_type":["must exist"]}}`},
		{"no plan", `"tariff_plan_type_id":41,`, ``, 422, "tariff_plan_type"},
		{"strange speed", `"fast"`, `"warp"`, 422, "setting.speed_mode"},
		{"strange email", owner, "ann", 422, `{"errors":{"email":["is invalid"]}}`},
		{"no email", owner, "", 422, `{"errors":{"email":["can't be blank"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *warmyapi.Config) { c.Switches.RequireEmail = true })
			status, body := w.call(http.MethodPost, "/api/v2/mailboxes", strings.Replace(mailbox(owner), tt.old, tt.new, 1))
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s, want %d %s", status, body, tt.status, tt.want)
			}
			if got := w.Summary().Mailboxes; got != 0 {
				t.Errorf("%d mailboxes", got)
			}
		})
	}
}

func TestOnlyKnownCallersAreServed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header map[string]string
		status int
	}{
		{"bearer", bearer(), 200},
		{"nothing", nil, 401},
		{"wrong key", map[string]string{"Authorization": "Bearer x", "holder-uid": warmyapi.GuideHolder}, 401},
		{"key as access-token", map[string]string{"access-token": apiKey, "holder-uid": warmyapi.GuideHolder}, 401},
		{"no workspace", map[string]string{"Authorization": "Bearer " + apiKey}, 401},
		{"other workspace", map[string]string{"Authorization": "Bearer " + apiKey, "holder-uid": "x"}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			resp, body, err := w.send(http.MethodGet, "/api/v2/tariff_plan_types", "", tt.header)
			if err != nil || resp.StatusCode != tt.status {
				t.Fatalf("%v %s (%v)", resp, body, err)
			}
			if tt.status == 401 && body != `{"errors":["You need to sign in or sign up before continuing."]}` {
				t.Errorf("401 says %s", body)
			}
			if tt.status == 200 && !strings.Contains(body, `{"id":41,"name":"Business"}`) {
				t.Errorf("plans: %s", body)
			}
		})
	}
}

func TestNoMinuteHoldsMoreCallsThanAllowed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := start(t, func(c *warmyapi.Config) {
		c.Now, c.Switches.CallsPerMinute, c.Switches.RetryAfter = func() time.Time { return now }, 3, "auto"
	})
	get := func() *http.Response {
		t.Helper()
		resp, body, err := w.send(http.MethodGet, "/api/v2/tariff_plan_types", "", bearer())
		if err != nil || resp.StatusCode == http.StatusTooManyRequests && body != `{"error":"error 429"}` {
			t.Fatalf("%s %v", body, err)
		}
		return resp
	}
	for i := range 3 {
		if resp := get(); resp.StatusCode != http.StatusOK {
			t.Fatalf("call %d: %d", i, resp.StatusCode)
		}
		now = now.Add(10 * time.Second)
	}
	if resp := get(); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "30" {
		t.Errorf("fourth call: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	now = now.Add(30 * time.Second)
	if resp := get(); resp.StatusCode != http.StatusOK {
		t.Errorf("after a minute: %d", resp.StatusCode)
	}
	if resp := get(); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("at once again: %d", resp.StatusCode)
	}
	if got := w.Summary(); got.Refused != 2 || got.MostPerMinute != 5 {
		t.Errorf("summary: refused %d, most %d", got.Refused, got.MostPerMinute)
	}
}

func TestTheUsualLimitIsSixtyWithoutRetryAfter(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *warmyapi.Config) { c.Switches = warmyapi.Switches{} })
	for i := range 61 {
		resp, _, err := w.send(http.MethodGet, "/api/v2/tariff_plan_types", "", bearer())
		if err != nil || (resp.StatusCode == http.StatusOK) != (i < 60) || resp.Header.Get("Retry-After") != "" {
			t.Fatalf("call %d: %v %v", i+1, resp, err)
		}
	}
}

func TestADuplicateIsTreatedAsTheSwitchHasIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ status, mailboxes, twice int }{
		"": {200, 1, 0}, warmyapi.DuplicateUpdates: {200, 1, 0}, warmyapi.DuplicateRefused: {422, 1, 0}, warmyapi.DuplicateSecond: {200, 2, 1},
	}
	for mode, want := range tests {
		w := start(t, func(c *warmyapi.Config) { c.Switches.Duplicate = mode })
		_, first := w.post(owner)
		status, second := w.post(strings.ToUpper(owner))
		got := w.Summary()
		if status != want.status || got.Mailboxes != want.mailboxes || got.CreatedTwice != want.twice || got.PostedAgain != 1 {
			t.Errorf("%q: status %d, summary %+v", mode, status, got)
		}
		if same := first == second; status == 200 && same != (want.twice == 0) {
			t.Errorf("%q: ids %d and %d", mode, first, second)
		}
		if len(w.CreatedTwice()) != want.twice {
			t.Errorf("%q: created twice: %v", mode, w.CreatedTwice())
		}
	}
}

func TestListingsComeInPages(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for i := range 30 {
		w.post(fmt.Sprintf("o%02d@contoso.example", i))
	}
	tests := []struct {
		query              string
		items, total, page int
		next, prev         any
	}{
		{"", 25, 30, 1, 2.0, nil},
		{"?page=2", 5, 30, 2, nil, 1.0},
		{"?per_page=10&page=2", 10, 30, 2, 3.0, 1.0},
		{"?filter[email]=O1", 10, 10, 1, nil, nil},
		{"?page=9", 0, 30, 9, nil, nil},
	}
	for _, tt := range tests {
		_, body := w.call(http.MethodGet, "/api/v2/mailboxes"+tt.query, "")
		var out struct {
			Items      []map[string]any `json:"items"`
			Pagination map[string]any   `json:"pagination"`
		}
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatal(err)
		}
		p := out.Pagination
		if len(out.Items) != tt.items || p["total_count"] != float64(tt.total) || p["current_page"] != float64(tt.page) || p["next_page"] != tt.next {
			t.Errorf("%q: %d items, %v", tt.query, len(out.Items), p)
		}
		if tt.page < 9 && p["prev_page"] != tt.prev {
			t.Errorf("%q: prev %v", tt.query, p["prev_page"])
		}
	}
	for _, bad := range []string{"per_page=101", "per_page=x", "page=0"} {
		if status, _ := w.call(http.MethodGet, "/api/v2/mailboxes?"+bad, ""); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, status)
		}
	}
}

func TestAListingMayLagBehind(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := start(t, func(c *warmyapi.Config) {
		c.Now, c.Switches.ListingLag = func() time.Time { return now }, trouble.Duration(time.Minute)
	})
	w.post(owner)
	if _, body := w.call(http.MethodGet, "/api/v2/mailboxes", ""); strings.Contains(body, owner) {
		t.Errorf("at once: %s", body)
	}
	now = now.Add(time.Minute)
	if _, body := w.call(http.MethodGet, "/api/v2/mailboxes", ""); !strings.Contains(body, owner) {
		t.Errorf("later: %s", body)
	}
}

func TestStatesAndPlansChange(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *warmyapi.Config) { c.Switches.StartPaused = true })
	_, id := w.post(owner)
	at := fmt.Sprintf("/api/v2/mailboxes/%d", id)
	if _, body := w.call(http.MethodGet, at, ""); !strings.Contains(body, `"state_key":"not_active"`) || !strings.Contains(body, `"warmup_active":false`) {
		t.Errorf("new: %s", body)
	}
	steps := []struct {
		path, body string
		status     int
		want       string
	}{
		{"/update_state", `{"mailbox":{"state":"pause!"}}`, 422, `{"errors":["not allowed transmission"]}`},
		{"/update_state", `{"mailbox":{"state":"activate!"}}`, 200, `"warmup_active":true`},
		{"/update_state", `{"mailbox":{"state":"activate!"}}`, 422, "not allowed"},
		{"/change_tariff_plan", `{"mailbox":{"tariff_plan_type_id":9}}`, 422, "must exist"},
		{"/change_tariff_plan", `{"mailbox":{"tariff_plan_type_id":1}}`, 200, `"tariff_plan_type_id":1,`},
		{"/change_tariff_plan", `{"mailbox":{"tariff_plan_type_id":null}}`, 200, `"tariff_plan_type_id":null`},
	}
	for _, s := range steps {
		if status, body := w.call(http.MethodPut, at+s.path, s.body); status != s.status || !strings.Contains(body, s.want) {
			t.Errorf("%s %s: %d %s", s.path, s.body, status, body)
		}
	}
	sw := w.Switches()
	sw.PlainText = true
	w.Turn(sw)
	if _, body := w.call(http.MethodPut, at+"/update_state", `{"mailbox":{"state":"pause!"}}`); body != "success" {
		t.Errorf("plain text: %s", body)
	}
	for _, path := range []string{"/api/v2/mailboxes/1/update_state", "/api/v2/mailboxes/x/change_tariff_plan"} {
		if status, _ := w.call(http.MethodPut, path, `{}`); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestTroubleWithAPost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		rule    trouble.Rule
		status  int // 0: no answer
		body    string
		created int
	}{
		{"500", trouble.Rule{Kind: trouble.ServerError, Op: warmyapi.OpCreate}, 500, "Internal", 0},
		{"502 page", trouble.Rule{Kind: trouble.BadGateway}, 502, "<html>", 0},
		{"500 after the effect", trouble.Rule{Kind: trouble.ServerError, Commit: true}, 500, "Internal", 1},
		{"field error", warmyapi.FieldError("from_name", "is too long"), 422, `{"errors":{"from_name":["is too long"]}}`, 0},
		{"bad credentials", warmyapi.BadCredentials(), 400, "Please recheck your credentials and try again", 0},
		{"signed out", warmyapi.SignedOut(), 401, "You need to sign in", 0},
		{"without id", warmyapi.WithoutID(), 200, `"data":{"tariff_plan_type_id":41}`, 1},
		{"reset", trouble.Rule{Kind: trouble.Reset}, 0, "", 0},
		{"reset after the effect", trouble.Rule{Kind: trouble.Reset, Commit: true}, 0, "", 1},
		{"429 by rule", trouble.Rule{Kind: trouble.Throttled, RetryAfter: "9"}, 429, "Too Many", 0},
		{"cut off", trouble.Rule{Kind: trouble.Truncate, Commit: true}, 0, "", 1},
		{"id as text", trouble.Rule{Kind: trouble.Answer, Status: 200, Commit: true, Body: `{"data":{"id":"{id}"}}`}, 200, `{"data":{"id":"1001"}}`, 1},
		{"drip", trouble.Rule{Kind: trouble.Drip, Delay: 1, Commit: true}, 200, `"id":1001`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(c *warmyapi.Config) { tt.rule.Times = 1; c.Rules = []trouble.Rule{tt.rule} })
			resp, body, err := w.send(http.MethodPost, "/api/v2/mailboxes", mailbox(owner), bearer())
			switch {
			case tt.status == 0 && err == nil:
				t.Errorf("answered %d %s", resp.StatusCode, body)
			case tt.status != 0 && (err != nil || resp.StatusCode != tt.status || !strings.Contains(body, tt.body)):
				t.Errorf("%v %s (%v)", resp, body, err)
			}
			posts := w.Posts(owner)
			if len(posts) != 1 || posts[0].Created != (tt.created == 1) || len(w.Mailboxes(owner)) != tt.created {
				t.Errorf("ledger: %+v", posts)
			}
			if status, _ := w.post(owner); status != http.StatusOK {
				t.Errorf("second post: %d", status)
			}
			if got := len(w.Mailboxes("")); got != 1 {
				t.Errorf("%d mailboxes in the end", got)
			}
		})
	}
}

func TestALostAnswerHangsUntilTheClientGivesUp(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *warmyapi.Config) { c.Rules = []trouble.Rule{warmyapi.LostAnswer()} })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/v2/mailboxes", strings.NewReader(mailbox(owner)))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range bearer() {
		req.Header.Set(k, v)
	}
	resp, err := w.client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	if posts := w.Posts(owner); len(posts) != 1 || !posts[0].Created || posts[0].Delivered {
		t.Errorf("ledger: %+v", posts)
	}
}

func TestAnOutageStopsEverything(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for status, want := range map[int]string{http.StatusBadGateway: "<html>", http.StatusServiceUnavailable: "maintenance"} {
		w.Turn(warmyapi.Switches{CallsPerMinute: -1, Outage: status})
		if got, body := w.call(http.MethodPost, "/api/v2/mailboxes", mailbox(owner)); got != status || !strings.Contains(body, want) {
			t.Errorf("%d %s", got, body)
		}
	}
	w.Turn(warmyapi.Switches{CallsPerMinute: -1, Outage: 1})
	if _, _, err := w.send(http.MethodGet, "/api/v2/mailboxes", "", bearer()); err == nil {
		t.Error("answered during an outage without answers")
	}
	w.Turn(warmyapi.Switches{CallsPerMinute: -1})
	if status, _ := w.post(owner); status != http.StatusOK || w.Summary().Mailboxes != 1 {
		t.Errorf("after the outage: %d", status)
	}
}

func TestWarmyTriesTheTokens(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *warmyapi.Config) {
		c.Inspect = func(access, _ string) (string, bool) { return "Bob@contoso.example", access == "at" }
	})
	if status, body := w.call(http.MethodPost, "/api/v2/mailboxes", strings.Replace(mailbox(owner), `"at"`, `"dead"`, 1)); status != http.StatusBadRequest || !strings.Contains(body, "recheck your credentials") {
		t.Errorf("dead tokens: %d %s", status, body)
	}
	w.post(owner)
	if got := w.Summary().ForeignTokens; got != 1 {
		t.Errorf("%d mailboxes with foreign tokens", got)
	}
	if status, _ := w.call(http.MethodPost, "/api/v2/mailboxes", mailbox("")); status != http.StatusOK || len(w.Mailboxes("bob@contoso.example")) != 1 {
		t.Errorf("without an email: %d, %+v", status, w.Mailboxes(""))
	}
}

func TestAnotherProcessCanSteerAndAsk(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	body := `{"rules":[{"kind":"server_error","op":"create","address":"ann@contoso.example","times":1,"commit":true}],"switches":{"duplicate":"second"}}`
	if status, body := w.call(http.MethodPost, "/_sim/faults", body); status != http.StatusOK {
		t.Fatalf("faults: %d %s", status, body)
	}
	if status, _ := w.post(owner); status != http.StatusInternalServerError {
		t.Errorf("first post: %d", status)
	}
	w.post(owner)
	_, raw := w.call(http.MethodGet, "/_sim/ledger?address="+owner, "")
	var ledger struct {
		Summary   warmyapi.Summary   `json:"summary"`
		Posts     []warmyapi.Post    `json:"posts"`
		Mailboxes []warmyapi.Mailbox `json:"mailboxes"`
	}
	if err := json.Unmarshal([]byte(raw), &ledger); err != nil || ledger.Summary.CreatedTwice != 1 || len(ledger.Posts) != 2 || len(ledger.Mailboxes) != 2 {
		t.Errorf("ledger: %s (%v)", raw, err)
	}
	if ledger.Summary.Calls["create"]["server_error"] != 1 || ledger.Summary.Calls["create"]["200"] != 1 {
		t.Errorf("calls: %v", ledger.Summary.Calls)
	}
	if strings.Contains(raw, `"rt"`) {
		t.Error("the ledger shows a token")
	}
}
