package mailbox_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// history is one mailbox under random news, and what must be remembered of it to judge the invariants.
type history struct {
	facts mailbox.Facts
	now   time.Time

	ever       map[string]bool       // attempts whose tokens were ever saved
	inFlight   map[int]mailbox.Grant // claims that workers hold, by code; a worker may be slow
	refreshing *mailbox.Tokens       // what a slow worker refreshes
	maybe      bool                  // a POST may have taken effect and nothing has settled it
	absent     []time.Time           // clean listings since
	last       mailbox.Registration  // before the latest news
	answered   map[string]bool       // ids that Warmy has answered with, and nothing has settled as gone
	letters    map[string]bool       // ids that a dead letter names
	slow       []string              // attempts whose POSTs were given up, and may be answered yet
}

const consents = 3

// codeEvent is one of the events that carry the nth code: itself, or a replay of it.
func codeEvent(r *rapid.T, n int) events.Event {
	if seq := rapid.Uint64Range(0, 2).Draw(r, "replay"); seq > 0 {
		return codeOf(n).Replayed(seq, at)
	}
	return codeOf(n)
}

func (h *history) worker(r *rapid.T) string {
	return rapid.SampledFrom([]string{"w1", "w2"}).Draw(r, "worker")
}

func anyFault(r *rapid.T) *fault.Fault {
	reasons := []string{mailbox.CodeExpired, mailbox.SignInFailed, mailbox.AdminRequired}
	return faultOf(rapid.SampledFrom(fault.Classes()).Draw(r, "class"), rapid.SampledFrom(reasons).Draw(r, "reason"))
}

func (h *history) tick(r *rapid.T) {
	steps := []time.Duration{0, time.Millisecond, time.Second, 30 * time.Second, mailbox.RedeemLease, apart, mailbox.PostLease, mailbox.CodeLife, time.Hour}
	h.now = h.now.Add(rapid.SampledFrom(steps).Draw(r, "tick"))
}

// The edge's news.

func (h *history) startAttempt(r *rapid.T) {
	a := attempt(rapid.IntRange(0, 30).Draw(r, "attempt"), h.now)
	if slices.ContainsFunc(h.facts.Claim.Attempts, func(b mailbox.Attempt) bool { return b.StateHash == a.StateHash }) {
		return // a state is random: it never comes twice
	}
	before, _ := h.facts.Claim.Latest()
	next, err := h.facts.Claim.Start(a, h.now)
	if err == nil {
		h.facts.Claim = next
	}
	if n := h.underWay(); err == nil && n > mailbox.MaxLiveAttempts {
		r.Fatalf("a start makes %d attempts under way", n)
	}
	if after, _ := next.Latest(); after != before {
		r.Fatalf("a new attempt changed the latest answer from %+v to %+v", before, after)
	}
}

func (h *history) underWay() int {
	live := 0
	for _, a := range h.facts.Claim.Attempts {
		if a.AnsweredAt.IsZero() && h.now.Before(a.ExpiresAt) {
			live++
		}
	}
	return live
}

func (h *history) answerAttempt(r *rapid.T) {
	state := attempt(rapid.IntRange(0, 30).Draw(r, "attempt"), at).StateHash
	switch rapid.IntRange(0, 2).Draw(r, "answer") {
	case 0:
		h.facts.Claim, _, _ = h.facts.Claim.Code(state, rapid.SampledFrom([]string{"c1", "c2"}).Draw(r, "code"), h.now)
	case 1:
		h.facts.Claim, _, _ = h.facts.Claim.Refuse(state, mailbox.Declined, h.now)
	case 2:
		h.facts.Claim = h.facts.Claim.Release(state)
	}
}

// The token worker's news.

