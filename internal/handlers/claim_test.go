package handlers_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

const (
	mb2         = "mbxmbxmbxmbxmbxmbxmbxmb2"
	twinAddress = "alias@example.com"
)

// theIdentity is the key of the account that consents in every story, unless it says who else does.
var theIdentity = mailbox.IdentityKey("agency", mailbox.Who(events.Proof{TenantID: "tid", ObjectID: "oid"}))

// twins is a world with two invitations of one Microsoft mailbox, under the given addresses.
func twins(second string) *world {
	w := newWorld()
	inv := w.invitations.get()
	inv.ID, inv.Address = mb2, second
	w.invitations.putAt(mb2, inv)
	return w
}

// statusOf is what an operator sees now of a mailbox.
func (w *world) statusOf(id mailbox.ID) mailbox.Status {
	latest := cmp.Or(w.grants.at(id).Attempt, "att00")
	claim := mailbox.Claim{Attempts: []mailbox.Attempt{{ID: latest, StateHash: "s", CodeHash: "c", StartedAt: at, ExpiresAt: at, AnsweredAt: at}}}
	return mailbox.View(mailbox.Facts{
		Invitation: w.invitations.at(id), Claim: claim, Grant: w.grants.at(id), Registration: w.registrations.at(id),
	}, w.now)
}

func sameMailbox(s mailbox.Status) bool {
	return s.State == mailbox.StateDead && s.Finding != nil && s.Finding.Code == handlers.CodeSameMailbox
}

// pairs are the ways to invite one mailbox twice. The fakes have both addresses in one app; that of two apps is the same to the
// handlers, which know mailboxes by their ids.
func pairs() map[string]string {
	return map[string]string{"two addresses": twinAddress, "one address under two apps": address}
}

func TestOneMicrosoftMailboxIsPostedOnce(t *testing.T) {
	t.Parallel()
	for name, second := range pairs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twins(second)
			if !w.run(t.Context(), codeFor(mb, 0), codeFor(mb2, 1)) {
				t.Fatal("it does not end")
			}
			if got := w.statusOf(mb); got.State != mailbox.StateRegistered {
				t.Errorf("the first one ends as %+v", got)
			}
			if got := w.statusOf(mb2); !sameMailbox(got) || w.warmy.posts != 1 {
				t.Errorf("the second one ends as %+v after %d POSTs", got, w.warmy.posts)
			}
			w.check(t)
		})
	}
}

// TestTheFirstIntentIsTheClaim: the usual way has no further write for the claim.
func TestTheFirstIntentIsTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.run(t.Context(), codeOf(0))
	var saves []string
	for _, step := range w.steps {
		if step == "save grant" || step == "save registration" || step == "save identity" {
			saves = append(saves, step)
		}
	}
	if want := []string{"save grant", "save grant", "save identity", "save registration"}; !slices.Equal(saves, want) {
		t.Errorf("saves %v, want %v", saves, want)
	}
}

// TestTwinsWithAnyTwoFailures fails every pair of steps on the way of two mailboxes that are one.
func TestTwinsWithAnyTwoFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address  string
		lag      time.Duration
		nameless bool
	}{
		"two addresses":              {address: twinAddress},
		"one address under two apps": {address: address, lag: settle / 2},
		"proven, not known before":   {address: twinAddress, nameless: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPair(36, func(script map[int]mode) {
				w := twins(c.address)
				w.warmy.lag, w.microsoft.nameless, w.script = c.lag, c.nameless, script
				w.endTwins(t, codeFor(mb, 0), codeFor(mb2, 1))
			})
		})
	}
}

// everyPair calls try with every pair of failures in the first steps.
func everyPair(horizon int, try func(script map[int]mode)) {
	for first := 1; first <= horizon; first++ {
		for then := first + 1; then <= horizon; then++ {
			for _, a := range failures() {
				for _, b := range failures() {
					try(map[int]mode{first: a, then: b})
				}
			}
		}
	}
}

// TestTwinsAtOnceWithAnyTwoFailures lets the second one come while the first one waits for its turn to be posted.
func TestTwinsAtOnceWithAnyTwoFailures(t *testing.T) {
	t.Parallel()
	for name, nameless := range map[string]bool{"known": false, "proven, not known before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPair(36, func(script map[int]mode) { atOnce(t, nameless, script) })
		})
	}
}

