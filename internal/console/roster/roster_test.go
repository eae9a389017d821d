package roster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"kindling/internal/console/roster"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// anyTime draws times around the start, and none.
func anyTime(t *rapid.T, name string) time.Time {
	if rapid.IntRange(0, 4).Draw(t, name+" given") == 0 {
		return time.Time{}
	}
	return start().Add(time.Duration(rapid.IntRange(-3600, 3600).Draw(t, name)) * time.Second)
}

func anyFinding(t *rapid.T, name string) *mailbox.Finding {
	if rapid.Bool().Draw(t, name+" none") {
		return nil
	}
	code := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, name)
	return &mailbox.Finding{Class: fault.Transient, Code: code, Cause: "cause " + code, Remedy: "remedy", Forecast: fault.ByTime}
}

func anyFacts(t *rapid.T, id string) mailbox.Facts {
	attempt := func(name string) string { return rapid.SampledFrom([]string{"", "t1", "t2"}).Draw(t, name) }
	f := mailbox.Facts{
		Invitation: mailbox.Invitation{
			ID: id, Campaign: rapid.SampledFrom([]string{"one", "two"}).Draw(t, "campaign"), App: "main", Account: "main", Address: id + "@a.example",
			LinkGeneration: 1, InvitedAt: start(), LinkExpiresAt: start().Add(time.Hour),
		},
		Grant: mailbox.Grant{
			Phase: rapid.SampledFrom([]mailbox.GrantPhase{
				mailbox.GrantNone, mailbox.GrantRedeeming, mailbox.GrantSaved, mailbox.GrantNeedsConsent, mailbox.GrantMismatch, mailbox.GrantDead,
			}).Draw(t, "grant phase"),
			Reason: mailbox.ConsentLost, Attempt: attempt("grant attempt"), Since: anyTime(t, "grant since"), CodeAt: anyTime(t, "code at"),
			Stage: "code", Finding: anyFinding(t, "grant finding"),
		},
		Registration: mailbox.Registration{
			Phase: rapid.SampledFrom([]mailbox.RegistrationPhase{
				mailbox.RegistrationNone, mailbox.Posting, mailbox.Uncertain, mailbox.Registered, mailbox.RegistrationDead,
			}).Draw(t, "registration phase"),
			Attempt: attempt("registration attempt"), Since: anyTime(t, "registration since"), Stage: "register", Finding: anyFinding(t, "registration finding"),
			Unsettled: rapid.Bool().Draw(t, "unsettled"),
		},
	}
	if f.Registration.Phase == mailbox.Registered {
		f.Registration.WarmyID = "4711"
	}
	if rapid.Bool().Draw(t, "tokens") {
		f.Grant.Tokens = &mailbox.Tokens{Attempt: attempt("token attempt"), SavedAt: anyTime(t, "saved at")}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "attempts") {
		f.Claim.Attempts = append(f.Claim.Attempts, mailbox.Attempt{
			ID: fmt.Sprintf("t%d", i+1), AnsweredAt: anyTime(t, "answered"), Refusal: rapid.SampledFrom([]string{"", mailbox.Declined}).Draw(t, "refusal"),
		})
	}
	if rapid.IntRange(0, 9).Draw(t, "erased") == 0 {
		f.Invitation.ErasedAt = start()
	}
	return f
}

// Whatever the facts and the order in which they come, the roster must say what mailbox.View says, and count it.
func TestTheRosterNeverDisagreesWithTheView(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := start()
		r := roster.New(func() time.Time { return now }, nil)
		all := map[string]mailbox.Facts{}
		for i := range rapid.IntRange(1, 5).Draw(t, "mailboxes") {
			id := fmt.Sprintf("box%021d", i)
			for range rapid.IntRange(1, 2).Draw(t, "versions") {
				if old, ok := all[id]; ok {
					fresh := anyFacts(t, id)
					fresh.Invitation.Campaign = old.Invitation.Campaign
					all[id] = fresh
				} else {
					all[id] = anyFacts(t, id)
				}
				f := all[id]
				news := []func(){
					func() { r.Invitation(f.Invitation) }, func() { r.Claim(id, f.Claim) },
					func() { r.Grant(id, f.Grant) }, func() { r.Registration(id, f.Registration) },
				}
				for _, n := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(t, "order") {
					news[n]()
				}
			}
		}
		for range 2 {
			agree(t, r, all, now)
			now = now.Add(time.Duration(rapid.IntRange(0, 180).Draw(t, "passes"))*time.Minute + 2*time.Minute).Truncate(time.Minute)
		}
	})
}

func agree(t *rapid.T, r *roster.Roster, all map[string]mailbox.Facts, now time.Time) {
	counts := map[mailbox.State]int{}
	campaigns := map[string]int{}
	for id, f := range all {
		want := mailbox.View(f, now)
		counts[want.State]++
		campaigns[f.Invitation.Campaign]++
		item, ok := r.Mailbox(id)
		if !ok {
			t.Fatalf("%s is not known", id)
		}
		if diff := cmp.Diff(want, item.Status, cmpopts.IgnoreFields(mailbox.Finding{}, "At")); diff != "" {
			t.Fatalf("%s of %+v (-view +roster):\n%s", id, f, diff)
		}
	}
	total := r.Counts("")
	for _, s := range mailbox.States() {
		if total.ByState[s] != counts[s] {
			t.Fatalf("%d are counted as %s, %d are", total.ByState[s], s, counts[s])
		}
		items, _ := r.List(roster.Filter{States: []mailbox.State{s}}, "", 100)
		if len(items) != counts[s] {
			t.Fatalf("%d are listed as %s, %d are", len(items), s, counts[s])
		}
	}
	for id, n := range campaigns {
		if got := r.Counts(id).Total; got != n {
			t.Fatalf("campaign %s has %d, %d are counted", id, n, got)
		}
	}
}

func TestAnOlderInvitationThatComesLateIsIgnored(t *testing.T) {
	t.Parallel()
	r := roster.New(start, nil)
	inv := mailbox.Invitation{ID: "box", Campaign: "one", Address: "a@b.example", LinkGeneration: 2, InvitedAt: start(), LinkExpiresAt: start().Add(time.Hour)}
	r.Invitation(inv)
	inv.LinkGeneration, inv.LinkExpiresAt = 1, start()
	r.Invitation(inv)
	if item, _ := r.Mailbox("box"); item.Generation != 2 {
		t.Errorf("generation %d", item.Generation)
	}
}

func TestIdsThatNoWriterMakesAreIgnored(t *testing.T) {
	t.Parallel()
	r := roster.New(start, nil)
	r.Claim("", mailbox.Claim{})
	r.Invitation(mailbox.Invitation{ID: strings.Repeat("x", 1000), InvitedAt: start()})
	if n := r.Counts("").Total; n != 0 {
		t.Errorf("%d are counted", n)
	}
}

func TestWalkFollowsTheFile(t *testing.T) {
	t.Parallel()
	r := roster.New(start, nil)
	for _, line := range []int{700, 3, 1500, 2} {
		r.Invitation(mailbox.Invitation{ID: fmt.Sprintf("box%d", line), Campaign: "one", Line: line, LinkGeneration: 1, InvitedAt: start()})
	}
	var lines []int
	if err := r.Walk("one", func(i roster.Item) error {
		lines = append(lines, i.Line)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{2, 3, 700, 1500}, lines); diff != "" {
		t.Error(diff)
	}
}