func (h *history) claimCode(r *rapid.T) {
	n := rapid.IntRange(1, consents).Draw(r, "n")
	e := codeEvent(r, n)
	if h.now.Before(e.At) {
		h.now = e.At
	}
	before := h.facts.Grant
	next, verdict := before.Claim(e, h.worker(r), h.now, time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(r, "need")))
	switch verdict {
	case mailbox.Proceed:
		if h.ever[e.Attempt] {
			r.Fatalf("the code of %s may be sent again though its tokens were saved; grant %+v", e.Attempt, before)
		}
		h.inFlight[n] = next
		h.facts.Grant = next
	case mailbox.Refuse:
		h.facts.Grant = next
	case mailbox.Done, mailbox.Wait, mailbox.Resume:
		if next != before {
			r.Fatalf("verdict %v changed the grant", verdict)
		}
	}
}

// concludeCode is the end of a send: by compare-and-set if nobody came between, merged if the tokens came late.
func (h *history) concludeCode(r *rapid.T) {
	n := rapid.IntRange(1, consents).Draw(r, "n")
	mine, ok := h.inFlight[n]
	if !ok {
		return
	}
	delete(h.inFlight, n)
	if rapid.Bool().Draw(r, "failed") {
		if h.facts.Grant == mine {
			h.facts.Grant = mine.Fail(anyFault(r), h.now)
		}
		return
	}
	t := tokens(fmt.Sprintf("access%d", n), h.now.Add(time.Hour))
	if h.facts.Grant == mine {
		h.facts.Grant = mine.Save(t, h.now)
	} else if merged, ok := h.facts.Grant.Merge(mine, t, h.now); ok {
		h.facts.Grant = merged
	}
	if h.facts.Grant.Tokens == nil {
		r.Fatal("tokens that arrived are not stored, and no newer ones are")
	}
	h.ever[h.facts.Grant.Tokens.Attempt] = true
}

func (h *history) newsOfTokens(r *rapid.T) {
	g := h.facts.Grant
	if g.Tokens == nil {
		return
	}
	switch rapid.IntRange(0, 5).Draw(r, "news") {
	case 0:
		h.facts.Grant = g.Rotate(tokens("rotated", h.now.Add(time.Hour)), h.now)
	case 1:
		h.facts.Grant = g.Mismatch(anyFault(r), h.now)
	case 2:
		h.facts.Grant = g.Revoke(anyFault(r), h.now)
	case 3:
		h.facts.Grant, _ = g.Revive(h.now)
	case 4:
		h.facts.Grant = g.Withhold(anyFault(r), h.now)
		if h.facts.Grant.Tokens != g.Tokens || h.facts.Grant.Attempt != g.Attempt {
			r.Fatalf("withheld %+v, from %+v", h.facts.Grant, g)
		}
	case 5:
		h.refreshing = g.Tokens
	}
}

// concludeRefresh is the end of a refresh that a slow worker began: with tokens, after whatever others did meanwhile.
func (h *history) concludeRefresh(r *rapid.T) {
	mine := h.refreshing
	if mine == nil {
		return
	}
	h.refreshing = nil
	before := h.facts.Grant
	next, ok := before.Renew(*mine, tokens("late", h.now.Add(time.Hour)), h.now)
	switch {
	case !ok && next != before:
		r.Fatal("tokens that came too late changed the grant")
	case !ok && before.Tokens == nil && before.Attempt == mine.Attempt && before.Phase != mailbox.GrantMismatch:
		r.Fatalf("good tokens were thrown away: %+v", before)
	case ok && (next.Tokens.Attempt != mine.Attempt || next.Tokens.Rotation != mine.Rotation+1):
		r.Fatalf("late tokens are stored as %+v", next.Tokens)
	case ok && before.Tokens != nil && before.Tokens.Attempt != mine.Attempt:
		r.Fatal("late tokens replaced a newer consent's")
	case ok && before.Phase == mailbox.GrantMismatch && before.Attempt == mine.Attempt:
		r.Fatal("late tokens of another account are stored")
	}
	h.facts.Grant = next
}