func atOnce(t *testing.T, nameless bool, script map[int]mode) {
	t.Helper()
	w := twins(twinAddress)
	w.microsoft.nameless, w.script = nameless, script
	var left []events.Event
	w.warmy.turn = func() {
		w.warmy.turn = nil
		left = w.twice(t, codeFor(mb2, 1))
	}
	if !w.run(t.Context(), codeFor(mb, 0)) {
		t.Fatalf("it does not end: %v", numbered(w.steps, w.script))
	}
	if w.warmy.turn != nil { // the first one never came to be posted
		left = append(left, codeFor(mb2, 1))
	}
	w.endTwins(t, left...)
}

// twice delivers e and what follows from it, once each, and returns what is left to be delivered.
func (w *world) twice(t *testing.T, e events.Event) (left []events.Event) {
	t.Helper()
	o := w.deliver(t.Context(), e)
	if o.err != nil {
		left = append(left, e)
	}
	for _, next := range o.follow {
		o := w.deliver(t.Context(), next)
		if o.err != nil {
			left = append(left, next)
		}
		left = append(left, o.follow...)
	}
	return left
}

// endTwins delivers the events, and asks for one mailbox at Warmy.
func (w *world) endTwins(t *testing.T, queue ...events.Event) {
	t.Helper()
	if !w.run(t.Context(), queue...) {
		t.Fatalf("it does not end: %v", numbered(w.steps, w.script))
	}
	registered, lost, same := 0, 0, 0
	for _, id := range []mailbox.ID{mb, mb2} {
		switch got := w.statusOf(id); {
		case got.State == mailbox.StateRegistered:
			registered++
		case got.State == mailbox.StateNeedsConsent && got.Reason == mailbox.ConsentLost:
			lost++
		case sameMailbox(got):
			same++
		default:
			t.Errorf("%s ends as %s %s %+v", id, got.State, got.Reason, got.Finding)
		}
	}
	if registered != 1 && lost != 2 {
		t.Errorf("%d registered, %d lost, %d the same", registered, lost, same)
	}
	w.check(t)
	if t.Failed() {
		t.Fatalf("script %v", w.script)
	}
}

