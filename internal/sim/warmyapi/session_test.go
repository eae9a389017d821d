package warmyapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"kindling/internal/sim/warmyapi"
)

// signIn returns the session headers of a new client.
func (w *warmy) signIn() map[string]string {
	w.t.Helper()
	resp, body, err := w.send(http.MethodPost, "/api/v1/auth/sign_in", `{"email":"ops@example.com","password":"pass"}`, map[string]string{"holder-uid": warmyapi.GuideHolder})
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("sign in: %s (%v)", body, err)
	}
	return map[string]string{
		"access-token": resp.Header.Get("access-token"), "client": resp.Header.Get("client"), "uid": resp.Header.Get("uid"),
		"holder-uid": warmyapi.GuideHolder,
	}
}

// use makes a call with a session and returns the status and the token header,
// with whether the header came at all.
func (w *warmy) use(session map[string]string) (status int, token string, came bool) {
	w.t.Helper()
	resp, _, err := w.send(http.MethodGet, "/api/v2/tariff_plan_types", "", session)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("access-token"), len(resp.Header.Values("access-token")) > 0
}

func TestASessionWorksAndBadLoginsDoNot(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	session := w.signIn()
	if status, token, _ := w.use(session); status != http.StatusOK || token != session["access-token"] {
		t.Errorf("%d, token kept: %v", status, token == session["access-token"])
	}
	for _, body := range []string{`{"email":"ops@example.com","password":"no"}`, `{}`, `x`} {
		resp, text, err := w.send(http.MethodPost, "/api/v1/auth/sign_in", body, map[string]string{"holder-uid": warmyapi.GuideHolder})
		if err != nil || resp.StatusCode != http.StatusUnauthorized || text != `{"errors":["Invalid login credentials. Please try again."],"success":false}` {
			t.Errorf("%s: %s (%v)", body, text, err)
		}
	}
	w.SignOutAll()
	if status, _, _ := w.use(session); status != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", status)
	}
}

func TestTokensRotateOutsideTheFiveSecondWindow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := start(t, func(c *warmyapi.Config) {
		c.Now, c.Switches.RotateTokens = func() time.Time { return now }, true
	})
	session := w.signIn()
	first := session["access-token"]
	if status, token, came := w.use(session); status != http.StatusOK || token != "" || !came {
		t.Errorf("within the window: %d, token %q, header %v", status, token, came)
	}
	rotate := func() string {
		t.Helper()
		now = now.Add(6 * time.Second)
		status, token, _ := w.use(session)
		if status != http.StatusOK || token == "" || token == session["access-token"] {
			t.Fatalf("rotation: %d, token %q", status, token)
		}
		session["access-token"] = token
		return token
	}
	second := rotate()
	third := rotate()
	for token, want := range map[string]int{third: http.StatusOK, second: http.StatusOK, first: http.StatusOK} {
		session["access-token"] = token
		if status, _, _ := w.use(session); status != want {
			t.Errorf("within the window: %d", status)
		}
	}
	now = now.Add(6 * time.Second)
	session["access-token"] = first
	if status, _, _ := w.use(session); status != http.StatusUnauthorized {
		t.Errorf("the token before the last, later: %d", status)
	}
	session["access-token"] = second
	if status, _, _ := w.use(session); status != http.StatusOK {
		t.Errorf("the last token, later: %d", status)
	}
}

func TestTheEleventhDeviceEvictsTheFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := start(t, func(c *warmyapi.Config) { c.Now = func() time.Time { return now } })
	var all []map[string]string
	for range 11 {
		all = append(all, w.signIn())
		now = now.Add(time.Second)
	}
	got := ""
	for _, session := range all {
		status, _, _ := w.use(session)
		got += fmt.Sprint(status/100, " ")
	}
	if got != "4 2 2 2 2 2 2 2 2 2 2 " {
		t.Errorf("statuses: %s", got)
	}
	now = now.Add(15 * 24 * time.Hour)
	if status, _, _ := w.use(all[10]); status != http.StatusUnauthorized {
		t.Errorf("after two weeks: %d", status)
	}
}
