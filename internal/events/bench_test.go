package events_test

import (
	"testing"
	"time"

	"kindling/internal/events"
)

// BenchmarkDecode is the cost of one event at every worker.
func BenchmarkDecode(b *testing.B) {
	e := events.New(events.CodeReceived, "seed", time.Now())
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = "mailbox", "main", "main", "campaign", "attempt"
	e.Deadline, e.Sealed = time.Now().Add(10*time.Minute), make([]byte, 256)
	data, err := events.Encode(e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
