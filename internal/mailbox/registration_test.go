package mailbox_test

import (
	"fmt"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// registerOf asks for the registration of the nth attempt's grant.
func registerOf(n int) events.Event {
	e := codeOf(n).Follow(events.RegistrationRequested, at)
	e.Proof = &events.Proof{TenantID: "tid", ObjectID: "oid"}
	return e
}

// reconnectOf is an operator's request, with what the facts say of the nth attempt.
func reconnectOf(n int, seq uint64) events.Event {
	e := events.New(events.ReconnectRequested, fmt.Sprintf("job%d", seq), at)
	from := registerOf(n)
	e.Mailbox, e.App, e.Account, e.Attempt, e.Proof = from.Mailbox, from.App, from.Account, from.Attempt, from.Proof
	return e
}

func reconcileOf(n int) events.Event { return registerOf(n).Follow(events.RegistrationUnclear, at) }

// posting is a registration whose POST by w1 began at at.
func posting(t *testing.T, r mailbox.Registration, n int) mailbox.Registration {
	t.Helper()
	next, verdict := r.Claim(registerOf(n), "w1", at)
	if verdict != mailbox.Proceed {
		t.Fatalf("claim: verdict %v", verdict)
	}
	return next
}

const apart = time.Minute

// absentTwice is r after two listings that did not show it.
func absentTwice(t *testing.T, r mailbox.Registration, want mailbox.Verdict) mailbox.Registration {
	t.Helper()
	r, first := r.Absent(at, apart)
	r, second := r.Absent(at.Add(apart), apart)
	if first != mailbox.Wait || second != want {
		t.Fatalf("two listings: verdicts %v and %v, want %v at last", first, second, want)
	}
	return r
}

func TestAMailboxIsPostedOnlyWhenNoPostMayHaveTakenEffect(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	one := posting(t, mailbox.Registration{}, 1)
	unclear := one.Unclear(faultOf(fault.Unclear, ""), at)
	registered := one.Created("4711", false, at)
	refused := one.NotPosted(f, at)
	absentOnce, _ := unclear.Absent(at, apart)
	for name, test := range map[string]struct {
		reg   mailbox.Registration
		n     int // attempt of the event
		after time.Duration
		want  mailbox.Verdict
		phase mailbox.RegistrationPhase
	}{
		"nothing is known":                         {mailbox.Registration{}, 1, 0, mailbox.Proceed, mailbox.Posting},
		"a POST is on its way":                     {one, 1, mailbox.PostLease - 1, mailbox.Wait, mailbox.Posting},
		"a POST of an older consent is on its way": {one, 2, 0, mailbox.Wait, mailbox.Posting},
		"its worker is gone":                       {one, 1, mailbox.PostLease, mailbox.Refuse, mailbox.Uncertain},
		"the older consent's worker is gone":       {one, 2, mailbox.PostLease, mailbox.Refuse, mailbox.Uncertain},
		"unclear":                                  {unclear, 1, time.Hour, mailbox.Resume, mailbox.Uncertain},
		"unclear, a newer consent":                 {unclear, 2, time.Hour, mailbox.Resume, mailbox.Uncertain},
		"absent once":                              {absentOnce, 1, time.Hour, mailbox.Resume, mailbox.Uncertain},
		"absent twice":                             {absentTwice(t, unclear, mailbox.Proceed), 1, 0, mailbox.Proceed, mailbox.Posting},
		"registered":                               {registered, 1, time.Hour, mailbox.Done, mailbox.Registered},
		"registered, a newer consent":              {registered, 2, time.Hour, mailbox.Proceed, mailbox.Registered},
		"certainly without effect":                 {refused, 1, 0, mailbox.Proceed, mailbox.Posting},
		"refused and buried, replayed":             {refused.Bury(registerOf(1), f, at), 1, 0, mailbox.Proceed, mailbox.Posting},
		"buried in the middle of a POST":           {one.Bury(registerOf(1), f, at), 1, 0, mailbox.Refuse, mailbox.Uncertain},
		"buried while unclear":                     {unclear.Bury(reconcileOf(1), f, at), 1, 0, mailbox.Refuse, mailbox.Uncertain},
		"buried while unclear, a newer consent":    {unclear.Bury(reconcileOf(1), f, at), 2, 0, mailbox.Refuse, mailbox.Uncertain},
		"buried twice while unclear":               {unclear.Bury(reconcileOf(1), f, at).Bury(registerOf(1), f, at), 1, 0, mailbox.Refuse, mailbox.Uncertain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := at.Add(test.after)
			next, verdict := test.reg.Claim(registerOf(test.n), "w2", now)
			if verdict != test.want || next.Phase != test.phase {
				t.Fatalf("verdict %v, phase %q; want %v, %q", verdict, next.Phase, test.want, test.phase)
			}
			if next.Phase == mailbox.Registered && verdict == mailbox.Proceed {
				if next.WarmyID != "4711" || next.Attempt != "att01" {
					t.Errorf("what was registered is forgotten: %+v", next)
				}
				next, test.reg = next.Work(), next.Work()
			}
			switch verdict {
			case mailbox.Proceed:
				if next.Owner != "w2" || !next.Lease.Equal(now.Add(mailbox.PostLease)) || next.Attempt != registerOf(test.n).Attempt ||
					next.Proof == nil || next.Finding != nil || next.WarmyID != test.reg.WarmyID || next.ProvenAbsent() {
					t.Errorf("claimed %+v", next)
				}
			case mailbox.Refuse:
				if next.Owner != "" || !next.Lease.IsZero() || next.Finding == nil || next.Absences != 0 {
					t.Errorf("unclear %+v", next)
				}
			case mailbox.Done, mailbox.Wait, mailbox.Resume:
				if next != test.reg {
					t.Errorf("the registration changed: %+v", next)
				}
			}
		})
	}
}

