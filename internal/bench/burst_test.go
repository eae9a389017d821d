package bench

import (
	"strings"
	"testing"
	"time"

	"kindling/internal/mailbox"
)

// TestTheBurstBenchFollowsEveryConsent sends a few owners through. How fast it was proves nothing here.
func TestTheBurstBenchFollowsEveryConsent(t *testing.T) {
	t.Parallel()
	b := burstBench{options: small(), plan: burstPlan{
		consents: 20, within: time.Second, latency: 10 * time.Millisecond, jitter: 5 * time.Millisecond, throttled: 0.2, patience: time.Minute,
	}}
	figures, err := b.run(t.Context())
	if err != nil || len(figures) != 6 {
		t.Fatalf("%d figures, %v", len(figures), err)
	}
	for i, want := range map[int]string{0: "0 (20 grants saved, 0 ended otherwise)", 3: "0 (0 codes sent after their tokens)"} {
		if figures[i].value != want || figures[i].met != "met" {
			t.Errorf("%s: %s, %s; want %s", figures[i].name, figures[i].value, figures[i].met, want)
		}
	}
	if throttled := figures[0].against; !strings.HasPrefix(throttled, "20 codes") || strings.Contains(throttled, ", 0 sends") {
		t.Errorf("nobody was throttled: %s", throttled)
	}
}

func TestTheBurstCountsWhatNeverCameToAnEndAsLate(t *testing.T) {
	t.Parallel()
	o := newOutcomes(6)
	var invitations []mailbox.Invitation
	for id, g := range map[mailbox.ID]mailbox.Grant{
		"saved":    {Phase: mailbox.GrantSaved, Tokens: &mailbox.Tokens{SavedAt: time.Unix(12, 0)}},
		"waiting":  {Phase: mailbox.GrantRedeeming},
		"expired":  {Phase: mailbox.GrantNeedsConsent, Reason: mailbox.CodeExpired},
		"lost":     {Phase: mailbox.GrantNeedsConsent, Reason: mailbox.ConsentLost},
		"declined": {Phase: mailbox.GrantNeedsConsent, Reason: mailbox.Declined},
		"dead":     {Phase: mailbox.GrantDead},
		"silent":   {},
	} {
		invitations = append(invitations, mailbox.Invitation{ID: id, Address: strings.ToUpper(id)})
		o.Claim(id, mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "first"}, {ID: "second", CodeHash: "h", AnsweredAt: time.Unix(10, 0)}}})
		if id != "silent" {
			o.Grant(id, mailbox.Grant{Phase: mailbox.GrantRedeeming})
			o.Grant(id, g)
			o.Grant(id, g) // a fact may be told twice
		}
	}
	if saved, late, other := o.count(invitations); saved != 1 || late != 4 || other != 2 {
		t.Errorf("%d saved, %d late, %d otherwise", saved, late, other)
	}
	select {
	case <-o.all:
		t.Error("two have no end yet")
	default:
	}
	starts, saves := o.waits(invitations, map[string]time.Time{"saved": time.Unix(11, 0)})
	if len(starts) != 1 || starts[0] != time.Second || len(saves) != 1 || saves[0] != 2*time.Second {
		t.Errorf("waited %v for the send, %v for the grant", starts, saves)
	}
}
