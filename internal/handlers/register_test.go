package handlers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func TestAMailboxIsPostedWithWhatItsRowAndItsGrantSay(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 {
		t.Fatalf("%+v", o)
	}
	m := w.warmy.last
	if m.FromName != "Owner" || m.ClientID != "client-main" || m.ClientSecret.Reveal() != "client-secret" || m.Access.Reveal() != "access1" ||
		m.Refresh.Reveal() != "refresh1" || m.TariffPlanTypeID != 41 || m.SpeedMode != "fast" {
		t.Errorf("posted %+v", m)
	}
	if o := w.deliver(t.Context(), e); o.err != nil || w.warmy.posts != 1 {
		t.Errorf("again: %+v, %d POSTs", o, w.warmy.posts)
	}
	w.check(t)
}

func TestTokensMustLiveLongEnoughForWarmy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		left, age time.Duration
		posted    bool
	}{
		"plenty of life":                        {time.Hour, time.Hour, true},
		"just more than the margin":             {margin + 1, time.Hour, true},
		"the margin":                            {margin, time.Hour, false},
		"short-lived, just rotated":             {margin - time.Minute, time.Minute - 1, true},
		"short-lived, rotated a minute ago":     {margin - time.Minute, time.Minute, false},
		"just rotated, too short for the lease": {mailbox.PostLease, 0, false},
		"expired":                               {-time.Hour, 2 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			g := w.grants.get()
			w.now = at.Add(3 * time.Hour)
			tokens := *g.Tokens
			tokens.Expiry, tokens.SavedAt = w.now.Add(test.left), w.now.Add(-test.age)
			g.Tokens = &tokens
			w.grants.put(g)
			o := w.deliver(t.Context(), e)
			if o.err != nil || (w.warmy.posts == 1) != test.posted {
				t.Fatalf("%+v after %d POSTs", o, w.warmy.posts)
			}
			if !test.posted && (len(o.follow) != 1 || o.follow[0].Kind != events.RefreshRequested || o.follow[0].Proof == nil) {
				t.Errorf("followed by %+v", o.follow)
			}
		})
	}
}

// TestWhatHasChangedWhileACallWaitedForItsTurnIsNotPosted: the wait can be many minutes.
func TestWhatHasChangedWhileACallWaitedForItsTurnIsNotPosted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life, age, wait time.Duration // of the tokens, when the wait begins; and the wait
		erased          bool
		posted          bool
	}{
		"a short wait":                           {life: time.Hour, wait: 10 * time.Second, posted: true},
		"ten minutes are left":                   {life: time.Hour, wait: 50*time.Minute - 1, posted: true},
		"less are left":                          {life: time.Hour, wait: 50 * time.Minute},
		"the token is dead":                      {life: time.Hour, wait: 2 * time.Hour},
		"a short-lived token":                    {life: 9 * time.Minute, wait: 4 * time.Minute, posted: true},
		"a short-lived token, more than half":    {life: 9 * time.Minute, wait: 5 * time.Minute},
		"a token that was old already":           {life: time.Hour, age: 45 * time.Minute, wait: 4 * time.Minute, posted: true},
		"one that was old already, a minute too": {life: time.Hour, age: 45 * time.Minute, wait: 5 * time.Minute},
		"the mailbox was erased":                 {life: time.Hour, wait: 10 * time.Second, erased: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			g := w.grants.get()
			tokens := *g.Tokens
			tokens.SavedAt = w.now.Add(-test.age)
			tokens.Expiry = tokens.SavedAt.Add(test.life)
			g.Tokens = &tokens
			w.grants.put(g)
			w.warmy.turn = func() {
				w.now = w.now.Add(test.wait)
				if inv := w.invitations.get(); test.erased {
					inv.ErasedAt = w.now
					w.invitations.put(inv)
				}
			}
			before := w.registrations.get()
			o := w.deliver(t.Context(), e)
			if o.err != nil || (w.warmy.posts == 1) != test.posted {
				t.Fatalf("%+v after %d POSTs", o, w.warmy.posts)
			}
			switch {
			case test.posted:
				return
			case w.registrations.get() != before:
				t.Errorf("an intent was saved: %+v", w.registrations.get())
			case test.erased && len(o.follow) > 0:
				t.Errorf("followed by %+v", o.follow)
			case test.erased:
				return
			case len(o.follow) != 1 || o.follow[0].Kind != events.RefreshRequested || o.follow[0].Proof == nil || !o.follow[0].Refused.Equal(tokens.SavedAt):
				t.Errorf("followed by %+v", o.follow)
			}
			w.warmy.turn = nil
			if !w.run(t.Context(), o.follow...) || w.warmy.posts != 1 || w.microsoft.refreshes != 1 {
				t.Errorf("then %d refreshes and %d POSTs", w.microsoft.refreshes, w.warmy.posts)
			}
			w.check(t)
		})
	}
}

