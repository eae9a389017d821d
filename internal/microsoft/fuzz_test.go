package microsoft

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
)

func FuzzAnAnswerOfTheTokenEndpoint(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","refresh_token":"r","expires_in":3600,"scope":"Mail.Send"}`, `{"error":"invalid_grant","error_codes":[50196]}`,
		`{"expires_in":1e999,"access_token":"a"}`, `{"error":{},"error_codes":{"a":1}}`, "\xef\xbb\xbf{}", `[]`, `null`, ``, `{"access_token":null}`,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, body string) {
		got := &answer{status: status, header: http.Header{}, body: []byte(body)}
		for _, lane := range []lane{codeLane, refreshLane} {
			tokens, failure := parseGrant(got, origin{lane: lane}, now)
			if failure == nil && (tokens.Access.Empty() || tokens.Expiry.Before(now.Add(leastLife)) || tokens.Expiry.After(now.Add(mostLife))) {
				t.Errorf("accepted %+v", tokens)
			}
			sound(t, failure)
			sound(t, refused(got, origin{lane: lane}, now))
		}
	})
}

func FuzzAProfile(f *testing.F) {
	for _, seed := range []string{`{"id":"1","mail":"j@x.example"}`, `{"id":"1","mail":null,"proxyAddresses":["smtp:j@x.example"]}`, `{"id":5}`, ``, `{"id":"1","mail":"@"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parseProfile([]byte(body))
		if err != nil {
			sound(t, fault.Of(err))
			return
		}
		failure := p.match(events.Proof{ObjectID: p.ID}, "invited@contoso.example")
		if failure != nil {
			sound(t, fault.Of(failure))
		}
		if failure == nil && foldASCII(p.Mail) != "invited@contoso.example" && foldASCII(p.UPN) != "invited@contoso.example" {
			t.Errorf("%q passed for the invited address", body)
		}
	})
}

func FuzzARefusal(f *testing.F) {
	f.Add("access_denied", "AADSTS65004: declined")
	f.Add("", "AADSTS0000000000")
	f.Fuzz(func(t *testing.T, code, description string) {
		failure := Refusal(code, description)
		sound(t, failure)
		if failure.Class != fault.NeedsConsent || failure.Reason == "" {
			t.Errorf("a browser made it %s %q", failure.Class, failure.Reason)
		}
	})
}

// sound checks that a fault says all it must, and nothing by whoever answered.
func sound(t *testing.T, failure *fault.Fault) {
	t.Helper()
	if failure == nil {
		return
	}
	if failure.Class == "" || failure.Code == "" || failure.Cause == "" || failure.Remedy == "" || failure.Forecast == "" || failure.After < 0 || failure.After > waitMost {
		t.Errorf("fault lacks something: %+v", failure)
	}
	if len(failure.Cause) > 800 || strings.ContainsAny(failure.Code, " \n") {
		t.Errorf("fault holds foreign text: %+v", failure)
	}
}