func (h *history) buryCode(r *rapid.T) {
	n := rapid.IntRange(1, consents).Draw(r, "n")
	e := codeEvent(r, n)
	if rapid.Bool().Draw(r, "refresh") {
		e = e.Follow(events.RefreshRequested, h.now)
	}
	before := h.facts.Grant
	h.facts.Grant = before.Bury(e, anyFault(r), h.now)
	if h.facts.Grant.Tokens != before.Tokens {
		r.Fatal("a burial lost tokens")
	}
}

// The Warmy worker's news.

func (h *history) claimPost(r *rapid.T) {
	n := rapid.IntRange(1, consents).Draw(r, "n")
	e := registerOf(n)
	if seq := rapid.Uint64Range(0, 6).Draw(r, "reconnect"); seq > 3 {
		e = reconnectOf(n, seq)
	}
	if rapid.IntRange(0, 4).Draw(r, "not ready") == 0 {
		wanted, _ := h.facts.Registration.Wants(e, h.now)
		if h.facts.Registration.Two() && wanted != h.facts.Registration {
			r.Fatalf("a POST is wanted while Warmy may have the mailbox twice: %+v", wanted.Again)
		}
		h.facts.Registration = wanted
	}
	before := h.facts.Registration.Work()
	full := h.facts.Registration
	next, verdict := full.Claim(e, h.worker(r), h.now)
	switch verdict {
	case mailbox.Proceed:
		switch {
		case h.maybe:
			r.Fatalf("a POST though an earlier one may have taken effect: %+v", before)
		case before.Phase == mailbox.Uncertain || before.Phase == mailbox.Posting:
			r.Fatalf("a POST from phase %s", before.Phase)
		case full.Two():
			r.Fatalf("a POST while Warmy may have the mailbox twice: %+v", full.Again)
		case before.Phase == mailbox.Registered && e.Kind != events.ReconnectRequested && e.Attempt == full.Attempt:
			r.Fatal("a registered mailbox is posted again with what Warmy was told")
		}
		h.facts.Registration, h.maybe, h.absent = next, true, nil
	case mailbox.Refuse:
		h.facts.Registration = next
	case mailbox.Done, mailbox.Wait, mailbox.Resume:
		if next != full {
			r.Fatalf("verdict %v changed the registration", verdict)
		}
	}
}

func (h *history) concludePost(r *rapid.T) {
	reg := h.facts.Registration
	if reg.Work().Phase != mailbox.Posting {
		return
	}
	switch rapid.IntRange(0, 3).Draw(r, "outcome") {
	case 3:
		id := rapid.SampledFrom([]string{"4711", "4713"}).Draw(r, "id elsewhere")
		h.answer(reg.Work().Attempt, id, func(reg mailbox.Registration) mailbox.Registration {
			return reg.AnsweredElsewhere(id, anyFault(r), h.now)
		})
	case 0:
		h.facts.Registration, h.maybe = reg.NotPosted(anyFault(r), h.now), false
	case 1:
		f := anyFault(r)
		if rapid.Bool().Draw(r, "taken") {
			f.Code = mailbox.CodeTaken
		}
		h.facts.Registration, h.slow = reg.Unclear(f, h.now), append(h.slow, reg.Work().Attempt)
	case 2:
		id := rapid.SampledFrom([]string{"4711", "4711", "4712"}).Draw(r, "id")
		h.answer(reg.Work().Attempt, id, func(reg mailbox.Registration) mailbox.Registration { return reg.Created(id, false, h.now) })
		if known := reg.WarmyID; known != "" && known != id && !reg.Again.Gone {
			if h.facts.Registration.WarmyID != known || !h.facts.Registration.Two() {
				r.Fatalf("a second id took the place of the known one: %+v", h.facts.Registration)
			}
		}
	}
}