func TestPostsAreCountedOnlyIfTheyMayHaveTakenEffect(t *testing.T) {
	t.Parallel()
	r := posting(t, mailbox.Registration{}, 1)
	r = posting(t, r.NotPosted(faultOf(fault.Transient, ""), at), 1)
	if r.Posts != 1 {
		t.Errorf("after one without effect %d POSTs are counted", r.Posts)
	}
	r = posting(t, absentTwice(t, r.Unclear(faultOf(fault.Unclear, ""), at), mailbox.Proceed), 1)
	if r.Posts != 2 {
		t.Errorf("after an unclear one %d POSTs are counted", r.Posts)
	}
	refused := r.NotPosted(faultOf(fault.Permanent, ""), at)
	if next := posting(t, refused, 2); next.Posts != 1 {
		t.Errorf("a newer consent begins with %d POSTs", next.Posts)
	}
	if none := (mailbox.Registration{}).NotPosted(faultOf(fault.Transient, ""), at); none.Posts != 0 {
		t.Errorf("%d POSTs", none.Posts)
	}
}

func TestOnlyTwoListingsApartFromEachOtherProveAbsence(t *testing.T) {
	t.Parallel()
	unclear := posting(t, mailbox.Registration{}, 1).Unclear(faultOf(fault.Unclear, ""), at)
	once, verdict := unclear.Absent(at, apart)
	if verdict != mailbox.Wait || once.Absences != 1 || once.Phase != mailbox.Uncertain {
		t.Fatalf("first listing: %v, %+v", verdict, once)
	}
	if early, verdict := once.Absent(at.Add(apart-1), apart); verdict != mailbox.Wait || early != once {
		t.Errorf("a second listing too early: %v, %+v", verdict, early)
	}
	twice, verdict := once.Absent(at.Add(apart), apart)
	if verdict != mailbox.Proceed || twice.Phase != mailbox.RegistrationNone || !twice.ProvenAbsent() {
		t.Errorf("second listing: %v, %+v", verdict, twice)
	}
	if again := posting(t, twice, 1).Unclear(faultOf(fault.Unclear, ""), at); again.Absences != 0 || !again.AbsentAt.IsZero() {
		t.Errorf("the next unclear POST inherits absences: %+v", again)
	}
}

func TestPostingAgainEndsAfterTwoTries(t *testing.T) {
	t.Parallel()
	r := posting(t, mailbox.Registration{}, 1).Unclear(faultOf(fault.Unclear, ""), at)
	for range mailbox.MaxReposts {
		r = posting(t, absentTwice(t, r, mailbox.Proceed), 1).Unclear(faultOf(fault.Unclear, ""), at)
	}
	r = absentTwice(t, r, mailbox.Refuse)
	if r.Phase != mailbox.Uncertain || r.Posts != 1+mailbox.MaxReposts {
		t.Fatalf("refused %+v", r)
	}
	reopened := r.Bury(reconcileOf(1), faultOf(fault.Permanent, ""), at).Reopen(at)
	if reopened.Phase != mailbox.Uncertain || reopened.Stage != "" {
		t.Fatalf("a replay finds %+v", reopened)
	}
	r = posting(t, absentTwice(t, reopened, mailbox.Proceed), 1).Unclear(faultOf(fault.Unclear, ""), at)
	absentTwice(t, r, mailbox.Refuse) // a replay allows one more POST, not a new round
}

