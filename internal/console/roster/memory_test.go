//go:build !race

package roster_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// crowded returns a roster of n mailboxes that were registered.
func crowded(n int) *roster.Roster {
	r := roster.New(start, nil)
	for i := range n {
		id := fmt.Sprintf("%024d", i)
		r.Invitation(mailbox.Invitation{
			ID: id, Campaign: "one", App: "main", Account: "main", Address: fmt.Sprintf("firstname.lastname%06d@company.example", i), ExternalID: fmt.Sprintf("crm-%d", i),
			TariffPlanTypeID: 41, SpeedMode: "fast", Line: i, LinkGeneration: 1, InvitedAt: start(), LinkExpiresAt: start().Add(time.Hour),
		})
		r.Grant(id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a", Tokens: &mailbox.Tokens{Attempt: "a", SavedAt: start()}})
		r.Registration(id, mailbox.Registration{Phase: mailbox.Registered, WarmyID: "1234567", Since: start()})
	}
	return r
}

// A million mailboxes must fit beside everything else within 512 MiB (docs/design.md, "Yardsticks"). The race detector's
// heap is another one.
func TestAMailboxTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const n = 200_000
	before := heap()
	r := crowded(n)
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes a mailbox", each)
	if each > 320 {
		t.Errorf("a mailbox takes %.0f bytes", each)
	}
	runtime.KeepAlive(r)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What the console's first page of a filter that fits nobody takes, which looks at every mailbox.
func BenchmarkPage(b *testing.B) {
	r := crowded(200_000)
	for b.Loop() {
		r.Counts("")
		r.List(roster.Filter{States: []mailbox.State{mailbox.StateDead}}, "", 50)
	}
}
