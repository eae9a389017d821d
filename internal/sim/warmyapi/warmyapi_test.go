package warmyapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kindling/internal/sim/warmyapi"
)

const (
	apiKey = "sim-key"
	owner  = "ann@contoso.example"
)

// warmy is a server under test with the moves of a client.
type warmy struct {
	*warmyapi.Server
	t      *testing.T
	url    string
	client *http.Client
}

func start(t *testing.T, change func(*warmyapi.Config)) *warmy {
	t.Helper()
	cfg := warmyapi.Config{
		APIKeys: []string{apiKey}, Logins: []warmyapi.Login{{Email: "ops@example.com", Password: "pass"}},
		Seed: 1, Switches: warmyapi.Switches{CallsPerMinute: -1},
	}
	if change != nil {
		change(&cfg)
	}
	s := warmyapi.New(cfg)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &warmy{Server: s, t: t, url: server.URL, client: client}
}

func (w *warmy) send(method, path, body string, header map[string]string) (*http.Response, string, error) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func bearer() map[string]string {
	return map[string]string{"Authorization": "Bearer " + apiKey, "holder-uid": warmyapi.GuideHolder}
}

// call is send with the API key; it expects an answer.
func (w *warmy) call(method, path, body string) (int, string) {
	w.t.Helper()
	resp, text, err := w.send(method, path, body, bearer())
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, text
}

func mailbox(address string) string {
	return fmt.Sprintf(`{"mailbox":{"provider":"oauth_outlook","from_name":"Ann","email":%q,"client_id":"id","client_secret":"s",
		"access_token":"at","refresh_token":"rt","tariff_plan_type_id":41,"setting_attributes":{"speed_mode":"fast"}}}`, address)
}

func (w *warmy) post(address string) (int, int64) {
	w.t.Helper()
	status, body := w.call(http.MethodPost, "/api/v2/mailboxes", mailbox(address))
	var out struct {
		Message []string `json:"message"`
		Data    struct {
			ID   int64 `json:"id"`
			Plan int64 `json:"tariff_plan_type_id"`
		} `json:"data"`
	}
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil || out.Data.Plan != 41 || len(out.Message) == 0 {
			w.t.Fatalf("post: %q (%v)", body, err)
		}
	}
	return status, out.Data.ID
}

func TestAMailboxIsCreatedListedAndRemoved(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	status, id := w.post(owner)
	if status != http.StatusOK || id == 0 {
		t.Fatalf("post: %d, id %d", status, id)
	}
	if _, body := w.call(http.MethodGet, "/api/v2/mailboxes?response_type=simple&filter[email]=ANN@", ""); !strings.Contains(body, fmt.Sprintf(`{"email":"ann@contoso.example","id":%d}`, id)) {
		t.Errorf("listing: %s", body)
	}
	if status, body := w.call(http.MethodDelete, fmt.Sprintf("/api/v2/mailboxes/%d", id), ""); status != http.StatusOK {
		t.Errorf("delete: %d %s", status, body)
	}
	if status, _ := w.call(http.MethodGet, fmt.Sprintf("/api/v2/mailboxes/%d", id), ""); status != http.StatusNotFound {
		t.Errorf("get after delete: %d", status)
	}
	if posts := w.Posts(owner); len(posts) != 1 || !posts[0].Created || !posts[0].Delivered || posts[0].ID != id {
		t.Errorf("posts: %+v", posts)
	}
}
