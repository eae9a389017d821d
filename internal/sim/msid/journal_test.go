package msid_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/sim/msid"
)

// remembering starts a server with a journal; again starts the next one on it.
func remembering(t *testing.T, file string, now func() time.Time) *microsoft {
	t.Helper()
	m := start(t, func(c *msid.Config) { c.Journal, c.Now = file, now })
	t.Cleanup(func() { _ = m.Close() }) // again, where the test did
	return m
}

func (m *microsoft) again(file string, now func() time.Time) *microsoft {
	m.t.Helper()
	if err := m.Close(); err != nil {
		m.t.Fatal(err)
	}
	return remembering(m.t, file, now)
}

func (m *microsoft) codeOf(address string) string {
	m.t.Helper()
	return m.consent(address, "accept", nil).Get("code")
}

// redeem expects tokens for a code.
func (m *microsoft) redeem(code string) (access, refresh string) {
	m.t.Helper()
	status, body := m.token(codeForm(code), nil)
	access, _ = body["access_token"].(string)
	refresh, _ = body["refresh_token"].(string)
	if status != http.StatusOK || access == "" || refresh == "" {
		m.t.Fatalf("redeem: %d %v", status, body)
	}
	return access, refresh
}

// refused expects an AADSTS error.
func (m *microsoft) refused(what string, form url.Values, want string) {
	m.t.Helper()
	status, body := m.token(form, nil)
	text, _ := body["error_description"].(string)
	if status == http.StatusOK || !strings.HasPrefix(text, want+":") {
		m.t.Errorf("%s: %d %q, want %s", what, status, text, want)
	}
}

func refreshing(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "client_secret": {secret}, "refresh_token": {token}}
}

func (m *microsoft) published() string {
	m.t.Helper()
	_, body := m.do(http.MethodGet, "/common/discovery/v2.0/keys", nil)
	return body
}

func TestCodesGrantsAndKeysGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "microsoft.jsonl")
	m := remembering(t, file, nil)
	m.Turn(msid.Switches{RevokeOnReplay: true, FailedAuthSpendsCode: true, Refresh: "single_use"})
	fresh, redeemed, spent := m.codeOf("Fresh.Owner@contoso.example"), m.code(), m.code()
	access, old := m.redeem(redeemed)
	_, body := m.token(refreshing(old), nil)
	rotated, _ := body["refresh_token"].(string)
	m.token(codeForm(spent), url.Values{"client_secret": {"wrong"}})
	replayed := m.codeOf("bob@contoso.example")
	_, lost := m.redeem(replayed)
	m.token(codeForm(replayed), nil)
	_, ended := m.redeem(m.codeOf("eve@contoso.example"))
	m.EndGrants("EVE@contoso.example", 50173)
	m.RotateKeys(false)
	keys, codes := m.published(), m.Codes("bob@contoso.example")
	for range 2 { // from appended lines, and from rewritten ones
		m = m.again(file, nil)
		if diff := cmp.Diff(codes, m.Codes("bob@contoso.example")); diff != "" {
			t.Error(diff)
		}
		if got := m.published(); got != keys {
			t.Errorf("keys: %s, want %s", got, keys)
		}
		if address, alive := m.Owner(access); address != owner || !alive {
			t.Errorf("access token: %q, alive %v", address, alive)
		}
		m.refused("rotated refresh token", refreshing(old), "AADSTS70000")
		m.refused("grant of a replayed code", refreshing(lost), "AADSTS70000")
		m.refused("ended grant", refreshing(ended), "AADSTS50173")
	}
	m.refused("redeemed code", codeForm(redeemed), "AADSTS54005")
	m.refused("spent code", codeForm(spent), "AADSTS54005")
	if status, body := m.token(refreshing(rotated), nil); status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, body)
	}
	if access, _ := m.redeem(fresh); access != "" {
		m = m.again(file, nil)
		if address, alive := m.Owner(access); address != "fresh.owner@contoso.example" || !alive {
			t.Errorf("token of the code that waited: %q, alive %v", address, alive)
		}
	}
	if got := m.Summary(); got.Codes != 5 || got.Redeemed != 4 || got.SentTwice != 3 || got.SentAfterTokens != 2 {
		t.Errorf("summary: %+v", got)
	}
}

