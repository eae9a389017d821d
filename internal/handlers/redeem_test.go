package handlers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// granted is a world in which the first code was redeemed and proven.
func granted(t *testing.T) (*world, events.Event) {
	t.Helper()
	w := newWorld()
	o := w.deliver(t.Context(), codeOf(0))
	if o.err != nil || len(o.follow) != 1 {
		t.Fatalf("redeem: %+v", o)
	}
	return w, o.follow[0]
}

func TestARedeemedCodeAsksForTheRegistrationWithItsProof(t *testing.T) {
	t.Parallel()
	w, next := granted(t)
	g := w.grants.get()
	if g.Phase != mailbox.GrantSaved || g.Tokens.Nonce.Reveal() != "nonce-att00" || g.Tokens.Attempt != "att00" {
		t.Errorf("stored %+v", g)
	}
	if next.Kind != events.RegistrationRequested || next.Proof == nil || next.Proof.ObjectID != "oid" || next.Attempt != "att00" || next.Sealed != nil {
		t.Errorf("followed by %+v", next)
	}
	w.check(t)
}

func TestARedeliveredCodeEmitsTheSameEventAndIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w, first := granted(t)
	again := w.deliver(t.Context(), codeOf(0))
	if again.err != nil || len(again.follow) != 1 || again.follow[0].ID != first.ID || w.microsoft.sends["code-att00"] != 1 {
		t.Errorf("again: %+v, %d sends", again, w.microsoft.sends["code-att00"])
	}
	w.check(t)
}

func TestWhatStillArrivesForAnErasedMailboxHasNoEffect(t *testing.T) {
	t.Parallel()
	w, register := granted(t)
	inv := w.invitations.get()
	inv.ErasedAt, inv.Address, inv.FromName = at, "", ""
	w.invitations.put(inv)
	w.registrations.put(mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "att00"})
	for _, e := range []events.Event{codeOf(0), codeOf(1), register, register.Follow(events.RegistrationUnclear, at)} {
		if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 {
			t.Errorf("%s: %+v", e.Kind, o)
		}
	}
	if w.microsoft.sends["code-att01"] != 0 || w.warmy.posts != 0 || w.status().State != mailbox.StateErased {
		t.Errorf("it had an effect: %+v", w.status())
	}
	w.check(t)
}

func TestAnUnknownMailboxHasNoEffect(t *testing.T) {
	t.Parallel()
	w := newWorld()
	e := codeOf(0)
	w.invitations.facts = map[string]stored[mailbox.Invitation]{}
	if o := w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 || len(w.microsoft.sends) != 0 {
		t.Errorf("%+v", o)
	}
}

func TestAnotherWorkersLeaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld()
	held, _ := mailbox.Grant{}.Claim(codeOf(0), "somebody", at, time.Second)
	w.grants.put(held)
	w.now = at.Add(10 * time.Second)
	o := w.deliver(t.Context(), codeOf(0))
	if f := fault.Of(o.err); f.Class != fault.RetryAfter || f.After != mailbox.RedeemLease-10*time.Second || len(w.microsoft.sends) != 0 {
		t.Errorf("got %+v", f)
	}
	w.now = at.Add(mailbox.RedeemLease)
	if o = w.deliver(t.Context(), codeOf(0)); o.err != nil || len(o.follow) != 1 {
		t.Errorf("after the lease: %+v", o)
	}
}

func TestAWorkerThatLostTheRaceForTheIntentSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.grants.onSave = func(mailbox.Grant) {
		held, _ := mailbox.Grant{}.Claim(codeOf(0), "somebody", at, time.Second)
		w.grants.put(held)
	}
	o := w.deliver(t.Context(), codeOf(0))
	if !errors.Is(o.err, handlers.ErrConflict) || len(w.microsoft.sends) != 0 {
		t.Errorf("%v, %d sends", o.err, len(w.microsoft.sends))
	}
}

