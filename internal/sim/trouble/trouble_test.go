package trouble_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/sim/trouble"
)

// serve returns the address of a server that plays one rule around an answer.
func serve(t *testing.T, rule trouble.Rule) string {
	t.Helper()
	truth := trouble.JSON(http.StatusOK, map[string]string{"a": "1", "b": "2"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rule.Play(w, r, truth) }))
	t.Cleanup(server.Close)
	return server.URL
}

func get(ctx context.Context, t *testing.T, url string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestARuleChangesTheAnswer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		rule   trouble.Rule
		status int
		body   string // a part of it
		header [2]string
	}{
		{"none", trouble.Rule{}, 200, `{"a":"1","b":"2"}`, [2]string{"Content-Type", "application/json; charset=utf-8"}},
		{"answer", trouble.Rule{Kind: trouble.Answer, Status: 520, Body: "<p>", Header: map[string]string{"X-A": "b"}}, 520, "<p>", [2]string{"X-A", "b"}},
		{"throttled", trouble.Rule{Kind: trouble.Throttled, RetryAfter: "7"}, 429, "Too Many Requests", [2]string{"Retry-After", "7"}},
		{"throttled bare", trouble.Rule{Kind: trouble.Throttled}, 429, "Too Many", [2]string{"Retry-After", ""}},
		{"server error", trouble.Rule{Kind: trouble.ServerError}, 500, "Internal Server Error", [2]string{}},
		{"bad gateway", trouble.Rule{Kind: trouble.BadGateway}, 502, "<center>nginx", [2]string{"Content-Type", "text/html"}},
		{"redirect", trouble.Rule{Kind: trouble.Redirect}, 307, "", [2]string{"Location", trouble.TrapPath}},
		{"redirect elsewhere", trouble.Rule{Kind: trouble.Redirect, Status: 301, Value: "/x"}, 301, "", [2]string{"Location", "/x"}},
		{"drip", trouble.Rule{Kind: trouble.Drip, Delay: 1}, 200, `{"a":"1","b":"2"}`, [2]string{}},
		{
			"bend",
			trouble.Rule{Kind: trouble.Bend, Drop: []string{"a"}, Set: map[string]json.RawMessage{"c": json.RawMessage("3.5")}},
			200, `{"b":"2","c":3.5}`,
			[2]string{},
		},
		{"delay is for the server", trouble.Rule{Kind: trouble.Delay}, 200, `{"a":"1"`, [2]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body, err := get(t.Context(), t, serve(t, tt.rule))
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			if got := resp.Header.Get(tt.header[0]); tt.header[0] != "" && got != tt.header[1] {
				t.Errorf("%s: %q, want %q", tt.header[0], got, tt.header[1])
			}
		})
	}
}