// TestAnIdentityIsFreeUnlessItsHolderMayBeAtWarmy settles the holder's registration in every way, and then posts the other one.
func TestAnIdentityIsFreeUnlessItsHolderMayBeAtWarmy(t *testing.T) {
	t.Parallel()
	refused := classed(fault.Permanent, "warmy_422")
	for name, c := range map[string]struct {
		settle func(t *testing.T, w *world)
		posted bool
		waits  bool
	}{
		"refused, and buried": {settle: func(t *testing.T, w *world) {
			t.Helper()
			w.warmy.refuse = refused
			w.run(t.Context(), codeOf(0))
			w.warmy.refuse = nil
		}, posted: true},
		"an outage, so that it is tried again": {settle: func(t *testing.T, w *world) {
			t.Helper()
			w.warmy.refuse = passing("warmy_down")
			w.deliver(t.Context(), w.granted(t))
			w.warmy.refuse = nil
		}, posted: true},
		"declared absent": {settle: func(t *testing.T, w *world) {
			t.Helper()
			w.lose(t)
			w.registrations.put(w.registrations.get().DeclaredAbsent(w.now))
		}, posted: true},
		"given up before a POST": {settle: func(t *testing.T, w *world) {
			t.Helper()
			if err := w.register().Bury(t.Context(), w.granted(t), passing("x")); err != nil {
				t.Fatal(err)
			}
		}, posted: true},
		"erased": {settle: func(t *testing.T, w *world) {
			t.Helper()
			w.lose(t)
			inv := w.invitations.get()
			inv.ErasedAt = w.now
			w.invitations.put(inv)
		}, posted: true},
		"unclear": {settle: func(t *testing.T, w *world) { t.Helper(); w.lose(t) }},
		"given up while unclear": {settle: func(t *testing.T, w *world) {
			t.Helper()
			e := w.lose(t)
			w.registrations.put(w.registrations.get().Bury(e, passing("x"), w.now))
		}},
		"a POST under way":   {settle: func(t *testing.T, w *world) { t.Helper(); w.die(t) }, waits: true},
		"its worker is gone": {settle: func(t *testing.T, w *world) { t.Helper(); w.die(t); w.now = w.now.Add(2 * mailbox.PostLease) }},
		"registered":         {settle: func(t *testing.T, w *world) { t.Helper(); w.run(t.Context(), codeOf(0)) }},
		"registered, tokens gone": {settle: func(t *testing.T, w *world) {
			t.Helper()
			w.run(t.Context(), codeOf(0))
			w.grants.put(w.grants.get().Revoke(passing("x"), w.now))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twins(twinAddress)
			c.settle(t, w)
			before := w.warmy.posts
			w.warmy.maybe = w.warmy.maybe && !c.posted
			w.now = w.now.Add(time.Second)
			e := w.grantedFor(t, mb2, 1)
			o := w.deliver(t.Context(), e)
			switch posted := w.warmy.posts > before; {
			case posted != c.posted:
				t.Errorf("posted: %v; %+v", posted, o)
			case c.waits && !fault.Is(o.err, fault.RetryAfter):
				t.Errorf("it does not wait: %+v", o)
			case !c.posted && !c.waits && (!o.dead || !sameMailbox(w.statusOf(mb2))):
				t.Errorf("nobody is told: %+v, %+v", o, w.statusOf(mb2))
			}
			if c.posted { // and now the first one is the second
				w.warmy.maybe = false
				posts := w.warmy.posts
				if !w.run(t.Context(), codeFor(mb, 3)) || w.warmy.posts != posts {
					t.Errorf("the first one was posted beside it: %+v", w.statusOf(mb))
				}
			}
			for _, b := range w.breaches {
				t.Error(b)
			}
		})
	}
}

// granted brings the mailbox to its registration and returns the event that asks for it.
func (w *world) granted(t *testing.T) events.Event { t.Helper(); return w.grantedFor(t, mb, 0) }

func (w *world) grantedFor(t *testing.T, id mailbox.ID, n int) events.Event {
	t.Helper()
	o := w.deliver(t.Context(), codeFor(id, n))
	if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationRequested {
		t.Fatalf("%+v", o)
	}
	return o.follow[0]
}

// lose posts the mailbox, and the answer is lost.
func (w *world) lose(t *testing.T) events.Event {
	t.Helper()
	w.warmy.refuse = classed(fault.Unclear, "warmy_timeout")
	o := w.deliver(t.Context(), w.granted(t))
	w.warmy.refuse = nil
	if o.err != nil || len(o.follow) != 1 {
		t.Fatalf("%+v", o)
	}
	return o.follow[0]
}

// die posts the mailbox, and the worker is gone before it hears of the answer.
func (w *world) die(t *testing.T) events.Event {
	t.Helper()
	e := w.granted(t)
	w.next["create"] = killAfter
	if o := w.deliver(t.Context(), e); !o.killed {
		t.Fatalf("it was not killed: %+v", o)
	}
	return e
}

// TestAStaleClaimEndsUnclear loses the event whose worker died in the POST. What asks next must find the first intent, whoever
// consented and whatever else comes, and must not post.
func TestAStaleClaimEndsUnclear(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(t *testing.T, w *world, e events.Event) events.Event{
		"the same event":          func(_ *testing.T, _ *world, e events.Event) events.Event { return e },
		"one made from the facts": func(_ *testing.T, _ *world, e events.Event) events.Event { e.ID, e.Restored = "other", true; return e },
		"a newer consent": func(t *testing.T, w *world, _ events.Event) events.Event {
			t.Helper()
			return w.grantedFor(t, mb, 2)
		},
		"a newer consent of another account": func(t *testing.T, w *world, _ events.Event) events.Event {
			t.Helper()
			w.microsoft.who = map[string]events.Proof{"att02": {TenantID: "tid", ObjectID: "other"}}
			return w.grantedFor(t, mb, 2)
		},
		"a grant that an older worker has saved": func(t *testing.T, w *world, e events.Event) events.Event {
			t.Helper()
			g := w.grants.get()
			g.First = ""
			w.grants.put(g)
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.warmy.ids, w.warmy.lag = nil, time.Hour
			e := next(t, w, w.die(t))
			if o := w.deliver(t.Context(), e); !fault.Is(o.err, fault.RetryAfter) || w.warmy.posts != 1 {
				t.Fatalf("the lease is alive: %+v, %d POSTs", o, w.warmy.posts)
			}
			w.now = w.now.Add(mailbox.PostLease)
			o := w.deliver(t.Context(), e)
			if w.warmy.posts != 1 || w.status().State != mailbox.StateUnclear || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationUnclear {
				t.Errorf("%+v, %+v after %d POSTs", o, w.status(), w.warmy.posts)
			}
			w.check(t)
		})
	}
}