// answer records an id that Warmy has answered a POST of attempt with; a dead letter names it where the registration cannot.
func (h *history) answer(attempt, id string, record func(mailbox.Registration) mailbox.Registration) {
	reg := h.facts.Registration
	next, ok := reg.Answered(attempt, id, record, h.now)
	if h.answered[id] = true; !ok {
		h.letters[id] = true
		return
	}
	if reg.Again != nil && next.Again.Former != reg.Again.Former {
		delete(h.answered, reg.Again.Former) // the one before the one that is gone
	}
	h.facts.Registration, h.maybe = next, next.Work().Phase != mailbox.Registered
}

// answerLate is the answer to a POST that was given up, after whatever others did meanwhile.
func (h *history) answerLate(r *rapid.T) {
	if len(h.slow) == 0 {
		return
	}
	n := rapid.IntRange(0, len(h.slow)-1).Draw(r, "which")
	attempt, id := h.slow[n], rapid.SampledFrom([]string{"4711", "4712", "4713", "4714"}).Draw(r, "late id")
	h.slow = slices.Delete(h.slow, n, n+1)
	if rapid.IntRange(0, 2).Draw(r, "elsewhere") == 0 {
		h.answer(attempt, id, func(reg mailbox.Registration) mailbox.Registration {
			return reg.AnsweredElsewhere(id, anyFault(r), h.now)
		})
		return
	}
	h.answer(attempt, id, func(reg mailbox.Registration) mailbox.Registration { return reg.Created(id, false, h.now) })
}

// gone are the ids that a listing has settled, because it shows another one, or none, of the invited address.
func (h *history) gone(reg mailbox.Registration, ids ...string) {
	if reg.Again != nil {
		ids = append(ids, reg.Again.Former)
	}
	for _, id := range ids {
		delete(h.answered, id)
	}
}

func (h *history) list(r *rapid.T) {
	known := h.facts.Registration
	reg, looked := known.Reopen(h.now), rapid.Bool().Draw(r, "looked")
	if looked {
		reg = reg.Recheck(h.now)
	}
	if reg.Work().Phase != mailbox.Uncertain {
		return
	}
	if rapid.IntRange(0, 3).Draw(r, "listed") == 0 {
		id := rapid.SampledFrom([]string{"4711", "4712"}).Draw(r, "listed id")
		if h.facts.Registration, h.maybe = reg.Created(id, true, h.now), false; looked {
			h.facts.Registration = reg.Relisted(id, h.now)
		}
		switch {
		case looked && known.Two():
			h.gone(known, known.WarmyID, known.Again.OtherID)
		case id != known.WarmyID:
			h.gone(known, known.WarmyID)
		}
		if known.WarmyID == id || known.Two() && known.Again.OtherID == id {
			h.answered[id] = true
		}
		if got := h.facts.Registration; got.WarmyID != id || got.Work().Phase != mailbox.Registered || got.Work().Finding == nil && got.Again != nil {
			r.Fatalf("the listing's only id is %s: %+v", id, got)
		}
		return
	}
	next, verdict := reg.Absent(h.now, apart)
	if verdict == mailbox.Proceed && (known.Elsewhere != "" || known.Two()) {
		r.Fatalf("posted again though Warmy has answered with %s: %+v", known.Elsewhere, known.Again)
	}
	if verdict == mailbox.Proceed && known.TakenElsewhere() {
		r.Fatalf("posted again though Warmy says that it has the address: %+v", known.Work())
	}
	h.absent = append(h.absent, h.now)
	h.facts.Registration = next
	if verdict != mailbox.Proceed {
		return
	}
	if n := len(h.absent); n < 2 || h.now.Sub(h.absent[0]) < apart {
		r.Fatalf("absence is said to be proven by listings at %v", h.absent)
	}
	h.maybe = false
	h.gone(known, known.WarmyID)
}

func (h *history) buryPost(r *rapid.T) {
	e := registerOf(rapid.IntRange(1, consents).Draw(r, "n"))
	if rapid.Bool().Draw(r, "reconcile") {
		e = e.Follow(events.RegistrationUnclear, h.now)
	}
	h.facts.Registration = h.facts.Registration.Bury(e, anyFault(r), h.now)
}

