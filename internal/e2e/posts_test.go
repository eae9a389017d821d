//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"kindling/internal/mailbox"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// mostUnclear is how long a mailbox may be unclear while Warmy's listing works.
const mostUnclear = 15 * time.Minute

// TestPostsOfUnknownOutcomeAreSettledOnceEach has every fifth POST answered by a broken connection, of which every second
// one took effect, while three warmy-workers are killed one after the other. Warmy would make a second mailbox of a second
// POST. In the end each mailbox is registered, is at Warmy once, and none was unclear for longer than 15 minutes
// (trust.md, G4).
//
// POSTS=10000 POSTS_KILLS=20 POSTS_AFTER=60 is the full form; POSTS_AFTER is reconcile_after in seconds.
func TestPostsOfUnknownOutcomeAreSettledOnceEach(t *testing.T) {
	t.Parallel() // it waits for most of its time
	n, kills, after := setting(t, "POSTS", 300), setting(t, "POSTS_KILLS", 3), setting(t, "POSTS_AFTER", 3)
	r := startRedeems(t, build(t, "nats-server", "simulator", "token-worker", "warmy-worker"), 0)
	seen := r.followPosts(t)
	play(t, r.world.Warmy, trouble.Control{
		Switches: fmt.Appendf(nil, `{"calls_per_minute":-1,"duplicate":%q}`, warmyapi.DuplicateSecond),
		Add: []trouble.Rule{
			{Kind: trouble.Reset, Op: warmyapi.OpCreate, Share: 0.1, PerAddress: true, Times: 1, Commit: true},
			{Kind: trouble.Reset, Op: warmyapi.OpCreate, Share: 0.1, PerAddress: true, Times: 1},
		},
	})
	for range 3 {
		r.product(t, "warmy-worker", "KINDLING_METRICS_LISTEN="+freeAddress(t), fmt.Sprintf("KINDLING_POLICY_RECONCILE_AFTER=%ds", after))
	}
	posters := slices.Clone(r.products)
	r.worker(t)
	began := time.Now()
	killed := killInTurn(t, posters, kills, time.Duration(n)*time.Second/time.Duration(60*max(kills, 1)))
	for first := 0; first < n; first += 500 {
		var addresses []string
		for i := first; i < min(n, first+500); i++ {
			addresses = append(addresses, fmt.Sprintf("post-%d@e2e.example", i))
		}
		if err := r.bus.Publish(t.Context(), r.consents(t, addresses)...); err != nil {
			t.Fatal(err)
		}
	}
	killed.Wait()
	eventually(t, 20*time.Minute, "every mailbox is registered", func() bool { return seen.registered() == n })
	r.checkPosts(t, n, seen)
	t.Logf("%d mailboxes, %d workers killed, %v: %s", n, kills, time.Since(began).Round(time.Second), seen)
	r.stop(t)
}

// killInTurn kills one process after the other, and starts it again.
func killInTurn(t *testing.T, all []*process, kills int, pause time.Duration) *sync.WaitGroup {
	t.Helper()
	var group sync.WaitGroup
	group.Go(func() {
		for i := range kills {
			timer := time.NewTimer(pause + rand.N(time.Second))
			select {
			case <-timer.C:
			case <-t.Context().Done():
				return
			}
			all[i%len(all)].kill(t)
			all[i%len(all)].start(t)
		}
	})
	return &group
}

func (r *redeems) checkPosts(t *testing.T, n int, seen *postView) {
	t.Helper()
	_, _, warmy := r.ledgers(t)
	if warmy.CreatedTwice != 0 || warmy.PostedAgain != 0 || warmy.Mailboxes != n || warmy.Addresses != n {
		t.Errorf("Warmy has %d mailboxes of %d addresses, %d created twice, %d posted again after a success",
			warmy.Mailboxes, warmy.Addresses, warmy.CreatedTwice, warmy.PostedAgain)
	}
	longest, unclear := seen.longest()
	if longest > mostUnclear {
		t.Errorf("a mailbox was unclear for %v", longest)
	}
	if unclear < n/10 {
		t.Errorf("%d of %d were unclear: this proves little", unclear, n)
	}
	t.Logf("calls: %v", warmy.Calls)
}

// postView is the registrations as they are stored.
type postView struct {
	grantView

	state   map[mailbox.ID]mailbox.RegistrationPhase
	since   map[mailbox.ID]time.Time // unclear
	took    []time.Duration          // to settle what was unclear
	adopted int
	reposts int
}

func (r *redeems) followPosts(t *testing.T) *postView {
	t.Helper()
	v := &postView{
		grantView: grantView{grants: map[mailbox.ID]mailbox.Grant{}}, state: map[mailbox.ID]mailbox.RegistrationPhase{}, since: map[mailbox.ID]time.Time{},
	}
	r.follow(t, v)
	return v
}

// Registration keeps the latest word, and how long a mailbox was unclear.
func (v *postView) Registration(id mailbox.ID, reg mailbox.Registration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	since, was := v.since[id]
	switch {
	case reg.Unresolved() && !was:
		v.since[id] = reg.Since
	case !reg.Unresolved() && was:
		v.took = append(v.took, time.Since(since))
		delete(v.since, id)
	}
	if reg.Phase == mailbox.Registered && v.state[id] != mailbox.Registered {
		if reg.Adopted {
			v.adopted++
		}
		v.reposts += reg.Posts - 1
	}
	v.state[id] = reg.Phase
}

func (v *postView) registered() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, phase := range v.state {
		if phase == mailbox.Registered {
			n++
		}
	}
	return n
}

func (v *postView) longest() (longest time.Duration, unclear int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Max(append(v.took, 0)), len(v.took)
}

// String is the figures.
func (v *postView) String() string {
	longest, unclear := v.longest()
	v.mu.Lock()
	defer v.mu.Unlock()
	slices.Sort(v.took)
	return fmt.Sprintf("%d were unclear, half of them for at most %v, all for at most %v; %d adopted, %d posted again, %d still unclear",
		unclear, v.took[len(v.took)/2].Round(time.Second), longest.Round(time.Second), v.adopted, v.reposts, len(v.since))
}
