package bench

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// TestTheBusBenchMeasuresEveryPart runs the whole bench with little to do. How fast it was proves nothing here.
func TestTheBusBenchMeasuresEveryPart(t *testing.T) {
	t.Parallel()
	b := busBench{options: small(), plan: busPlan{
		publish: 300, publishSync: 50, consume: 300, consumeSync: 50, waiting: 300, backlog: 2000,
		watch: 1500 * time.Millisecond, sharedWait: 500 * time.Millisecond,
		poison: poisonPlan{workers: 2, window: 16, wait: 50 * time.Millisecond, run: 1500 * time.Millisecond, every: 20},
	}}
	figures, err := b.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	judged := map[string]int{"publish 256 B": 6, "publish 2048 B": 6, "consume 256 B": 3, "consume 2048 B": 3, "handler of 50ms": 1, "workers on one lane": 2, "poison": 2}
	for prefix, want := range judged {
		got := 0
		for _, f := range figures {
			if strings.HasPrefix(f.name, prefix) && f.met != "–" {
				got++
			}
		}
		if got != want {
			t.Errorf("%d figures of %s were judged, want %d", got, prefix, want)
		}
	}
	for _, f := range figures {
		if f.name == "" || f.value == "" || f.against == "" || f.aim == "" || f.met == "" {
			t.Errorf("a figure has a gap: %+v", f)
		}
		if strings.HasPrefix(f.name, "resident set") && f.met != "–" {
			t.Errorf("2000 waiting messages were taken for a million: %+v", f)
		}
		if strings.Contains(f.name, "acknowledgement") && strings.HasPrefix(f.value, "not answered") {
			t.Errorf("%s: %s; the lanes promise confirmed acknowledgements", f.name, f.value)
		}
		if strings.HasPrefix(f.name, "poison: workers killed") && f.value != "1" {
			t.Errorf("%s: %s", f.name, f.value)
		}
		if strings.HasPrefix(f.name, "poison: what became of it") && (strings.HasPrefix(f.value, "0 ") || strings.Contains(f.value, " 0 handlings")) {
			t.Errorf("there was no poison: %s", f.value)
		}
	}
}

func TestRawMessagesAreWhatOursAre(t *testing.T) {
	t.Parallel()
	r, err := newBusRig(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	evs, err := r.events("bench", 256, 2)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := openBus(t.Context(), r.store.url, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := busPublisher(ours)(t.Context(), evs[:1], nil); err != nil {
		t.Fatal(err)
	}
	all, err := parcels(evs[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := r.publishRaw(t.Context(), r.js, r.like, all); err != nil {
		t.Fatal(err)
	}
	mine, raw := r.stored(t, evs[0]), r.stored(t, evs[1])
	if len(mine.Data) != len(raw.Data) || len(mine.Data) != 256 {
		t.Errorf("ours has %d bytes, raw %d", len(mine.Data), len(raw.Data))
	}
	for name := range mine.Header {
		want := strings.ReplaceAll(mine.Header.Get(name), evs[0].ID, evs[1].ID)
		if raw.Header.Get(name) != want {
			t.Errorf("header %s is %q, want %q", name, raw.Header.Get(name), want)
		}
	}
	if got := slices.Sorted(maps.Keys(raw.Header)); len(got) != len(mine.Header) || !slices.Contains(got, jetstream.MsgIDHeader) {
		t.Errorf("raw messages have the headers %v", got)
	}
}

func (r *busRig) stored(t *testing.T, e events.Event) *jetstream.RawStreamMsg {
	t.Helper()
	s, err := r.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(t.Context(), e.Subject())
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestEventsHaveTheSizeThatWasAskedFor(t *testing.T) {
	t.Parallel()
	r := &busRig{}
	seen := make(map[string]bool)
	for _, size := range []int{256, 257, 258, 259, 2048} {
		evs, err := r.events("bench", size, 3)
		if err != nil {
			t.Fatal(err)
		}
		all, err := parcels(evs)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if len(p.data) != size || seen[p.id] || seen[p.subject] {
				t.Errorf("an event of %d bytes, want %d; id or subject used before: %t", len(p.data), size, seen[p.id] || seen[p.subject])
			}
			seen[p.id], seen[p.subject] = true, true
		}
	}
	if _, err := r.events("bench", 100, 1); err == nil {
		t.Error("no event has 100 bytes")
	}
}
