package events_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
)

func TestAHintKeepsItsWireForm(t *testing.T) {
	t.Parallel()
	h := events.NewHint("main", "4711", "evt-1", time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC))
	wire, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/v1-hint.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(wire) != strings.TrimSpace(string(golden)) {
		t.Errorf("hints are written as %s, and builds in the field read %s", wire, golden)
	}
	read, err := events.DecodeHint(golden)
	if err != nil || read != h || read.Subject() != "kindling.hint.main.4711" {
		t.Errorf("read as %+v, %v", read, err)
	}
	if other := events.NewHint("other", "4711", "evt-1", h.At); other.EventID == h.EventID {
		t.Error("two accounts' events are taken for one")
	}
}

func TestAHintThatNobodyWritesIsRefused(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"nothing": "", "no object": "[]", "no account": `{"v":1,"warmy_id":"1","event":"e","at":"2026-03-02T09:30:00Z"}`,
		"a path for an id":         `{"v":1,"account":"main","warmy_id":"../1","event":"e","at":"2026-03-02T09:30:00Z"}`,
		"a subject for an account": `{"v":1,"account":"main.>","warmy_id":"1","event":"e","at":"2026-03-02T09:30:00Z"}`,
		"version 0":                `{"v":0,"account":"main","warmy_id":"1","event":"e","at":"2026-03-02T09:30:00Z"}`,
		"trailing garbage":         `{"v":1,"account":"main","warmy_id":"1","event":"e","at":"2026-03-02T09:30:00Z"}x`,
	} {
		if h, err := events.DecodeHint([]byte(wire)); err == nil {
			t.Errorf("%s is read as %+v", name, h)
		}
	}
}