func TestAResetGivesAnErrorAndNoAnswer(t *testing.T) {
	t.Parallel()
	if resp, _, err := get(t.Context(), t, serve(t, trouble.Rule{Kind: trouble.Reset})); err == nil {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestATruncatedAnswerEndsEarly(t *testing.T) {
	t.Parallel()
	resp, body, err := get(t.Context(), t, serve(t, trouble.Rule{Kind: trouble.Truncate}))
	if err == nil || resp == nil || resp.StatusCode != http.StatusOK || body != `{"a":"1"` {
		t.Errorf("body %q, error %v", body, err)
	}
}

func TestAHangLastsUntilTheClientGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := get(ctx, t, serve(t, trouble.Rule{Kind: trouble.Hang})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if _, _, err := get(t.Context(), t, serve(t, trouble.Rule{Kind: trouble.Hang, Delay: 1})); err == nil {
		t.Error("a hang with an end gave an answer")
	}
}

func TestASlowDripOutlastsAnImpatientClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	resp, body, err := get(ctx, t, serve(t, trouble.Rule{Kind: trouble.Drip}))
	if err == nil || resp == nil || body != "{" {
		t.Errorf("body %q, error %v", body, err)
	}
}

func TestHugeAnswersAreAsLargeAsAsked(t *testing.T) {
	t.Parallel()
	for _, kind := range []trouble.Kind{trouble.Huge, trouble.Bomb} {
		_, body, err := get(t.Context(), t, serve(t, trouble.Rule{Kind: kind, Size: 3 << 20}))
		if err != nil || len(body) < 3<<20 {
			t.Errorf("%s: %d bytes, %v", kind, len(body), err)
		}
	}
}

func newBook(t *testing.T, seed uint64, rules ...trouble.Rule) *trouble.Book {
	t.Helper()
	b := trouble.NewBook(seed, nil, []string{"post", "list"})
	if err := b.Set(rules); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARuleHitsOnlyWhatItIsMeantFor(t *testing.T) {
	t.Parallel()
	base := trouble.Rule{Kind: trouble.Reset}
	with := func(change func(*trouble.Rule)) trouble.Rule {
		r := base
		change(&r)
		return r
	}
	tests := []struct {
		name string
		rule trouble.Rule
		want string // one letter per call: x is a hit
	}{
		{"always", base, "xxxxxx"},
		{"by address", with(func(r *trouble.Rule) { r.Address = "A@x" }), "x.x.x."},
		{"by op", with(func(r *trouble.Rule) { r.Op = "list" }), "......"},
		{"twice", with(func(r *trouble.Rule) { r.Times = 2 }), "xx...."},
		{"after three", with(func(r *trouble.Rule) { r.After = 3 }), "...xxx"},
		{"once each", with(func(r *trouble.Rule) { r.Times, r.PerAddress = 1, true }), "xx...."},
		{"each second time", with(func(r *trouble.Rule) { r.After, r.Times, r.PerAddress = 1, 1, true }), "..xx.."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBook(t, 1, tt.rule)
			got := ""
			for range 3 {
				for _, address := range []string{"a@x", "B@x"} {
					got += map[bool]string{true: "x", false: "."}[b.Next("post", address).Hits()]
				}
			}
			if got != tt.want {
				t.Errorf("hits %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTheSameSeedMeetsTheSameTrouble(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) (hits []string) {
		b := newBook(t, seed, trouble.Rule{Kind: trouble.Reset, Probability: 0.3})
		for i := range 400 {
			address := fmt.Sprintf("o%d@x", i%100)
			if b.Next("post", address).Hits() {
				hits = append(hits, fmt.Sprint(i))
			}
		}
		return hits
	}
	first := draw(1)
	if diff := cmp.Diff(first, draw(1)); diff != "" {
		t.Errorf("same seed:\n%s", diff)
	}
	if cmp.Equal(first, draw(2)) {
		t.Error("another seed, the same draw")
	}
	if len(first) < 80 || len(first) > 160 {
		t.Errorf("%d of 400 hit, want about 120", len(first))
	}
}

func TestAShareIsAlwaysTheSameAddresses(t *testing.T) {
	t.Parallel()
	b := newBook(t, 1, trouble.Rule{Kind: trouble.Reset, Share: 0.1})
	hit := 0
	for i := range 1000 {
		address := fmt.Sprintf("o%d@x", i)
		first := b.Next("post", address).Hits()
		if first != b.Next("post", address).Hits() {
			t.Fatalf("%s is hit once and once not", address)
		}
		if first {
			hit++
		}
	}
	if hit < 60 || hit > 140 {
		t.Errorf("%d of 1000 addresses, want about 100", hit)
	}
}

func TestAFaultyRuleIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBook(t, 1, trouble.Rule{Kind: trouble.Reset})
	for _, rule := range []trouble.Rule{
		{},
		{Kind: "resett"},
		{Kind: trouble.Reset, Op: "pots"},
		{Kind: trouble.Reset, Share: 1.1},
		{Kind: trouble.Reset, Probability: -1},
		{Kind: trouble.Reset, Times: -1},
		{Kind: trouble.Answer},
		{Kind: trouble.Drip, Delay: -1},
	} {
		if err := b.Set([]trouble.Rule{rule}); err == nil {
			t.Errorf("%+v was accepted", rule)
		}
	}
	if got := b.Rules(); len(got) != 1 || got[0].Kind != trouble.Reset {
		t.Errorf("rules: %+v", got)
	}
}

func TestAddedRulesKeepTheCountersOfTheOld(t *testing.T) {
	t.Parallel()
	b := newBook(t, 1, trouble.Rule{Kind: trouble.Reset, Times: 1})
	b.Next("post", "a@x")
	if err := b.Add(trouble.Rule{Kind: trouble.Hang, Times: 1}); err != nil {
		t.Fatal(err)
	}
	if got := b.Next("post", "a@x").Kind; got != trouble.Hang {
		t.Errorf("second call meets %q", got)
	}
	if b.Next("post", "a@x").Hits() {
		t.Error("third call is hit")
	}
}

type switches struct {
	On bool `json:"on"`
	N  int  `json:"n"`
}

func TestControlOverHTTPChangesWhatItNames(t *testing.T) {
	t.Parallel()
	b := newBook(t, 1)
	var at atomic.Pointer[switches]
	at.Store(&switches{N: 4})
	server := httptest.NewServer(trouble.Serve(b, &at))
	t.Cleanup(server.Close)
	for body, want := range map[string]int{
		`{"rules":[{"kind":"reset"}],"latency":"5ms","switches":{"on":true}}`: 200,
		`{"rules":[{"kind":"nope"}]}`:                                         400,
		`{"switches":{"off":true}}`:                                           400,
		`{"latency":5}`:                                                       400,
		`{"surprise":1}`:                                                      400,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", body, resp.StatusCode, want)
		}
	}
	if got := *at.Load(); got != (switches{On: true, N: 4}) {
		t.Errorf("switches: %+v", got)
	}
	if latency, _ := b.Paced(); latency != 5*time.Millisecond || len(b.Rules()) != 1 {
		t.Errorf("latency %v, rules %v", latency, b.Rules())
	}
	if _, body, err := get(t.Context(), t, server.URL); err != nil || !strings.Contains(body, `"latency":"5ms"`) {
		t.Errorf("state %s (%v)", body, err)
	}
}

func TestLatencyEndsWithTheClient(t *testing.T) {
	t.Parallel()
	b := newBook(t, 1)
	b.Pace(20*time.Millisecond, 5*time.Millisecond)
	begin := time.Now()
	b.Lag(t.Context())
	if took := time.Since(begin); took < 14*time.Millisecond {
		t.Errorf("took %v", took)
	}
	b.Pace(time.Hour, 0)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	b.Lag(gone) // an hour long, and the test fails by hanging, if it does not end with the client
}
