//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// TestCodesThatAreDeliveredTwiceYieldOneGrantEach gives every code to three token-workers at least twice: two messages
// side by side, and a third one when the tokens are long saved. Some workers are killed meanwhile. No saved grant is ever
// revoked by a replay, no code is sent once its tokens are saved, and each mailbox asks Warmy once (trust.md, G2).
//
// GRANTS_CODES=10000 GRANTS_KILLS=20 is the full form.
func TestCodesThatAreDeliveredTwiceYieldOneGrantEach(t *testing.T) {
	t.Parallel() // it waits for the leases of the dead for most of its time
	n, kills := setting(t, "GRANTS_CODES", 1000), setting(t, "GRANTS_KILLS", 4)
	r := startRedeems(t, build(t, "nats-server", "simulator", "token-worker"), 3)
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("twice-%d@e2e.example", i)
	}
	began := time.Now()
	killed := r.killWorkers(t, kills)
	var all []events.Event
	for first := 0; first < n; first += 500 { // codes must not grow old before they are published
		some := r.consents(t, addresses[first:min(n, first+500)])
		r.publishTwice(t, some)
		all = append(all, some...)
	}
	killed.Wait()
	r.ended(t, 10*time.Minute, all)
	for _, e := range all {
		r.again(t, e, "-late")
	}
	r.ended(t, 5*time.Minute, all)
	saved, lost := r.checkGrants(t, addresses, all)
	t.Logf("%d codes in three messages each, %d workers killed, %v: %d grants saved, %d consents lost with a worker", n, kills, time.Since(began).Round(time.Second), saved, lost)
	if kills == 0 && lost > 0 {
		t.Errorf("%d consents were lost although no worker died", lost)
	}
	if saved < n/2 {
		t.Errorf("%d of %d were saved: this proves little", saved, n)
	}
	if asked := r.inStream(t, "REGISTER"); asked != uint64(saved) {
		t.Errorf("Warmy is asked for %d mailboxes, want %d", asked, saved)
	}
	r.stop(t)
}

// publishTwice lays each code's two messages side by side, so that one process, or two, have them at the same time.
func (r *redeems) publishTwice(t *testing.T, all []events.Event) {
	t.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				if err := r.bus.Publish(t.Context(), all[i]); err != nil {
					t.Error(err)
					return
				}
				r.again(t, all[i], "-again")
			}
		})
	}
	group.Wait()
}

// killWorkers kills one worker after the other, while there is work, and starts it again.
func (r *redeems) killWorkers(t *testing.T, kills int) *sync.WaitGroup {
	t.Helper()
	var group sync.WaitGroup
	group.Go(func() {
		for i := range kills {
			timer := time.NewTimer(time.Second + rand.N(time.Second))
			select {
			case <-timer.C:
			case <-t.Context().Done():
				return
			}
			p := r.products[i%len(r.products)]
			p.kill(t)
			p.start(t)
		}
	})
	return &group
}

// checkGrants compares what is stored with what Microsoft saw.
func (r *redeems) checkGrants(t *testing.T, addresses []string, all []events.Event) (saved, lost int) {
	t.Helper()
	sent := r.sent(t)
	for i, e := range all {
		g, c := r.seen.grant(e.Mailbox), sent[addresses[i]]
		switch {
		case g.Phase == mailbox.GrantSaved:
			saved++
			checkSaved(t, g, c)
		case g.Phase == mailbox.GrantNeedsConsent && g.Reason == mailbox.ConsentLost:
			lost++
		default:
			t.Errorf("%s ends as %s %s (%+v)", c.Address, g.Phase, g.Reason, g.Finding)
		}
		if len(c.Sends) > mailbox.MaxSends {
			t.Errorf("the code of %s was sent %d times", c.Address, len(c.Sends))
		}
	}
	for _, breach := range r.seen.breaches() {
		t.Error(breach)
	}
	return saved, lost
}