func (h *history) erase(r *rapid.T) {
	if rapid.IntRange(0, 9).Draw(r, "really") == 0 {
		h.facts.Invitation.ErasedAt = h.now
	}
}

// check judges the invariants that hold after any news.
func (h *history) check(r *rapid.T, tokensBefore bool, mayLoseTokens bool) {
	f := h.facts
	if f.Grant.Sends > mailbox.MaxSends {
		r.Fatalf("%d sends are counted", f.Grant.Sends)
	}
	if tokensBefore && f.Grant.Tokens == nil && !mayLoseTokens {
		r.Fatalf("saved tokens were lost: %+v", f.Grant)
	}
	if n := len(f.Claim.Attempts); n > 2*mailbox.MaxLiveAttempts {
		r.Fatalf("%d attempts are kept", n)
	}
	status := mailbox.View(f, h.now)
	if !slices.Contains(mailbox.States(), status.State) || status.Reason != "" && !slices.Contains(mailbox.Reasons(), status.Reason) {
		r.Fatalf("state %q, reason %q", status.State, status.Reason)
	}
	if !f.Invitation.ErasedAt.IsZero() != (status.State == mailbox.StateErased) {
		r.Fatalf("erased at %v, state %s", f.Invitation.ErasedAt, status.State)
	}
	h.checkRegistered(r, status)
	if h.last.Phase == mailbox.Registered && f.Registration.Phase != mailbox.Registered {
		r.Fatalf("registered, then %s", f.Registration.Phase)
	}
	if h.last.WarmyID != "" && f.Registration.WarmyID == "" {
		r.Fatal("Warmy's id is forgotten")
	}
	h.checkPosts(r, status)
	h.last = f.Registration
}

// checkPosts judges what is known of POSTs and of their answers.
func (h *history) checkPosts(r *rapid.T, status mailbox.Status) {
	reg := h.facts.Registration
	for id := range h.answered {
		kept := id == reg.WarmyID || id == reg.Elsewhere || reg.Again != nil && (id == reg.Again.OtherID || id == reg.Again.Former)
		if !kept && !h.letters[id] {
			r.Fatalf("Warmy answered with %s, and nothing names it: %+v, %+v", id, reg, reg.Again)
		}
	}
	before, after := h.last.Work(), reg.Work()
	open := func(w mailbox.Registration) bool { return w.Unresolved() || w.Phase == mailbox.Posting }
	if open(before) && open(after) && before.Attempt != after.Attempt && before.Attempt != "" {
		r.Fatalf("the POST of %s is taken for one of %s", before.Attempt, after.Attempt)
	}
	dead := h.facts.Grant.Phase == mailbox.GrantDead
	if !dead && h.facts.Grant.Tokens != nil && reg.Phase == mailbox.RegistrationDead && reg.Unsettled && h.facts.Invitation.ErasedAt.IsZero() &&
		status.State != mailbox.StateDead {
		r.Fatalf("what became of a POST is unknown, and it was given up: seen as %s", status.State)
	}
}

// checkRegistered judges what is seen of a mailbox that Warmy has: that, or why it needs its owner again because its
// tokens are gone; its id always, until it is erased.
func (h *history) checkRegistered(r *rapid.T, status mailbox.Status) {
	f := h.facts
	if f.Registration.Phase != mailbox.Registered || !f.Invitation.ErasedAt.IsZero() {
		return
	}
	if status.WarmyID != f.Registration.WarmyID {
		r.Fatalf("Warmy's id is seen as %q", status.WarmyID)
	}
	gone := f.Grant.Tokens == nil && f.Grant.Phase != mailbox.GrantNone
	if !gone && status.State != mailbox.StateRegistered {
		r.Fatalf("registered, but seen as %s", status.State)
	}
	if gone && (status.State == mailbox.StateRegistered || status.State == mailbox.StateGranted) {
		r.Fatalf("its tokens are gone, but seen as %s", status.State)
	}
	if due := f.IdleDue(); due && gone {
		r.Fatal("a refresh is due, and there is nothing to refresh")
	}
}