func TestNothingIsPostedThatAnotherEventSpeaksFor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world, *events.Event){
		"no proof":          func(_ *world, e *events.Event) { e.Proof = nil },
		"tokens of another": func(_ *world, e *events.Event) { e.Attempt = "att99" },
		"tokens revoked":    func(w *world, _ *events.Event) { w.grants.put(w.grants.get().Revoke(passing("x"), at)) },
		"registered, tokens old": func(w *world, e *events.Event) {
			w.registrations.put(mailbox.Registration{Phase: mailbox.Registered, Attempt: e.Attempt})
			w.now = at.Add(24 * time.Hour) // a refresh would be of no use to anybody
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			change(w, &e)
			if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 || w.warmy.posts != 0 {
				t.Errorf("%+v after %d POSTs", o, w.warmy.posts)
			}
		})
	}
}

func TestTheOutcomeOfAPostDecides(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse  error
		state   mailbox.State
		follow  int
		again   bool
		comesIn time.Duration // until the listing is asked
	}{
		"refused":                       {classed(fault.Permanent, "warmy_422"), mailbox.StateDead, 0, false, 0},
		"needs the owner":               {classed(fault.NeedsConsent, "x"), mailbox.StateDead, 0, false, 0},
		"not sent":                      {passing("warmy_unreachable"), mailbox.StateGranted, 0, true, 0},
		"asked to wait":                 {classed(fault.RetryAfter, "warmy_429"), mailbox.StateGranted, 0, true, 0},
		"the leg is down":               {classed(fault.LegDown, "warmy_401"), mailbox.StateGranted, 0, true, 0},
		"unclear":                       {classed(fault.Unclear, "warmy_5xx"), mailbox.StateUnclear, 1, false, settle},
		"taken: the listing knows now":  {&fault.Fault{Class: fault.Unclear, Code: "warmy_taken", After: time.Second}, mailbox.StateUnclear, 1, false, time.Second},
		"an error of no class: unclear": {context.DeadlineExceeded, mailbox.StateUnclear, 1, false, settle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.warmy.refuse = test.refuse
			o := w.deliver(t.Context(), e)
			if got := w.status(); got.State != test.state || len(o.follow) != test.follow || (o.err != nil) != test.again || got.Finding == nil {
				t.Fatalf("%+v, %+v", o, got)
			}
			if test.follow == 1 && (o.follow[0].Kind != events.RegistrationUnclear || !o.follow[0].NotBefore.Equal(w.now.Add(test.comesIn))) {
				t.Errorf("followed by %+v", o.follow[0])
			}
			if w.registrations.get().Posts != test.follow {
				t.Errorf("%d POSTs are counted", w.registrations.get().Posts)
			}
			w.check(t)
		})
	}
}

func TestARefusedMailboxIsRegisteredByAReplay(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	w.warmy.refuse = classed(fault.Permanent, "warmy_422")
	if o := w.deliver(t.Context(), e); !o.dead || w.status().Stage != "register" {
		t.Fatalf("%+v, %+v", o, w.status())
	}
	w.warmy.refuse = nil
	if !w.run(t.Context(), e.Replayed(7, at)) || w.status().State != mailbox.StateRegistered {
		t.Errorf("ends as %+v", w.status())
	}
	w.check(t)
}