func TestAnAdministratorsConsentAndAForgottenKeyStayAsTheyAre(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "microsoft.jsonl")
	m := remembering(t, file, nil)
	first := m.published()
	m.do(http.MethodPost, "/organizations/v2.0/adminconsent?"+query(nil).Encode(), url.Values{"address": {owner}, "action": {"accept"}})
	m.RotateKeys(true)
	m = m.again(file, nil)
	m.Turn(msid.Switches{AdminConsentNeeded: true})
	if code := m.codeOf(owner); code == "" {
		t.Error("the administrator's consent is forgotten")
	}
	if got := m.published(); got == first || strings.Count(got, `"kid"`) != 1 {
		t.Errorf("keys: %s", got)
	}
}

func TestWhatExpiredLongAgoIsForgotten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "microsoft.jsonl")
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	m := remembering(t, file, clock)
	code := m.code()
	_, refresh := m.redeem(code)
	for i, step := range []struct {
		after time.Duration
		lines int // of keys, codes, grants and tokens
		code  string
	}{
		{time.Hour, 6, "AADSTS54005"},
		{48 * time.Hour, 4, "AADSTS9002313"},
		{100 * 24 * time.Hour, 2, "AADSTS9002313"},
	} {
		now = now.Add(step.after)
		m = m.again(file, clock)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(raw), "\n"); got != step.lines {
			t.Errorf("step %d: %d lines, want %d", i+1, got, step.lines)
		}
		m.refused("code", codeForm(code), step.code)
		if step.after == 48*time.Hour {
			// asks for no new token to be kept, so that the last one can expire
			m.Turn(msid.Switches{Refresh: "same"})
			if status, body := m.token(refreshing(refresh), nil); status != http.StatusOK {
				t.Errorf("step %d: refresh: %d %v", i+1, status, body)
			}
		}
	}
}

func TestAGrantKeepsItsNewestTokensOnly(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "microsoft.jsonl")
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	m := remembering(t, file, func() time.Time { return now })
	_, first := m.redeem(m.code())
	newest := first
	for range 50 {
		now = now.Add(time.Minute)
		_, body := m.token(refreshing(newest), nil)
		newest, _ = body["refresh_token"].(string)
	}
	m = m.again(file, func() time.Time { return now })
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(raw), `{"refresh":`); got != 4 {
		t.Errorf("%d refresh tokens, want 4", got)
	}
	m.refused("the first of 51 tokens", refreshing(first), "AADSTS9002313")
	if status, body := m.token(refreshing(newest), nil); status != http.StatusOK {
		t.Errorf("the newest: %d %v", status, body)
	}
}

func TestAJournalCutAnywhereOpens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "microsoft.jsonl")
	m := remembering(t, file, nil)
	_, refresh := m.redeem(m.code())
	m.token(refreshing(refresh), nil)
	m.EndGrants(owner, 50173)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(raw); cut += 23 {
		if err := os.WriteFile(file, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := msid.Open(msid.Config{Journal: file, SigningAlg: msid.ES256, Apps: []msid.App{{ClientID: clientID}}})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAServerWithAFaultyJournalOrAlgorithmDoesNotOpen(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"box":{"id":1}}`: "line 1: unknown record",
		`{"key":{"id":"k","alg":"RS256","private":"AAAA"}}`: "line 1: signing key",
		`{"mint":"`: "line 1: unexpected end",
	} {
		file := filepath.Join(t.TempDir(), "microsoft.jsonl")
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := msid.Open(msid.Config{Journal: file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if _, err := msid.Open(msid.Config{SigningAlg: "none"}); err == nil {
		t.Error("an unknown algorithm was taken")
	}
}