func TestAWorkerThatStoodStillAfterItsIntentSendsNothing(t *testing.T) {
	t.Parallel()
	for stood, sends := range map[time.Duration]int{19 * time.Second: 1, 21 * time.Second: 0} {
		w := newWorld()
		w.grants.onSave = func(mailbox.Grant) { w.now = w.now.Add(stood) }
		o := w.deliver(t.Context(), codeOf(0))
		if w.microsoft.sends["code-att00"] != sends {
			t.Errorf("after %v it was sent %d times", stood, w.microsoft.sends["code-att00"])
		}
		if f := fault.Of(o.err); sends == 0 && (f.Class != fault.RetryAfter || f.Code != "worker_stood_still" || w.grants.get().Sends != 0) {
			t.Errorf("after %v: %v, %d sends counted", stood, f, w.grants.get().Sends)
		}
		if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered || w.microsoft.sends["code-att00"] != 1 {
			t.Errorf("after %v it ends as %+v", stood, w.status())
		}
		w.check(t)
	}
}

func TestAnOldCodeIsAnsweredWithANewLinkNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.now = at.Add(mailbox.CodeLife)
	o := w.deliver(t.Context(), codeOf(0))
	if got := w.status(); o.err != nil || got.State != mailbox.StateNeedsConsent || got.Reason != mailbox.CodeExpired || len(w.microsoft.sends) != 0 {
		t.Errorf("%+v, %+v", o, got)
	}
}

func TestARefusedRedeemEndsAsItsClassSays(t *testing.T) {
	t.Parallel()
	needsAdmin := &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS65001", Reason: mailbox.AdminRequired, Forecast: fault.ByPerson}
	for name, test := range map[string]struct {
		refuse error
		sends  int // counted afterwards
		state  mailbox.State
		reason string
		again  bool // the bus will deliver it again
	}{
		"needs an admin":   {needsAdmin, 1, mailbox.StateNeedsConsent, mailbox.AdminRequired, false},
		"passing":          {passing("x"), 1, mailbox.StateRedeeming, "", true},
		"without a class":  {errors.New("what"), 1, mailbox.StateRedeeming, "", true},
		"asked to wait":    {classed(fault.RetryAfter, "x"), 0, mailbox.StateRedeeming, "", true},
		"the leg is down":  {classed(fault.LegDown, "x"), 0, mailbox.StateRedeeming, "", true},
		"never":            {classed(fault.Permanent, "x"), 1, mailbox.StateDead, "", false},
		"unclear (no use)": {classed(fault.Unclear, "x"), 1, mailbox.StateDead, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.microsoft.refuse = test.refuse
			o := w.deliver(t.Context(), codeOf(0))
			got := w.status()
			if got.State != test.state || got.Reason != test.reason || w.grants.get().Sends != test.sends || (o.err != nil) != test.again {
				t.Errorf("%+v; %+v; %d sends", o, got, w.grants.get().Sends)
			}
			if got.Finding == nil {
				t.Error("nothing says why")
			}
		})
	}
}

func TestBeingToldToWaitNeverCostsTheConsent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.refuse = classed(fault.RetryAfter, "microsoft_429")
	for range 3 * mailbox.MaxSends {
		w.deliver(t.Context(), codeOf(0))
		w.now = w.now.Add(10 * time.Second)
	}
	w.microsoft.refuse = nil
	if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered {
		t.Errorf("ends as %+v", w.status())
	}
}

func TestACodeIsSentThreeTimesAtMost(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.refuse = passing("microsoft_5xx")
	if !w.run(t.Context(), codeOf(0)) {
		t.Fatal("it does not end")
	}
	if got := w.status(); w.microsoft.sends["code-att00"] != mailbox.MaxSends || got.Reason != mailbox.ConsentLost {
		t.Errorf("%d sends, %+v", w.microsoft.sends["code-att00"], got)
	}
}

