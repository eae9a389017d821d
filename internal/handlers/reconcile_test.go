package handlers_test

import (
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// doubtful is a world whose POST was answered by nothing; it took effect if created is set.
func doubtful(t *testing.T, created bool) (*world, events.Event) {
	t.Helper()
	w, e := granted(t)
	w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
	o := w.deliver(t.Context(), e)
	if o.err != nil || len(o.follow) != 1 || w.status().State != mailbox.StateUnclear {
		t.Fatalf("%+v, %+v", o, w.status())
	}
	w.warmy.refuse = nil
	if created {
		w.warmy.ids = []string{"w1"}
	}
	w.now = o.follow[0].NotBefore
	return w, o.follow[0]
}

func TestAListedMailboxIsAdopted(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, true)
	o := w.deliver(t.Context(), e)
	if got := w.registrations.get(); o.err != nil || len(o.follow) != 0 || got.WarmyID != "w1" || !got.Adopted || w.status().State != mailbox.StateRegistered {
		t.Errorf("%+v, %+v", o, got)
	}
	if o = w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 || w.warmy.posts != 1 {
		t.Errorf("again: %+v", o)
	}
	w.check(t)
}

func TestAnAbsentMailboxIsPostedAgainAfterTheSecondListing(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	o := w.deliver(t.Context(), e)
	if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationUnclear || !o.follow[0].NotBefore.Equal(w.now.Add(settle)) {
		t.Fatalf("first listing: %+v", o)
	}
	early := w.deliver(t.Context(), e) // a duplicate proves nothing
	if early.err != nil || len(early.follow) != 1 || w.registrations.get().Absences != 1 {
		t.Fatalf("a listing too early: %+v, %+v", early, w.registrations.get())
	}
	w.now = o.follow[0].NotBefore
	for range 2 { // the second one finds the proof of absence, and asks again
		o = w.deliver(t.Context(), e)
		if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationRequested || o.follow[0].Proof == nil {
			t.Fatalf("second listing: %+v", o)
		}
	}
	if !w.run(t.Context(), o.follow...) || w.status().State != mailbox.StateRegistered || w.warmy.posts != 2 {
		t.Errorf("ends as %+v after %d POSTs", w.status(), w.warmy.posts)
	}
	w.check(t)
}

func TestPostingAgainEndsInADeadLetterThatAReplayCanMend(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
	if !w.run(t.Context(), e) {
		t.Fatal("it does not end")
	}
	if got := w.status(); w.warmy.posts != 1+mailbox.MaxReposts || got.State != mailbox.StateDead || got.Stage != "reconcile" || got.Finding.Code != "warmy_never_listed" {
		t.Fatalf("%d POSTs, %+v", w.warmy.posts, got)
	}
	w.warmy.refuse = nil
	posts := w.warmy.posts
	if !w.run(t.Context(), e.Replayed(7, at)) || w.status().State != mailbox.StateRegistered || w.warmy.posts != posts+1 {
		t.Errorf("the replay ends as %+v after %d more POSTs", w.status(), w.warmy.posts-posts)
	}
	w.check(t)
}

func TestAReplayOfTheRegistrationNeverPostsBlindly(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, true)
	w.registrations.put(w.registrations.get().Bury(e, passing("warmy_unreachable"), w.now)) // the listing was down for too long
	if got := w.status(); got.State != mailbox.StateDead || got.Stage != "reconcile" {
		t.Fatalf("%+v", got)
	}
	register := codeOf(0).Follow(events.RegistrationRequested, at)
	register.Proof = e.Proof
	if !w.run(t.Context(), register.Replayed(7, at)) || w.warmy.posts != 1 || w.status().WarmyID != "w1" {
		t.Errorf("ends as %+v after %d POSTs", w.status(), w.warmy.posts)
	}
	w.check(t)
}

func TestAListingThatFailsProvesNothing(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	w.script = map[int]mode{len(w.steps) + 3: errBefore} // two loads, then the listing
	before := w.registrations.get()
	if o := w.deliver(t.Context(), e); !fault.Is(o.err, fault.Transient) || w.registrations.get() != before {
		t.Errorf("%+v, %+v", o, w.registrations.get())
	}
}

func TestAnUnclearPostOfAnOlderConsentIsSettledForTheNewerOne(t *testing.T) {
	t.Parallel()
	for _, created := range []bool{true, false} {
		w, unclear := doubtful(t, created)
		w.warmy.update = true
		w.now = at.Add(time.Minute)
		if !w.run(t.Context(), unclear, codeOf(1)) || w.status().State != mailbox.StateRegistered || len(w.warmy.ids) != 1 {
			t.Errorf("created %v: ends as %+v, %d times at Warmy", created, w.status(), len(w.warmy.ids))
		}
		if w.warmy.last.Access.Reveal() != "access2" || w.status().Reason != "" {
			t.Errorf("%+v, last posted with %s", w.status(), w.warmy.last.Access.Reveal())
		}
		w.check(t)
	}
}

