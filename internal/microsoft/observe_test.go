package microsoft_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

// ledger is an Observer that remembers.
type ledger struct {
	mu      sync.Mutex
	answers []string
	unknown []string
}

func (l *ledger) Answered(call microsoft.Call, outcome microsoft.Outcome, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := string(call) + " " + string(outcome)
	if took <= 0 || !slices.Contains(microsoft.Calls(), call) || !slices.Contains(microsoft.Outcomes(), outcome) {
		line += fmt.Sprint(" is not of the closed sets, or took ", took)
	}
	l.answers = append(l.answers, line)
}

func (l *ledger) Unknown(word string, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown = append(l.unknown, fmt.Sprint(word, " ", number))
	if !slices.Contains(microsoft.UnknownWords(), word) {
		l.unknown = append(l.unknown, "of no closed set")
	}
}

// take returns what was counted since the last take.
func (l *ledger) take() (answers, unknown []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answers, unknown = l.answers, l.unknown
	l.answers, l.unknown = nil, nil
	return answers, unknown
}

func (f *fake) watched(t *testing.T, timeout time.Duration) (*microsoft.Client, *ledger) {
	t.Helper()
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	counts := &ledger{}
	return microsoft.New(microsoft.Config{
		Apps: []microsoft.App{f.app()}, Transport: transport, Now: clock, Timeout: timeout, Observer: counts,
	}), counts
}

func TestEveryRequestIsCountedWithItsOutcome(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	patient, counted := server.watched(t, patience)
	impatient, cutOff := server.watched(t, 300*time.Millisecond)
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		outcome string
		unknown []string
	}{
		"tokens":              {answerJSON(200, goodGrant()), "ok", nil},
		"a known number":      {errorAnswer("invalid_grant", 54005), "needs_consent", nil},
		"an unknown number":   {errorAnswer("invalid_grant", 99999999), "needs_consent", []string{"invalid_grant 99999999"}},
		"an unknown word too": {errorAnswer("something_new", 99999999), "transient", []string{"other 99999999"}},
		"only an unknown word": {
			answerText(400, `{"error":"something_new","error_description":"`+canary+`"}`), "transient", []string{"other 0"},
		},
		"an unknown number of a failing server": {
			answerText(503, `{"error":"server_error","error_codes":[99999998]}`), "outage", []string{"server_error 99999998"},
		},
		"a known one among unknown ones": {answerText(400, `{"error":"invalid_grant","error_codes":[99999999,54005]}`), "needs_consent", nil},
		"a loop":                         {errorAnswer("invalid_grant", 50196), "retry_after", nil},
		"a wrong secret":                 {errorAnswer("invalid_client", 7000215), "leg_down", nil},
		"a mixed up attempt":             {errorAnswer("invalid_grant", 501481), "mixed_up", nil},
		"malformed":                      {errorAnswer("invalid_request", 900144), "permanent", nil},
		"an outage":                      {answerText(500, ""), "outage", nil},
		"no answer":                      {hang, "outage", nil},
		"no access token":                {answerText(200, `{}`), "permanent", nil},
		"HTML":                           {answerText(200, "<html>"), "transient", nil},
		"HTML that refuses":              {answerText(403, "<html>"), "transient", nil},
		"a redirect":                     {answerText(302, "", "Location", "/"), "leg_down", nil},
	} {
		client, counts := patient, counted
		if name == "no answer" {
			client, counts = impatient, cutOff
		}
		server.onToken(c.answer)
		_ = redeem(t.Context(), client)
		_, _ = client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
		answers, unknown := counts.take()
		if diff := cmp.Diff([]string{"redeem " + c.outcome, "refresh " + c.outcome}, answers); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(slices.Concat(c.unknown, c.unknown), unknown); diff != "" {
			t.Errorf("%s, unknown: %s", name, diff)
		}
	}
}

func TestKeysAndProfilesAreCountedAndAShutdownIsNoOutage(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client, counts := server.watched(t, patience)
	good := *server.keys.Load()
	prove := func() { _, _ = client.Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address) }
	expect := func(want ...string) {
		t.Helper()
		answers, unknown := counts.take()
		if diff := cmp.Diff(want, answers); diff != "" || len(unknown) > 0 {
			t.Errorf("%s unknown %v", diff, unknown)
		}
	}
	server.onKeys(answerText(500, ""))
	prove()
	expect("keys outage")
	server.onKeys(good)
	prove()
	expect("keys ok", "me ok")
	server.onGraph(answerText(403, ""))
	prove()
	expect("me permanent")
	server.onGraph(answerText(503, ""))
	prove()
	expect("me outage")
	ctx, cancel := context.WithCancel(t.Context())
	server.onToken(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_ = redeem(ctx, client)
	expect("redeem interrupted")
}