func TestABrokenSealIsBuried(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*events.Event){
		"not sealed":                 func(e *events.Event) { e.Sealed = []byte("garbage") },
		"sealed for another attempt": func(e *events.Event) { e.Sealed = codeOf(1).Sealed },
		"no consent inside": func(e *events.Event) {
			e.Sealed = []byte(mailbox.SealedCodeContext(mb, "att00") + "\x00no json")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			e := codeOf(0)
			spoil(&e)
			o := w.deliver(t.Context(), e)
			if got := w.status(); !o.dead || got.State != mailbox.StateDead || got.Stage != "code" || got.Finding.Code != "seal_broken" {
				t.Errorf("%+v, %+v", o, got)
			}
			if len(w.microsoft.sends) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestSomeoneElsesTokensAreDestroyed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.proof = classed(fault.Permanent, handlers.CodeMismatch)
	o := w.deliver(t.Context(), codeOf(0))
	if o.err != nil || o.dead || len(o.follow) != 0 || w.status().State != mailbox.StateMismatch || w.grants.get().Tokens != nil {
		t.Errorf("%+v, %+v", o, w.status())
	}
	w.microsoft.proof = nil
	for _, e := range []events.Event{codeOf(0), codeOf(0).Replayed(7, at)} {
		if o = w.deliver(t.Context(), e); o.err != nil || len(o.follow) != 0 {
			t.Errorf("again: %+v", o)
		}
	}
	w.check(t)
	if !w.run(t.Context(), codeOf(1)) || w.status().State != mailbox.StateRegistered {
		t.Errorf("the right owner's consent ends as %+v", w.status())
	}
}

// stranger is the answer of a proof that finds another account.
func stranger(code string, alias bool) *handlers.MismatchError {
	return &handlers.MismatchError{
		Fault:   classed(fault.Permanent, code),
		Account: mailbox.Account{Proof: events.Proof{TenantID: "tid", ObjectID: "other"}, Address: secret.New("other@example.com"), Alias: alias},
	}
}

func TestAnAcceptedAccountIsRegisteredUnderItsOwnProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accepted *mailbox.Acceptance
		alias    bool
		passes   bool
	}{
		"nothing is accepted":               {nil, true, false},
		"the account is accepted":           {&mailbox.Acceptance{Proof: events.Proof{TenantID: "tid", ObjectID: "other"}}, false, true},
		"the alias is accepted":             {&mailbox.Acceptance{Proof: events.Proof{TenantID: "tid", ObjectID: "gone"}, Alias: true}, true, true},
		"the alias is gone":                 {&mailbox.Acceptance{Proof: events.Proof{TenantID: "tid", ObjectID: "gone"}, Alias: true}, false, false},
		"another account is accepted":       {&mailbox.Acceptance{Proof: events.Proof{TenantID: "tid", ObjectID: "third"}}, true, false},
		"the alias of another tenant":       {&mailbox.Acceptance{Proof: events.Proof{TenantID: "far", ObjectID: "third"}, Alias: true}, true, false},
		"the same object in another tenant": {&mailbox.Acceptance{Proof: events.Proof{TenantID: "far", ObjectID: "other"}}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			inv := w.invitations.get()
			inv.Accepted = c.accepted
			w.invitations.put(inv)
			w.microsoft.proof = stranger(handlers.CodeAlias, c.alias)
			o := w.deliver(t.Context(), codeOf(0))
			if o.err != nil || o.dead || (len(o.follow) == 1) != c.passes {
				t.Fatalf("%+v", o)
			}
			grant := w.grants.get()
			if !c.passes {
				if w.status().State != mailbox.StateMismatch || grant.Tokens != nil || grant.Consented == nil || grant.Consented.Address.Reveal() != "other@example.com" {
					t.Errorf("%+v, %+v", w.status(), grant)
				}
				return
			}
			if o.follow[0].Proof == nil || *o.follow[0].Proof != (events.Proof{TenantID: "tid", ObjectID: "other"}) || grant.Tokens == nil || grant.Consented != nil {
				t.Errorf("follows %+v with grant %+v", o.follow[0], grant)
			}
			if !w.run(t.Context(), o.follow...) || w.status().State != mailbox.StateRegistered {
				t.Errorf("ends as %+v", w.status())
			}
		})
	}
}