func TestNoNewsBreaksAMailbox(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		h := &history{facts: invited(), now: at, ever: map[string]bool{}, inFlight: map[int]mailbox.Grant{}}
		h.answered, h.letters = map[string]bool{}, map[string]bool{}
		news := map[string]func(*rapid.T){
			"start": h.startAttempt, "answer": h.answerAttempt, "claim code": h.claimCode, "conclude code": h.concludeCode,
			"tokens": h.newsOfTokens, "bury code": h.buryCode, "claim post": h.claimPost, "conclude post": h.concludePost, "late answer": h.answerLate,
			"late refresh": h.concludeRefresh, "list": h.list, "bury post": h.buryPost, "erase": h.erase, "tick": h.tick,
		}
		actions := map[string]func(*rapid.T){}
		for name, act := range news {
			actions[name] = func(r *rapid.T) {
				had := h.facts.Grant.Tokens != nil
				act(r)
				h.check(r, had, name == "tokens")
			}
		}
		r.Repeat(actions)
	})
}

// TestEveryCombinationOfFactsHasOneState builds facts that no sequence of news may lead to: a restored backup can.
func TestEveryCombinationOfFactsHasOneState(t *testing.T) {
	t.Parallel()
	instants := []time.Time{{}, at.Add(-time.Hour), at, at.Add(time.Hour)}
	attempts := []string{"", "att01", "att02"}
	rapid.Check(t, func(r *rapid.T) {
		instant := func(name string) time.Time { return rapid.SampledFrom(instants).Draw(r, name) }
		who := func(name string) string { return rapid.SampledFrom(attempts).Draw(r, name) }
		reason := rapid.SampledFrom(mailbox.Reasons())
		f := mailbox.Facts{
			Invitation: mailbox.Invitation{InvitedAt: instant("invited"), LinkExpiresAt: instant("expires"), ErasedAt: instant("erased")},
			Grant: mailbox.Grant{
				Phase: mailbox.GrantPhase(rapid.SampledFrom([]string{
					"", "redeeming", "saved", "needs_consent", "mismatch", "dead", "of a newer version",
				}).Draw(r, "grant")),
				Reason: reason.Draw(r, "reason"), Attempt: who("grant attempt"), CodeAt: instant("code at"), Since: instant("grant since"),
			},
			Registration: mailbox.Registration{
				Phase: mailbox.RegistrationPhase(rapid.SampledFrom([]string{
					"", "posting", "unclear", "registered", "dead", "of a newer version",
				}).Draw(r, "registration")),
				Attempt: who("registration attempt"), WarmyID: rapid.SampledFrom([]string{"", "4711"}).Draw(r, "warmy id"),
			},
		}
		if rapid.Bool().Draw(r, "tokens") {
			f.Grant.Tokens = &mailbox.Tokens{Attempt: who("tokens of")}
		}
		for range rapid.IntRange(0, 2).Draw(r, "attempts") {
			a := mailbox.Attempt{ID: who("attempt"), AnsweredAt: instant("answered")}
			if rapid.Bool().Draw(r, "refused") {
				a.Refusal = reason.Draw(r, "refusal")
			}
			f.Claim.Attempts = append(f.Claim.Attempts, a)
		}
		first, second := mailbox.View(f, at), mailbox.View(f, at)
		if !slices.Contains(mailbox.States(), first.State) || first.State != second.State {
			r.Fatalf("%+v is seen as %q, then %q", f, first.State, second.State)
		}
		f.Invitation.ErasedAt = at
		if got := mailbox.View(f, at).State; got != mailbox.StateErased {
			r.Fatalf("erased, but seen as %s", got)
		}
	})
}