func TestAnotherWorkersPostIsWaitedForThenSettledByTheListing(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	held, _ := mailbox.Registration{}.Claim(e, "somebody", w.now)
	w.registrations.put(held)
	o := w.deliver(t.Context(), e)
	if f := fault.Of(o.err); f.Class != fault.RetryAfter || f.After != mailbox.PostLease || w.warmy.posts != 0 {
		t.Fatalf("within the lease: %+v", o)
	}
	w.now = w.now.Add(mailbox.PostLease)
	for range 2 { // the second one finds it unclear already
		o = w.deliver(t.Context(), e)
		if o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationUnclear || w.status().State != mailbox.StateUnclear {
			t.Fatalf("after the lease: %+v, %+v", o, w.status())
		}
	}
	w.check(t)
}

func TestMissingCredentialsCostNoIntent(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	h := w.register()
	h.Apps = oneApp{err: classed(fault.LegDown, "app_unknown")}
	if _, err := h.Handle(t.Context(), e); !fault.Is(err, fault.LegDown) || w.registrations.get().Phase != mailbox.RegistrationNone {
		t.Errorf("%v, %+v", err, w.registrations.get())
	}
}

func TestASlowWorkersAnswerIsStillTheTruth(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		meanwhile func(mailbox.Registration) mailbox.Registration
		id        string
		phase     mailbox.RegistrationPhase
		other     string // a second id that is known, and to be settled by the listing
		dead      bool   // a person is told
	}{
		"declared unclear": {
			meanwhile: func(r mailbox.Registration) mailbox.Registration { return r.Unclear(passing("x"), at) }, id: "w1", phase: mailbox.Registered,
		},
		"buried": {meanwhile: func(r mailbox.Registration) mailbox.Registration {
			return r.Bury(codeOf(0).Follow(events.RegistrationRequested, at), passing("x"), at)
		}, id: "w1", phase: mailbox.Registered},
		"adopted": {
			meanwhile: func(r mailbox.Registration) mailbox.Registration { return r.Created("w1", true, at) }, id: "w1", phase: mailbox.Registered,
		},
		"adopted under another id": {
			meanwhile: func(r mailbox.Registration) mailbox.Registration { return r.Created("w9", true, at) }, id: "w9", phase: mailbox.Registered, other: "w1",
		},
		"posted again, and answered with another id": {meanwhile: func(r mailbox.Registration) mailbox.Registration {
			r.Attempt, r.Posts = "att01", r.Posts+1
			return r.Created("w9", false, at)
		}, id: "w9", phase: mailbox.Registered, other: "w1"},
		"posted for a newer consent": {meanwhile: func(mailbox.Registration) mailbox.Registration {
			return mailbox.Registration{Phase: mailbox.Posting, Attempt: "att01"}
		}, phase: mailbox.Posting, dead: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.registrations.onSave = func(mailbox.Registration) { // the answer's: the intent is the claim on the identity
				next := test.meanwhile(*w.identities.at(theIdentity).Intent)
				w.registrations.put(next)
				g := w.grants.get()
				tokens := *g.Tokens
				g.Attempt, tokens.Attempt = next.Attempt, next.Attempt
				g.Tokens = &tokens
				w.grants.put(g)
			}
			o := w.deliver(t.Context(), e)
			got := w.registrations.get()
			if o.err != nil || o.dead != test.dead || got.Phase != test.phase || got.WarmyID != test.id || got.Two() != (test.other != "") {
				t.Errorf("%+v, %+v", o, got)
			}
			if test.dead && !strings.Contains(w.letters[0].fault.Cause, "w1") {
				t.Errorf("the dead letter does not name the id: %+v", w.letters[0].fault)
			}
			if test.other == "" {
				return
			}
			if len(o.follow) != 1 || o.follow[0].Kind != events.RegistrationUnclear || got.Again.OtherID != test.other {
				t.Fatalf("a second id is forgotten: %+v, %+v", o, got.Again)
			}
			w.warmy.ids, w.now = []string{test.id}, o.follow[0].NotBefore
			if listed := w.deliver(t.Context(), o.follow[0]); !listed.dead || !w.registrations.get().Two() || w.registrations.get().WarmyID != test.id {
				t.Errorf("nobody is told of the second id: %+v, %+v", listed, w.registrations.get())
			}
			w.warmy.ids = []string{test.other} // the operator has removed the known one
			if !w.run(t.Context(), o.follow[0].Replayed(7, w.now)) || w.registrations.get().WarmyID != test.other || w.registrations.get().Two() {
				t.Errorf("the replay ends as %+v", w.registrations.get())
			}
		})
	}
}