// The tokens of a mismatch are gone: accepting the account afterwards cannot bring them back, the next consent does.
func TestAnAccountAcceptedAfterItsMismatchConsentsOnceMore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.proof = stranger(handlers.CodeMismatch, false)
	w.deliver(t.Context(), codeOf(0))
	inv := w.invitations.get()
	inv.Accepted = &mailbox.Acceptance{Proof: w.grants.get().Consented.Proof, At: w.now.Add(time.Second)}
	w.invitations.put(inv)
	if s := w.status(); s.State != mailbox.StateNeedsConsent || s.Reason != mailbox.AccountAccepted {
		t.Errorf("accepted: %+v", s)
	}
	if o := w.deliver(t.Context(), codeOf(0).Replayed(7, at)); o.err != nil || len(o.follow) != 0 || w.grants.get().Tokens != nil {
		t.Errorf("the old code again: %+v", o)
	}
	if !w.run(t.Context(), codeOf(1)) || w.status().State != mailbox.StateRegistered {
		t.Errorf("ends as %+v", w.status())
	}
	w.check(t)
}

// A consent that fails after a mismatch must not take the decision out of the operator's hands.
func TestWhoConsentedIsRememberedUntilTokensAreSaved(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.proof = stranger(handlers.CodeMismatch, false)
	w.deliver(t.Context(), codeOf(0))
	w.microsoft.refuse = &fault.Fault{Class: fault.NeedsConsent, Code: "x", Reason: mailbox.CodeExpired, Forecast: fault.ByPerson}
	w.deliver(t.Context(), codeOf(1))
	if g := w.grants.get(); g.Phase != mailbox.GrantNeedsConsent || g.Consented == nil {
		t.Fatalf("%+v", g)
	}
	w.microsoft.refuse, w.microsoft.proof = nil, nil
	if !w.run(t.Context(), codeOf(2)) || w.grants.get().Consented != nil {
		t.Errorf("%+v", w.grants.get())
	}
}

func TestAReplayOfADeadProofUsesTheStoredTokens(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.microsoft.proof = classed(fault.Permanent, "graph_403")
	if o := w.deliver(t.Context(), codeOf(0)); !o.dead || w.status().State != mailbox.StateDead || w.grants.get().Tokens == nil {
		t.Fatalf("%+v, %+v", o, w.status())
	}
	w.microsoft.proof = nil
	w.now = at.Add(6 * time.Hour) // long after the code died
	o := w.deliver(t.Context(), codeOf(0).Replayed(7, at))
	if o.err != nil || len(o.follow) != 1 || w.status().State != mailbox.StateGranted {
		t.Fatalf("the replay: %+v, %+v", o, w.status())
	}
	if !w.run(t.Context(), o.follow...) || w.status().State != mailbox.StateRegistered || w.microsoft.refreshes != 1 {
		t.Errorf("ends as %+v after %d refreshes", w.status(), w.microsoft.refreshes)
	}
	w.check(t)
}

func TestLateTokensAreMergedIntoWhatOthersMadeOfTheGrant(t *testing.T) {
	t.Parallel()
	newer := codeOf(1)
	for name, test := range map[string]struct {
		meanwhile func(w *world, g mailbox.Grant) mailbox.Grant
		attempt   string // whose tokens are stored in the end
		follow    int
	}{
		"buried": {func(_ *world, g mailbox.Grant) mailbox.Grant { return g.Bury(codeOf(0), passing("x"), at) }, "att00", 1},
		"a newer code in hand": {func(_ *world, g mailbox.Grant) mailbox.Grant {
			g, _ = g.Claim(newer, "somebody", at, time.Second)
			return g
		}, "att00", 1},
		"a newer consent saved": {func(w *world, g mailbox.Grant) mailbox.Grant {
			g, _ = g.Claim(newer, "somebody", at, time.Second)
			return g.Save(w.microsoft.tokens(), at)
		}, "att01", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.grants.onSave = func(mailbox.Grant) { // at the intent; the next save is the tokens'
				w.grants.onSave = func(mailbox.Grant) { w.grants.put(test.meanwhile(w, w.grants.get())) }
			}
			o := w.deliver(t.Context(), codeOf(0))
			g := w.grants.get()
			if o.err != nil || len(o.follow) != test.follow || g.Tokens == nil || g.Tokens.Attempt != test.attempt {
				t.Errorf("%+v; stored %+v", o, g)
			}
			if test.attempt == "att00" && g.Tokens.Nonce.Empty() {
				t.Error("the nonce was lost")
			}
			w.check(t)
		})
	}
}

