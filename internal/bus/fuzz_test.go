package bus_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// goldenEvents are the wire forms that must decode for ever.
func goldenEvents(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "events", "testdata", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("%d golden files, %v", len(files), err)
	}
	var all [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, bytes.TrimSpace(data))
	}
	return all
}

// bounded fails the test when work allocates out of all proportion to its input.
func bounded(t *testing.T, input []byte, work func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+256*len(input)); got > most {
		t.Errorf("%d bytes were allocated for %d bytes of input", got, len(input))
	}
}

// FuzzDelivery: whatever is delivered under whatever subject is either refused, or an event that belongs there.
func FuzzDelivery(f *testing.F) {
	now := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for _, data := range goldenEvents(f) {
		e, _ := events.Decode(data)
		f.Add(e.Subject(), "traceparent", "", data)
	}
	f.Add("kindling.register.main.s1.*", "Authorization", "Bearer abcdefghijklmnopq", []byte("{}"))
	f.Add("a@b", "", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIx.", []byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, subject, header, value string, payload []byte) {
		var e events.Event
		var err error
		bounded(t, payload, func() { e, err = bus.Read(subject, header, value, payload, now) })
		if err != nil {
			return
		}
		if !e.Agrees(subject) || e.Ahead(now) || strings.Contains(subject, "@") {
			t.Fatalf("%q under %q is taken for an event: %+v", payload, subject, e)
		}
		if _, err := events.Encode(e); err != nil {
			t.Fatalf("%q is taken for an event that cannot be encoded: %v", payload, err)
		}
	})
}

// FuzzRecords: a record is refused, or what it decodes to encodes to what decodes to the same.
func FuzzRecords(f *testing.F) {
	buckets := []string{"campaigns", "mailboxes", "claims", "grants", "registrations", "tenants", "identities"}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, fact := range []any{
		mailbox.Campaign{ID: "c", Name: "n", CreatedAt: at, Rows: 3},
		map[string]any{"v": 1, "campaign": "c", "app": "main", "account": "main", "person": []byte(`{"address":"a@example.com"}`), "invited_at": at},
		mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "a", StateHash: "s", StartedAt: at, ExpiresAt: at}}},
		map[string]any{"v": 1, "phase": "saved", "since": at, "tokens": map[string]any{"sealed": []byte(`{"access":"a","refresh":"r"}`), "expiry": at, "saved_at": at}},
		mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", WarmyID: "7", Since: at},
		mailbox.AdminConsent{App: "main", Tenant: "contoso.example", GrantedAt: at, StateHash: "s", Outcome: mailbox.AdminGranted},
		mailbox.Identity{Mailbox: "mb1", Intent: &mailbox.Registration{Phase: mailbox.Posting, Attempt: "att", Since: at, Lease: at}, At: at},
	} {
		data, err := json.Marshal(fact)
		if err != nil {
			f.Fatal(err)
		}
		for bucket := range buckets {
			f.Add(uint8(bucket), data)
		}
		if _, err := bus.Recode(buckets[i], plainBox{}, data); err != nil {
			f.Fatalf("the seed of %s is refused: %v", buckets[i], err)
		}
	}
	for bucket := range buckets {
		for _, text := range []string{"", "null", "{}", `{"v":2}`, `{"phase":1}`, `{"tokens":{}}`, `{"tokens":null}`, `{"attempts":[null]}`, `{"stream":"X","seq":1}`} {
			f.Add(uint8(bucket), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		bucket := buckets[int(which)%len(buckets)]
		var first []byte
		var err error
		bounded(t, data, func() { first, err = bus.Recode(bucket, plainBox{}, data) })
		if err != nil {
			return
		}
		second, err := bus.Recode(bucket, plainBox{}, first)
		if err != nil {
			t.Fatalf("%s: %q is stored as %q, which is refused: %v", bucket, data, first, err)
		}
		if !bytes.Equal(first, second) {
			t.Fatalf("%s: a round trip changes %q to %q", bucket, first, second)
		}
	})
}

// FuzzControl: whatever stands in the control bucket, a leg is in one of its states, a time line ends soon, and no
// handling has begun a negative or an endless number of times.
func FuzzControl(f *testing.F) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, text := range []string{
		"", "null", "{}", "3", "-3", "99999999999999999999", `{"name":"warmy/main","state":"held","until":"2026-11-23T12:00:00Z"}`,
		`{"name":"warmy/main","state":"open"}`, `{"next":"2026-11-23T12:00:01Z"}`, `{"next":"9999-12-31T00:00:00Z"}`, `{"next":"0001-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, data, func() {
			l, err := bus.DecodeLeg("warmy/main", data)
			if l.Name != "warmy/main" || l.State != leg.Open && l.State != leg.Held && l.State != leg.Probing || err != nil && l.State != leg.Open {
				t.Errorf("%q is the leg %+v, %v", data, l, err)
			}
			if end, until, part := bus.DecodeTimeline(data, now); end.After(now.Add(time.Hour)) || until.After(now.Add(time.Hour)) || !(part > 0 && part <= 1) {
				t.Errorf("%q is a time line until %v", data, end)
			}
			if n := bus.DecodeBegan(data); n < 0 || n > 1000 {
				t.Errorf("%q are %d beginnings", data, n)
			}
			bus.ServerAnswer(data)
			if hidden := bus.WithoutAddress(string(data)); strings.Contains(hidden, "@") {
				t.Errorf("%q shows an address: %q", data, hidden)
			}
		})
	})
}