// TestABurialDoesNotForgetAFirstIntent: what is replayed afterwards goes to the listing.
func TestABurialDoesNotForgetAFirstIntent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	e := w.die(t)
	if err := w.register().Bury(t.Context(), e, passing("crashes")); err != nil || !w.registrations.get().Unsettled {
		t.Fatalf("%v, %+v", err, w.registrations.get())
	}
	if !w.run(t.Context(), e.Replayed(7, w.now)) || w.warmy.posts != 1 || w.status().State != mailbox.StateRegistered {
		t.Errorf("%+v after %d POSTs", w.status(), w.warmy.posts)
	}
	w.check(t)
}

// TestTheFirstIntentAndWhatClosesItsPlaceExcludeEachOther: two workers have the same mailbox in hand, for two accounts that have
// consented. One waits for its turn while the other acts.
func TestTheFirstIntentAndWhatClosesItsPlaceExcludeEachOther(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]func(t *testing.T, w *world){
		"a POST for another account": func(t *testing.T, w *world) {
			t.Helper()
			w.microsoft.who = map[string]events.Proof{"att02": {TenantID: "tid", ObjectID: "other"}}
			w.deliver(t.Context(), w.grantedFor(t, mb, 2))
		},
		"a POST for the same account": func(t *testing.T, w *world) { t.Helper(); w.deliver(t.Context(), w.grantedFor(t, mb, 2)) },
		"a POST of the twin":          func(t *testing.T, w *world) { t.Helper(); w.deliver(t.Context(), w.grantedFor(t, mb2, 3)) },
		"a burial": func(t *testing.T, w *world) {
			t.Helper()
			e := events.New(events.RegistrationRequested, "poison", w.now)
			e.Mailbox, e.App, e.Account, e.Attempt = mb, "main", "agency", "att00"
			if err := w.register().Bury(t.Context(), e, passing("x")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twins(twinAddress)
			e := w.granted(t)
			w.warmy.turn = func() { w.warmy.turn = nil; other(t, w) }
			posts := w.warmy.posts
			o := w.deliver(t.Context(), e)
			if w.warmy.posts > posts+1 {
				t.Errorf("%d POSTs; %+v", w.warmy.posts, o)
			}
			w.check(t)
		})
	}
}

// TestAClaimIsSavedAgainBeforeEachLaterPost: only then nobody else can have taken the identity since it was looked at. Who was too
// late asks no listing: it has posted nothing.
func TestAClaimIsSavedAgainBeforeEachLaterPost(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(w *world, twin func()){
		"while it waits for its turn": func(w *world, twin func()) { w.warmy.turn = func() { w.warmy.turn = nil; twin() } },
		"when it saves its claim":     func(w *world, twin func()) { w.identities.onSave = func(mailbox.Identity) { twin() } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twins(twinAddress)
			w.warmy.refuse = passing("warmy_down")
			e := w.granted(t)
			w.deliver(t.Context(), e)
			w.warmy.refuse = nil
			second := w.grantedFor(t, mb2, 3)
			meanwhile(w, func() { w.deliver(t.Context(), second) })
			if !w.run(t.Context(), e, second) {
				t.Fatal("it does not end")
			}
			a, b := w.statusOf(mb), w.statusOf(mb2)
			if a.State == mailbox.StateRegistered == (b.State == mailbox.StateRegistered) || !sameMailbox(a) && !sameMailbox(b) {
				t.Errorf("%+v, %+v", a, b)
			}
			if slices.Contains(w.steps, "find") {
				t.Errorf("a listing was asked: %v", w.steps)
			}
			w.check(t)
		})
	}
}