func TestALateBurialDoesNotTouchANewerConsent(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	posting, _ := mailbox.Registration{}.Claim(e, "somebody", w.now)
	w.registrations.put(posting)
	e.Attempt = "att99"
	if err := w.register().Bury(t.Context(), e, passing("x")); err != nil || w.registrations.get() != posting {
		t.Errorf("%v, %+v", err, w.registrations.get())
	}
}

// TestTokensThatWereReplacedDuringTheWaitAreNotPosted: the wait for a turn can be long, and a 429 makes everybody wait.
func TestTokensThatWereReplacedDuringTheWaitAreNotPosted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		meanwhile func(*world)
		follow    int
		posts     int // after all that follows
	}{
		"nothing happened":  {meanwhile: func(*world) {}, posts: 1},
		"they were revoked": {meanwhile: func(w *world) { w.grants.put(w.grants.get().Revoke(passing("x"), w.now)) }},
		"a newer consent brought its own": {meanwhile: func(w *world) {
			g := w.grants.get()
			tokens := *g.Tokens
			g.Attempt, tokens.Attempt, g.Tokens = "att01", "att01", &tokens
			w.grants.put(g)
		}},
		"a refresh replaced them": {meanwhile: func(w *world) {
			w.grants.put(w.grants.get().Rotate(w.microsoft.tokens(), w.now))
		}, follow: 1, posts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.warmy.turn = func() { w.now = w.now.Add(time.Second); test.meanwhile(w) }
			before := w.registrations.get()
			o := w.deliver(t.Context(), e)
			w.warmy.turn = nil
			if o.err != nil || len(o.follow) != test.follow || test.follow > 0 && o.follow[0].Kind != events.RefreshRequested {
				t.Errorf("%+v", o)
			}
			if w.warmy.posts == 0 && w.registrations.get() != before {
				t.Errorf("an intent was saved: %+v", w.registrations.get())
			}
			if !w.run(t.Context(), o.follow...) || w.warmy.posts != test.posts || w.microsoft.refreshes != 0 {
				t.Errorf("%d POSTs, %d refreshes", w.warmy.posts, w.microsoft.refreshes)
			}
			if test.posts > 0 && !w.warmy.last.Access.Equal(w.grants.get().Tokens.Access) {
				t.Errorf("posted with %s", w.warmy.last.Access.Reveal())
			}
			w.check(t)
		})
	}
}

// TestFactsOfAMomentAgoAreNotReadAgain: at full pace these reads would be a tenth of the way's.
func TestFactsOfAMomentAgoAreNotReadAgain(t *testing.T) {
	t.Parallel()
	for wait, reads := range map[time.Duration]int{0: 1, 999 * time.Millisecond: 1, time.Second: 2} {
		w, e := granted(t)
		w.warmy.turn = func() { w.now = w.now.Add(wait) }
		begun := len(w.steps)
		w.deliver(t.Context(), e)
		for _, step := range []string{"load invitation", "load grant"} {
			if n := len(w.steps[begun:]) - len(slices.DeleteFunc(slices.Clone(w.steps[begun:]), func(s string) bool { return s == step })); n != reads {
				t.Errorf("after %v: %d times %s", wait, n, step)
			}
		}
	}
}

