//go:build e2e

package e2e

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

// stopTime is longer than a lease, and than the server waits for an acknowledgement.
const stopTime = mailbox.RedeemLease + 15*time.Second

// held is a point of the redeem at which the simulated Microsoft holds the worker, and what must come of it when the
// worker dies there, or is stopped for longer than its lease while another one takes over.
type held struct {
	name    string
	rule    trouble.Rule
	reached func(c msid.Code, g mailbox.Grant) bool
	phase   mailbox.GrantPhase
	reason  string
	sends   int // that Microsoft saw
}

func heldPoints() []held {
	sent := func(c msid.Code, _ mailbox.Grant) bool { return len(c.Sends) == 1 }
	return []held{
		{
			name: "its request sent, the code not spent", rule: trouble.Rule{Kind: trouble.Hang, Op: msid.OpCode, Times: 1},
			reached: sent, phase: mailbox.GrantSaved, sends: 2,
		},
		{
			name: "the code spent, the answer not read", rule: trouble.Rule{Kind: trouble.Hang, Op: msid.OpCode, Commit: true, Times: 1},
			reached: sent, phase: mailbox.GrantNeedsConsent, reason: mailbox.ConsentLost, sends: 2,
		},
		{
			name: "the tokens saved, nothing published", rule: trouble.Rule{Kind: trouble.Hang, Op: msid.OpMe, Times: 1},
			reached: func(_ msid.Code, g mailbox.Grant) bool { return g.Phase == mailbox.GrantSaved }, phase: mailbox.GrantSaved, sends: 1,
		},
	}
}

// TestAWorkerThatDiesOrIsStoppedInARedeem holds a real token-worker at three points of a redeem and kills it there, or
// stops it for longer than its lease while a second one takes over. What the in-process form cannot show is here: a whole
// process that stands still, and its own deadlines when it goes on.
func TestAWorkerThatDiesOrIsStoppedInARedeem(t *testing.T) { //nolint:tparallel // beside its own points only
	bin := build(t, "nats-server", "simulator", "token-worker")
	for _, point := range heldPoints() {
		for name, harm := range map[string]func(t *testing.T, r *redeems){
			"killed":  func(t *testing.T, r *redeems) { t.Helper(); r.products[0].kill(t); r.products[0].start(t) },
			"stopped": stopAndTakeOver,
		} {
			t.Run(name+" with "+point.name, func(t *testing.T) {
				t.Parallel()
				r := startRedeems(t, bin, 1)
				play(t, r.world.Microsoft, trouble.Control{Add: []trouble.Rule{point.rule}})
				all := r.consents(t, []string{"held@e2e.example"})
				if err := r.bus.Publish(t.Context(), all...); err != nil {
					t.Fatal(err)
				}
				eventually(t, time.Minute, "the worker is at its point", func() bool {
					return point.reached(r.sent(t)["held@e2e.example"], r.seen.grant(all[0].Mailbox))
				})
				harm(t, r)
				r.ended(t, 3*time.Minute, all)
				point.check(t, r, all[0])
				r.stop(t)
			})
		}
	}
}

// stopAndTakeOver stops the only worker, lets another one come, and lets the first one go on.
func stopAndTakeOver(t *testing.T, r *redeems) {
	t.Helper()
	first := r.products[0]
	first.signal(t, syscall.SIGSTOP)
	r.worker(t)
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	<-timer.C
	first.signal(t, syscall.SIGCONT)
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// check compares what is stored, and what Microsoft saw, with what must come of it.
func (h held) check(t *testing.T, r *redeems, e events.Event) {
	t.Helper()
	g, c := r.seen.grant(e.Mailbox), r.sent(t)["held@e2e.example"]
	if g.Phase != h.phase || g.Reason != h.reason || len(c.Sends) != h.sends {
		t.Errorf("ends as %s %s after %d sends, want %s %s after %d", g.Phase, g.Reason, len(c.Sends), h.phase, h.reason, h.sends)
	}
	asked := r.inStream(t, "REGISTER")
	if g.Phase == mailbox.GrantSaved {
		checkSaved(t, g, c)
		if asked == 0 {
			t.Error("the tokens are saved, but nobody asks Warmy")
		}
	} else if asked != 0 || g.Tokens != nil || g.Finding == nil {
		t.Errorf("%d ask Warmy for a mailbox without a grant; tokens: %t, finding %+v", asked, g.Tokens != nil, g.Finding)
	}
	for _, breach := range r.seen.breaches() {
		t.Error(breach)
	}
}