func TestACreatedMailboxForgetsItsTroubles(t *testing.T) {
	t.Parallel()
	unclear := posting(t, mailbox.Registration{}, 1).Unclear(faultOf(fault.Unclear, ""), at)
	once, _ := unclear.Absent(at, apart)
	for name, r := range map[string]mailbox.Registration{
		"absent once": once, "buried": unclear.Bury(reconcileOf(1), faultOf(fault.Transient, ""), at),
	} {
		got := r.Created("4711", true, at)
		want := mailbox.Registration{
			Phase: mailbox.Registered, Attempt: "att01", Proof: r.Proof, Posts: 1, WarmyID: "4711", Adopted: true, Since: at,
		}
		if got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBuryingNeverHidesARegistrationOrAPost(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Transient, "")
	one := posting(t, mailbox.Registration{}, 1)
	unclear := one.Unclear(f, at)
	registered := one.Created("4711", false, at)
	for name, test := range map[string]struct {
		reg       mailbox.Registration
		event     events.Event
		stage     string // "": unchanged
		unsettled bool
	}{
		"never claimed":                            {mailbox.Registration{}, registerOf(1), "register", false},
		"refused":                                  {one.NotPosted(f, at), registerOf(1), "register", false},
		"in the middle of a POST":                  {one, registerOf(1), "register", true},
		"unclear":                                  {unclear, reconcileOf(1), "reconcile", true},
		"unclear, by the register lane":            {unclear, registerOf(1), "register", true},
		"unclear, for a newer consent":             {unclear, reconcileOf(2), "reconcile", true},
		"proven absent":                            {absentTwice(t, unclear, mailbox.Proceed), reconcileOf(1), "reconcile", false},
		"registered":                               {registered, registerOf(1), "", false},
		"registered by an older consent":           {registered, registerOf(2), "", false},
		"registered, by the reconcile lane":        {registered, reconcileOf(1), "", false},
		"a late listing, while it is posted again": {one, reconcileOf(1), "", false},
		"a late listing of nothing":                {mailbox.Registration{}, reconcileOf(1), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.reg.Bury(test.event, f, at.Add(time.Hour))
			if test.stage == "" {
				if got != test.reg {
					t.Errorf("it changed to %+v", got)
				}
				return
			}
			if got.Phase != mailbox.RegistrationDead || got.Stage != test.stage || got.Unsettled != test.unsettled ||
				!test.unsettled && got.Attempt != test.event.Attempt || got.Owner != "" || got.Finding == nil {
				t.Errorf("buried %+v", got)
			}
		})
	}
	if settled := one.NotPosted(f, at).Bury(registerOf(1), f, at); settled.Reopen(at) != settled {
		t.Error("a death without an open POST was reopened")
	}
}

// TestWhatWarmyHasAnsweredWithIsNeverPostedOver takes every way on from an answer about another address.
func TestWhatWarmyHasAnsweredWithIsNeverPostedOver(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Unclear, "")
	elsewhere := posting(t, mailbox.Registration{}, 1).AnsweredElsewhere("4711", f, at)
	again := posting(t, asked(t, true), 1)
	for name, reg := range map[string]mailbox.Registration{
		"a first POST":             elsewhere,
		"given up, and taken up":   elsewhere.Bury(reconcileOf(1), f, at).Reopen(at),
		"a POST made again":        again.AnsweredElsewhere("4712", f, at),
		"a second id":              again.Created("4712", false, at),
		"an alias, made again":     posting(t, elsewhere.DeclaredAs("4711", at), 2).Unclear(f, at),
		"an alias, made again too": posting(t, elsewhere.DeclaredAs("4711", at), 2).AnsweredElsewhere("4712", f, at),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if reg.Work().Phase != mailbox.Uncertain {
				t.Fatalf("settled as %+v", reg)
			}
			absentTwice(t, reg, mailbox.Refuse)
			if got := absentTwice(t, reg.DeclaredAbsent(at).Unclear(f, at), mailbox.Proceed); got.Elsewhere != "" || got.Two() {
				t.Errorf("an operator's word is not heeded: %+v", got)
			}
			for _, id := range []string{"4711", "4712", "4713"} {
				if got := reg.DeclaredAs(id, at); got.WarmyID != id || got.Two() || got.Unresolved() || got.Elsewhere != "" && got.Elsewhere != id {
					t.Errorf("taken for %s: %+v, %+v", id, got, got.Again)
				}
			}
		})
	}
	both := again.AnsweredElsewhere("4712", f, at).Created("4713", false, at).Created("4711", true, at)
	if !both.Two() || both.WarmyID != "4711" || both.Again.OtherID != "4713" || both.Elsewhere != "4712" {
		t.Errorf("of three ids the listing shows one: %+v, %+v", both, both.Again)
	}
	if got := elsewhere.Created("4712", false, at); !got.Two() || got.WarmyID != "4712" || got.Again.OtherID != "4711" || !got.Unresolved() {
		t.Errorf("a slow worker's answer names another id: %+v, %+v", got, got.Again)
	}
	if got := elsewhere.Created("4711", true, at); got.Two() || got.Elsewhere != "" {
		t.Errorf("the listing shows the very id: %+v", got)
	}
	if got := elsewhere.Created("4712", true, at); !got.Two() || got.WarmyID != "4712" || got.Again.OtherID != "4711" {
		t.Errorf("the listing shows another id: %+v, %+v", got, got.Again)
	}
}