// TestWhatWasCertainlyNotSentIsNotUnclear has Warmy refuse the session, and something happen before the POST is sent again.
func TestWhatWasCertainlyNotSentIsNotUnclear(t *testing.T) {
	t.Parallel()
	const tooLong = "the wait was too long for the tokens"
	for name, test := range map[string]struct {
		meanwhile func(*world)
		posts     int // after all that follows
	}{
		"nothing happened": {func(*world) {}, 1},
		tooLong:            {func(w *world) { w.now = w.now.Add(55 * time.Minute) }, 1},
		"the mailbox was erased": {func(w *world) {
			inv := w.invitations.get()
			inv.ErasedAt = w.now
			w.invitations.put(inv)
		}, 0},
		"the invitation cannot be read":   {func(w *world) { w.script = map[int]mode{len(w.steps) + 1: errBefore} }, 1},
		"the grant cannot be read":        {func(w *world) { w.script = map[int]mode{len(w.steps) + 2: errBefore} }, 1},
		"the intent cannot be saved":      {func(w *world) { w.script = map[int]mode{len(w.steps) + 3: errBefore} }, 1},
		"the intent is saved, but no yes": {func(w *world) { w.script = map[int]mode{len(w.steps) + 3: errAfter} }, 1},
		"nor can it be taken back": {func(w *world) {
			w.script = map[int]mode{len(w.steps) + 3: errBefore, len(w.steps) + 4: errBefore, len(w.steps) + 6: conflict}
		}, 1},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, again %v", name, again), func(t *testing.T) {
				t.Parallel()
				w, e := granted(t)
				before := 0
				if again {
					w, before = connected(t), 1
					e = reconnectOf("job", w.now)
				}
				w.warmy.anew = func() {
					w.warmy.anew = nil
					w.now = w.now.Add(time.Second)
					test.meanwhile(w)
				}
				o := w.deliver(t.Context(), e)
				if work := w.registrations.get().Work(); w.warmy.posts == before && (work.Phase != mailbox.RegistrationNone || work.Posts != 0) {
					t.Errorf("nothing was sent: %+v, %+v", o, work)
				}
				if name == tooLong && (o.err != nil || len(o.follow) != 1 || o.follow[0].Kind != events.RefreshRequested) {
					t.Errorf("%+v", o)
				}
				queue := o.follow
				if o.err != nil {
					queue = append(queue, e)
				}
				if !w.run(t.Context(), queue...) || w.warmy.posts != before+test.posts || w.registrations.get().Unresolved() {
					t.Errorf("%d POSTs, %+v", w.warmy.posts, w.registrations.get())
				}
				w.check(t)
			})
		}
	}
}

// TestClocksThatDifferDoNotKeepTokensOnTheirWay has token-worker's clock behind the server's, by which warmy-worker goes.
func TestClocksThatDifferDoNotKeepTokensOnTheirWay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life, left, behind time.Duration
		rounds             int // the most refreshes
	}{
		"fresh by one clock alone":              {life: time.Hour, left: margin - 30*time.Second, behind: time.Minute, rounds: 1},
		"so for an hour":                        {life: 2 * time.Hour, left: margin - 30*time.Second, behind: time.Hour, rounds: 1},
		"tokens that never live for the margin": {life: margin - time.Minute, left: time.Minute, behind: 2 * time.Minute, rounds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := granted(t)
			w.behind, w.microsoft.life = test.behind, test.life-test.behind // an expiry is counted from token-worker's clock
			g := w.grants.get()
			tokens := *g.Tokens
			w.now = at.Add(3 * time.Hour)
			tokens.SavedAt, tokens.Expiry = w.now.Add(-time.Hour), w.now.Add(test.left)
			g.Tokens = &tokens
			w.grants.put(g)
			if !w.run(t.Context(), e) || w.status().State != mailbox.StateRegistered || w.microsoft.refreshes > test.rounds {
				t.Errorf("%d refreshes, %+v", w.microsoft.refreshes, w.status())
			}
			w.check(t)
		})
	}
}

// TestTokensThatAreNeverFreshAreRefreshedAtAnEasyPace: nothing counts such rounds.
func TestTokensThatAreNeverFreshAreRefreshedAtAnEasyPace(t *testing.T) {
	t.Parallel()
	w, e := granted(t)
	w.microsoft.life = 30 * time.Second
	w.now = at.Add(3 * time.Hour)
	began := w.now
	w.run(t.Context(), e)
	if most := int(w.now.Sub(began)/time.Minute) + 2; w.microsoft.refreshes > most || w.warmy.posts > 0 {
		t.Errorf("%d refreshes in %v, %d POSTs", w.microsoft.refreshes, w.now.Sub(began), w.warmy.posts)
	}
}
