package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kindling/internal/events"
)

// seeds are the golden files and what decoders stumble over.
func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{
		"", "{", "null", "[]", "7", `"x"`, `{"v":1}`, `{"v":2}`, `{"v":99999999999999999999}`, `{"v":1,"v":1}`, `{"V":1}`, `{"v":1}{}`, `{"a\u0062":1}`,
		`{"v":1,"at":"9999-12-31T23:59:59.999999999+23:59"}`, `{"base64":"AAAA"}`, `{"v":1,"event":{"base64":"/w=="},"stage":"code"}`,
		strings.Repeat(`{"v":`, 200), strings.Repeat("[", 20_000), "\"\\", "{\"\xff\":1}", `{"v":1e0}`, `{"v":-0}`,
	} {
		f.Add([]byte(text))
	}
}

// bounded fails the test when work allocates out of all proportion to its input.
func bounded(t *testing.T, input []byte, work func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+256*len(input)); got > most {
		t.Errorf("%d bytes were allocated for %d bytes of input", got, len(input))
	}
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var e events.Event
		var err error
		bounded(t, data, func() { e, err = events.Decode(data) })
		if err != nil {
			return
		}
		later := []events.Kind{events.GrantIdle, events.ReconnectRequested, events.ActivationRequested, events.RegistrationDecided}
		known := e.Version == events.Version || e.Version == 2 && slices.Contains(later, e.Kind)
		if !known || e.Kind.Lane() == "" || !events.IsToken(e.Mailbox) || !events.IsToken(e.ID) || !e.Agrees(e.Subject()) {
			t.Fatalf("%q decodes as an event that is none: %+v", data, e)
		}
		if subject := e.Subject(); strings.ContainsAny(subject, "*> \t@") || strings.Count(subject, ".") > 4 {
			t.Fatalf("subject %q", subject)
		}
		again, err := events.Encode(e)
		if err != nil {
			t.Fatalf("decoded %q, which cannot be encoded: %v", data, err)
		}
		back, err := events.Decode(again)
		if err != nil {
			t.Fatalf("%q does not survive a round trip: %v", again, err)
		}
		if diff := cmp.Diff(e, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("a round trip changes the event: %s", diff)
		}
	})
}

func FuzzDecodeDeadLetter(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var letter events.DeadLetter
		var err error
		bounded(t, data, func() { letter, err = events.DecodeDeadLetter(data) })
		if err != nil {
			return
		}
		if e, err := letter.Original(); err == nil && (e.Mailbox != letter.Mailbox || !e.Agrees(letter.Subject)) {
			t.Fatalf("%q speaks of another event than it holds", data)
		}
		again, err := events.EncodeDeadLetter(letter)
		if err != nil {
			t.Fatalf("decoded %q, which cannot be encoded: %v", data, err)
		}
		back, err := events.DecodeDeadLetter(again)
		if err != nil {
			t.Fatalf("%q does not survive a round trip: %v", again, err)
		}
		third, err := events.EncodeDeadLetter(back)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("a round trip changes %q to %q, %v", again, third, err)
		}
	})
}

// FuzzQuote buries bytes and digs them out again.
func FuzzQuote(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		quoted := events.Quote(data)
		if len(quoted) > 2*len(data)+32 {
			t.Fatalf("%d bytes are quoted in %d", len(data), len(quoted))
		}
		letter, err := events.EncodeDeadLetter(events.DeadLetter{Version: events.Version, Stage: events.Code, Event: quoted})
		if err != nil {
			t.Fatalf("%q cannot be buried: %v", data, err)
		}
		back, err := events.DecodeDeadLetter(letter)
		if err != nil {
			t.Fatalf("%q cannot be dug out: %v", data, err)
		}
		if e, err := events.Decode(data); err == nil { // an event may lose blanks, nothing else
			if again, err := events.Decode(back.Payload()); err != nil || again.ID != e.ID {
				t.Fatalf("event %q is dug out as %q, %v", data, back.Payload(), err)
			}
			return
		}
		if !bytes.Equal(back.Payload(), data) {
			t.Fatalf("%q is dug out as %q", data, back.Payload())
		}
	})
}

// FuzzDecodeStrict: what it accepts, encoding/json reads in one way only.
func FuzzDecodeStrict(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict, lenient map[string]any
		var err error
		bounded(t, data, func() { err = events.DecodeStrict(data, &strict) })
		if errors.Is(err, events.ErrNewer) || err != nil {
			return
		}
		if err := json.Unmarshal(data, &lenient); err != nil {
			t.Fatalf("%q is accepted, but is no JSON: %v", data, err)
		}
		if diff := cmp.Diff(lenient, strict); diff != "" {
			t.Fatalf("%q is read in two ways: %s", data, diff)
		}
		var fields struct {
			V any `json:"v"`
		}
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strict["v"], fields.V); diff != "" {
			t.Fatalf("%q: a field of other letters is taken for ours: %s", data, diff)
		}
	})
}