func TestSavingTokensGivesUpOnlyAfterManyTries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		failures int
		mode     mode
		saved    bool
	}{
		"three conflicts":         {3, conflict, true},
		"three errors":            {3, errBefore, true},
		"errors without an end":   {99, errBefore, false},
		"stored, but nobody said": {1, errAfter, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.script = map[int]mode{}
			for i := range test.failures {
				w.script[5+2*i] = test.mode // load, load, save, redeem, then saves and reloads take turns
			}
			o := w.deliver(t.Context(), codeOf(0))
			if saved := w.grants.get().Tokens != nil; saved != test.saved || (o.err == nil) != test.saved {
				t.Errorf("saved %v, %+v; steps %v", saved, o, numbered(w.steps, w.script))
			}
		})
	}
}

func TestABuriedCodeDoesNotTouchANewerConsent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	g, _ := mailbox.Grant{}.Claim(codeOf(1), "somebody", at, time.Second)
	w.grants.put(g)
	if err := w.redeem().Bury(t.Context(), codeOf(0), passing("x")); err != nil || w.grants.get() != g {
		t.Errorf("%v, %+v", err, w.grants.get())
	}
}

// An owner who consents again, with the same account, replaces the tokens; Warmy's mailbox stays the one that it is.
func TestASecondConsentReplacesTheTokens(t *testing.T) {
	t.Parallel()
	w := newWorld()
	if !w.run(t.Context(), codeOf(0)) || w.status().State != mailbox.StateRegistered {
		t.Fatalf("%+v", w.status())
	}
	first := w.grants.get().Tokens
	w.warmy.update = true
	if !w.run(t.Context(), codeOf(1)) || w.status().State != mailbox.StateRegistered {
		t.Fatalf("%+v", w.status())
	}
	second := w.grants.get().Tokens
	if second == nil || second.Attempt == first.Attempt || second.Refresh.Equal(first.Refresh) || len(w.warmy.ids) != 1 {
		t.Errorf("tokens %+v, then %+v; Warmy has %v", first, second, w.warmy.ids)
	}
	w.check(t)
}

// Who else publishes codes may not change what is known of a mailbox: the letter says it, and the owner's own state stays.
func TestACodeThatNoEdgeClaimedChangesNoFact(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"a young code": 0, "a code that is too old to be sent": mailbox.CodeLife} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.microsoft.refuse = &fault.Fault{Class: fault.NeedsConsent, Code: "x", Reason: mailbox.CodeExpired, Forecast: fault.ByPerson}
			w.deliver(t.Context(), codeOf(0))
			before := w.grants.get()
			if before.Phase != mailbox.GrantNeedsConsent {
				t.Fatalf("%+v", before)
			}
			w.now = w.now.Add(age)
			forged := codeOf(0).Replayed(7, at) // the same sealed code under an id that does not derive from it
			if o := w.deliver(t.Context(), forged); !o.dead {
				t.Errorf("%+v", o)
			}
			if diff := cmp.Diff(before, w.grants.get()); diff != "" {
				t.Error(diff)
			}
			w.check(t)
		})
	}
}

// TestAnOldCodeThatDoesNotOpenIsExpired: its key was lost, which helps nobody to know.
func TestAnOldCodeThatDoesNotOpenIsExpired(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.now = at.Add(mailbox.CodeLife)
	e := codeOf(0)
	e.Sealed = []byte("sealed with another key")
	if o := w.deliver(t.Context(), e); o.dead || o.err != nil || w.status().Reason != mailbox.CodeExpired {
		t.Errorf("%+v, %+v", o, w.status())
	}
}