func TestALateListingDoesNotBuryAPostUnderWay(t *testing.T) {
	t.Parallel()
	w, e := doubtful(t, false)
	posting, _ := mailbox.Registration{}.Claim(e, "somebody", w.now)
	w.registrations.put(posting)
	if err := w.reconcile().Bury(t.Context(), e, passing("x")); err != nil || w.registrations.get() != posting {
		t.Errorf("%v, %+v", err, w.registrations.get())
	}
}

// TestAReplayIsAnsweredByAListingThatIsYoungerThanIt has an operator remove a duplicate, and replay the dead letter.
func TestAReplayIsAnsweredByAListingThatIsYoungerThanIt(t *testing.T) {
	t.Parallel()
	const another = "another replay has begun it"
	for name, prepare := range map[string]func(t *testing.T) (*world, events.Event){
		"a first POST": func(t *testing.T) (*world, events.Event) {
			t.Helper()
			w, e := doubtful(t, true)
			w.warmy.ids, w.warmy.twice = []string{"w1", "w2"}, true
			return w, e
		},
		"a POST made again": func(t *testing.T) (*world, events.Event) {
			t.Helper()
			w := connected(t)
			w.warmy.update, w.warmy.twice = false, true
			e := w.deliver(t.Context(), reconnectOf("job", w.now)).follow[0]
			w.now = e.NotBefore
			return w, e
		},
		another: func(t *testing.T) (*world, events.Event) {
			t.Helper()
			w, e := doubtful(t, true)
			w.warmy.ids, w.warmy.twice = []string{"w1", "w2"}, true
			return w, e
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := prepare(t)
			if o := w.deliver(t.Context(), e); !o.dead {
				t.Fatalf("%+v", o)
			}
			console := w.now.Add(-10 * time.Minute) // its clock is wrong
			if name == another {
				w.registrations.put(w.registrations.get().Reopen(w.now))
				console = w.now.Add(time.Minute)
			}
			w.now = w.now.Add(time.Minute)
			replayed := w.now
			w.warmy.ids = w.warmy.ids[1:]
			w.now = w.now.Add(time.Second)
			if o := w.deliver(t.Context(), e.Replayed(7, console)); o.err != nil || o.dead || w.warmy.since.Before(replayed) {
				t.Errorf("answered by a listing since %v, of a replay at %v: %+v", w.warmy.since, replayed, o)
			}
			if reg := w.registrations.get(); reg.WarmyID != "w2" || reg.Two() {
				t.Errorf("%+v", reg)
			}
		})
	}
}

// TestAnAddressThatSomebodyElseHasAtWarmyIsPostedOnce, and once more for a replay.
func TestAnAddressThatSomebodyElseHasAtWarmyIsPostedOnce(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	w.warmy.refuse = classed(fault.Unclear, mailbox.CodeTaken)
	for posts := 1; posts <= 2; posts++ {
		if !w.run(t.Context(), e) {
			t.Fatal("it does not end")
		}
		last := w.letters[len(w.letters)-1]
		if got := w.status(); w.warmy.posts != posts || len(w.letters) != posts || got.State != mailbox.StateDead || got.Finding.Code != "warmy_taken_elsewhere" {
			t.Fatalf("%d POSTs, want %d; %+v, %+v", w.warmy.posts, posts, w.letters, got)
		}
		e = last.event.Replayed(7, w.now)
	}
	w.warmy.refuse = nil // it was removed there
	if !w.run(t.Context(), e) || w.status().State != mailbox.StateRegistered || w.warmy.posts != 3 {
		t.Errorf("ends as %+v after %d POSTs", w.status(), w.warmy.posts)
	}
}

// TestANewerConsentIsToldAfterAnOlderPostWasGivenUp has Warmy list the address twice when the newer consent's event asks.
func TestANewerConsentIsToldAfterAnOlderPostWasGivenUp(t *testing.T) {
	t.Parallel()
	w, older := doubtful(t, true)
	w.warmy.ids, w.warmy.twice, w.warmy.update = []string{"w1", "w2"}, true, true
	w.now = at.Add(time.Minute)
	if !w.run(t.Context(), codeOf(1)) || len(w.letters) != 1 || w.letters[0].event.Attempt != "att01" {
		t.Fatalf("%+v", w.letters)
	}
	if reg, got := w.registrations.get(), w.status(); reg.Attempt != older.Attempt || !reg.Unsettled || got.State != mailbox.StateDead {
		t.Errorf("the POST of %s is seen as %+v, %+v", older.Attempt, reg, got)
	}
	facts := mailbox.Facts{Invitation: w.invitations.get(), Grant: w.grants.get(), Registration: w.registrations.get()}
	if due := facts.GrantDue(w.now.Add(24 * time.Hour)); due.Remedy != mailbox.NothingDue {
		t.Errorf("token-worker begins it again: %+v", due)
	}
	w.warmy.ids, w.now = []string{"w1"}, w.now.Add(time.Minute)
	if !w.run(t.Context(), w.letters[0].event.Replayed(7, w.now)) {
		t.Fatal("it does not end")
	}
	w.still(t, "", 2)
	if reg := w.registrations.get(); reg.Attempt != "att01" || w.warmy.last.Access.Reveal() != "access2" {
		t.Errorf("Warmy was told of %s last: %+v", w.warmy.last.Access.Reveal(), reg)
	}
	w.check(t)
}