// TestAFirstIntentIsNoLeaveToSendAgain: what is sent anew after a wait has an intent of its own, and none if another worker has found
// the first one abandoned.
func TestAFirstIntentIsNoLeaveToSendAgain(t *testing.T) {
	t.Parallel()
	for name, abandoned := range map[string]bool{"nobody came": false, "another worker came": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			e := w.granted(t)
			w.warmy.anew = func() {
				w.now = w.now.Add(2 * mailbox.PostLease)
				if abandoned {
					w.warmy.anew = nil
					w.deliver(t.Context(), e)
				}
			}
			if o := w.deliver(t.Context(), e); (o.err == nil) == abandoned || (w.warmy.posts == 1) == abandoned {
				t.Errorf("%+v, %d POSTs", o, w.warmy.posts)
			}
			if s := w.status().State; abandoned && s != mailbox.StateUnclear || !abandoned && s != mailbox.StateRegistered {
				t.Errorf("it is %s", s)
			}
			w.check(t)
		})
	}
}

// TestAnOlderRegistrationIsClaimedAtItsNextPost: one that does not say what it holds.
func TestAnOlderRegistrationIsClaimedAtItsNextPost(t *testing.T) {
	t.Parallel()
	w := connected(t)
	reg := w.registrations.get()
	reg.Holds = ""
	w.registrations.put(reg)
	w.identities.facts = map[string]stored[mailbox.Identity]{}
	for n, job := range []string{"job|1", "job|2"} {
		steps := len(w.steps)
		w.now = w.now.Add(time.Minute)
		if !w.run(t.Context(), reconnectOf(job, w.now)) {
			t.Fatal("it does not end")
		}
		if claims := slices.Contains(w.steps[steps:], "save identity"); claims != (n == 0) {
			t.Errorf("%s: claimed: %v", job, claims)
		}
		if w.identities.at(theIdentity).Mailbox != mb || w.registrations.get().Holds != mailbox.Who(events.Proof{TenantID: "tid", ObjectID: "oid"}) {
			t.Errorf("%+v", w.identities.facts)
		}
	}
	w.still(t, "", 3)
}

// TestTwinsInRandomHistories delivers consents of two accounts for two mailboxes, repeated and replayed, with many failures.
func TestTwinsInRandomHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := twins(rapid.SampledFrom([]string{twinAddress, address}).Draw(r, "second address"))
		w.warmy.lag = time.Duration(rapid.IntRange(0, 30).Draw(r, "lag")) * time.Second
		w.script = map[int]mode{}
		for range rapid.IntRange(0, 8).Draw(r, "failures") {
			w.script[rapid.IntRange(1, 120).Draw(r, "step")] = rapid.SampledFrom(failures()).Draw(r, "mode")
		}
		var queue []events.Event
		for n := range rapid.IntRange(2, 4).Draw(r, "consents") {
			queue = append(queue, codeFor(rapid.SampledFrom([]mailbox.ID{mb, mb2}).Draw(r, "mailbox"), n))
		}
		if !w.run(context.Background(), queue...) {
			r.Fatalf("it does not end: %v", numbered(w.steps, w.script))
		}
		again := queue[rapid.IntRange(0, len(queue)-1).Draw(r, "again")]
		if !w.run(context.Background(), again, again.Replayed(7, w.now)) {
			r.Fatalf("the replay does not end: %v", numbered(w.steps, w.script))
		}
		both := w.statusOf(mb).State == mailbox.StateRegistered && w.statusOf(mb2).State == mailbox.StateRegistered
		if both || len(distinct(w.warmy.of)) > 1 {
			r.Errorf("both are at Warmy: %v, %v", w.warmy.of, numbered(w.steps, w.script))
		}
		for _, b := range w.breaches {
			r.Error(b)
		}
	})
}

func distinct(of map[string]string) map[string]bool {
	all := map[string]bool{}
	for _, a := range of {
		all[a] = true
	}
	return all
}
