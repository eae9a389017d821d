package handlers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

const (
	mb      = "mbxmbxmbxmbxmbxmbxmbxmbx"
	address = "owner@example.com"
	margin  = 10 * time.Minute
	settle  = 60 * time.Second
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// mode is how one step goes wrong.
type mode int

const (
	fine        mode = iota
	errBefore        // an error, without effect
	errAfter         // an error, after the effect
	conflict         // a save only: somebody else was first, so they say
	killBefore       // the process is gone before the effect
	killAfter        // and after it
	panicBefore      // a panic that the bus recovers: the process lives on
	panicAfter
)

func (m mode) String() string {
	return [...]string{"fine", "error before", "error after", "conflict", "killed before", "killed after", "panic before", "panic after"}[m]
}

func failures() []mode {
	return []mode{errBefore, errAfter, conflict, killBefore, killAfter, panicBefore, panicAfter}
}

// stopped is what a killed or panicking step panics with.
type stopped struct{ killed bool }

// world is everything around the handlers, in memory: records, Microsoft, Warmy, the clock and the steps.
type world struct {
	now       time.Time
	script    map[int]mode    // by the number of the step
	next      map[string]mode // for the next step of the name
	steps     []string
	processes int

	invitations   *memory[mailbox.Invitation]
	grants        *memory[mailbox.Grant]
	registrations *memory[mailbox.Registration]
	identities    *memory[mailbox.Identity]

	microsoft microsoft
	warmy     warmy
	real      registrar     // in place of warmy; nil: none
	answered  []string      // ids that Warmy has answered a worker with that lived on
	letters   []letter      // what was given up, oldest first
	behind    time.Duration // of token-worker's clock
	breaches  []string      // of the invariants
	policy    mailbox.KeepAlive
	pace      handlers.Turns
	activated []string       // accounts whose new mailboxes are started
	switched  time.Time      // when the policy changed last
	outcomes  map[string]int // of refreshes
}

func newWorld() *world {
	w := &world{now: at, next: map[string]mode{}, outcomes: map[string]int{}}
	w.invitations = &memory[mailbox.Invitation]{world: w, name: "invitation", facts: map[string]stored[mailbox.Invitation]{}}
	w.grants = &memory[mailbox.Grant]{world: w, name: "grant", facts: map[string]stored[mailbox.Grant]{}}
	w.registrations = &memory[mailbox.Registration]{world: w, name: "registration", facts: map[string]stored[mailbox.Registration]{}}
	w.identities = &memory[mailbox.Identity]{world: w, name: "identity", facts: map[string]stored[mailbox.Identity]{}}
	w.microsoft = microsoft{world: w, sends: map[string]int{}, spent: map[string]bool{}, saved: map[string]bool{}, life: time.Hour}
	w.warmy = warmy{world: w, of: map[string]string{}}
	w.invitations.put(mailbox.Invitation{
		ID: mb, Campaign: "camp", App: "main", Account: "agency", Address: address, FromName: "Owner",
		TariffPlanTypeID: 41, SpeedMode: "fast", InvitedAt: at.Add(-time.Hour), LinkExpiresAt: at.Add(time.Hour),
	})
	return w
}

// letter is a dead letter.
type letter struct {
	event events.Event
	fault *fault.Fault
}

func (w *world) clock() time.Time { return w.now }

// tokenClock is token-worker's.
func (w *world) tokenClock() time.Time { return w.now.Add(-w.behind) }

func (w *world) breach(format string, args ...any) {
	w.breaches = append(w.breaches, fmt.Sprintf(format, args...))
}

// step runs one effect of a handler as the script has it. Errors of the outside are the given ones.
func (w *world) step(name string, effect func() error, before, after error) error {
	w.steps = append(w.steps, name)
	m := w.script[len(w.steps)]
	if how, said := w.next[name]; said {
		m = how
		delete(w.next, name)
	}
	switch m {
	case errBefore:
		return before
	case conflict:
		if strings.HasPrefix(name, "save") {
			return handlers.ErrConflict
		}
	case killBefore, panicBefore:
		panic(stopped{m == killBefore})
	case fine, errAfter, killAfter, panicAfter:
	}
	err := effect()
	switch m {
	case errAfter:
		return after
	case killAfter, panicAfter:
		panic(stopped{m == killAfter})
	case fine, errBefore, conflict, killBefore, panicBefore:
	}
	return err
}

func passing(code string) *fault.Fault {
	return &fault.Fault{Class: fault.Transient, Code: code, Cause: "a test", Forecast: fault.ByTime}
}

func classed(class fault.Class, code string) *fault.Fault {
	return &fault.Fault{Class: class, Code: code, Cause: "a test", Forecast: fault.ByTime}
}

// invites reports whether any mailbox was invited under the address.
func (w *world) invites(whose string) bool {
	for _, inv := range w.invitations.facts {
		if inv.fact.Address == whose {
			return true
		}
	}
	return false
}

// addressOf returns the address of the mailbox that the attempt is of.
func (w *world) addressOf(attempt string) string {
	for id, g := range w.grants.facts {
		if t := g.fact.Tokens; t != nil && t.Attempt == attempt {
			return w.invitations.facts[id].fact.Address
		}
	}
	return ""
}

// codeOf is the event of the nth attempt's code, received n minutes after at.
func codeOf(n int) events.Event { return codeFor(mb, n) }

func codeFor(mb mailbox.ID, n int) events.Event {
	attempt := fmt.Sprintf("att%02d", n)
	received := at.Add(time.Duration(n) * time.Minute)
	plain, err := mailbox.Consent{
		Code: secret.New("code-" + attempt), Verifier: secret.New("verifier"), Nonce: secret.New("nonce-" + attempt), Tenant: "organizations",
	}.Marshal()
	if err != nil {
		panic(err)
	}
	e := events.New(events.CodeReceived, mailbox.CodeSeed(mb, attempt, mailbox.Hash("code-"+attempt)), received)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = mb, "main", "agency", "camp", attempt
	e.Deadline = received.Add(mailbox.CodeLife)
	e.Sealed = append([]byte(mailbox.SealedCodeContext(mb, attempt)+"\x00"), plain...)
	return e
}

func (w *world) redeem() handlers.RedeemCode {
	return handlers.RedeemCode{
		Invitations: w.invitations, Grants: w.grants, Codes: plainSeal{}, Microsoft: &w.microsoft, Owner: w.owner(), Now: w.clock,
	}
}

func (w *world) refresh() handlers.RefreshGrant {
	return handlers.RefreshGrant{
		Invitations: w.invitations, Grants: w.grants, Microsoft: &w.microsoft, Margin: margin, Count: w.count, Now: w.tokenClock,
	}
}

func (w *world) keep() handlers.KeepGrant {
	return handlers.KeepGrant{
		Invitations: w.invitations, Grants: w.grants, Microsoft: &w.microsoft, Policy: w.policy, Pace: w.pace, Count: w.count, Now: w.clock,
	}
}

func (w *world) count(outcome string) { w.outcomes[outcome]++ }

func (w *world) register() handlers.RegisterMailbox {
	return handlers.RegisterMailbox{
		Invitations: w.invitations, Grants: w.grants, Registrations: w.registrations, Identities: w.identities,
		Apps: oneApp{}, Warmy: w.registrar(), Listing: w.registrar(),
		Margin: margin, ReconcileAfter: settle, Activate: w.activated, Owner: w.owner(), Now: w.clock,
	}
}

func (w *world) reconcile() handlers.ReconcileMailbox {
	return handlers.ReconcileMailbox{
		Invitations: w.invitations, Registrations: w.registrations, Listing: w.registrar(), Activate: w.activated, Apart: settle, Now: w.clock,
	}
}

// registrar is all of Warmy that the handlers need for a POST and what becomes of it.
type registrar interface {
	handlers.Registrar
	handlers.Lister
}

func (w *world) registrar() registrar {
	if w.real != nil {
		return w.real
	}
	return &w.warmy
}

func (w *world) activate() handlers.ActivateMailbox {
	return handlers.ActivateMailbox{Invitations: w.invitations, Registrations: w.registrations, Warmy: &w.warmy, Now: w.clock}
}

func (w *world) owner() string { return fmt.Sprintf("worker%d", w.processes) }

func (w *world) handlerOf(e events.Event) handlers.Handler {
	switch e.Kind {
	case events.CodeReceived:
		return w.redeem()
	case events.RefreshRequested, events.GrantIdle:
		return handlers.Lane{Usual: w.refresh(), Kind: events.GrantIdle, Other: w.keep()}
	case events.RegistrationRequested, events.ReconnectRequested, events.ActivationRequested:
		return handlers.Lane{Usual: w.register(), Kind: events.ActivationRequested, Other: w.activate()}
	case events.RegistrationUnclear, events.RegistrationDecided:
		return handlers.Lane{Usual: w.reconcile(), Kind: events.RegistrationDecided, Other: handlers.DecideMailbox{
			Invitations: w.invitations, Registrations: w.registrations, Listing: w.registrar(), Activate: w.activated,
			Apart: settle, Now: w.clock,
		}}
	}
	panic("unknown kind " + e.Kind)
}

// outcome is what became of one delivery.
type outcome struct {
	follow []events.Event
	err    error
	killed bool
	dead   bool
}

// deliver handles e once, as the bus does: what it may not try again is buried.
func (w *world) deliver(ctx context.Context, e events.Event) (o outcome) {
	answered := len(w.answered)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			o = outcome{err: passing("panic"), killed: r.killed}
			w.answered = w.answered[:answered] // the worker's memory is gone
			if r.killed {
				w.processes++
			}
		default:
			panic(r)
		}
	}()
	o.follow, o.err = w.handlerOf(e).Handle(ctx, e)
	if o.err != nil && slices.Contains([]fault.Class{fault.Permanent, fault.NeedsConsent, fault.Unclear}, fault.Of(o.err).Class) {
		f := fault.Of(o.err)
		if o.err = w.handlerOf(e).Bury(ctx, e, f); o.err == nil {
			o.dead = true
			w.letters = append(w.letters, letter{e, f})
		}
	}
	if o.err == nil {
		o.err = w.step("publish", func() error { return nil }, errStore, errStore) // then the input is given back, its follow-ups stored or not
	}
	return o
}

// run delivers e and all that follows until nothing is left. It returns false if that does not end.
func (w *world) run(ctx context.Context, queue ...events.Event) bool {
	for range 400 {
		if len(queue) == 0 {
			return true
		}
		slices.SortStableFunc(queue, func(a, b events.Event) int { return a.NotBefore.Compare(b.NotBefore) })
		e := queue[0]
		if e.NotBefore.After(w.now) {
			w.now = e.NotBefore
		}
		o := w.deliver(ctx, e)
		switch {
		case o.err == nil:
			queue = append(queue[1:], o.follow...)
		case w.script[len(w.steps)] == errAfter || w.script[len(w.steps)] == killAfter: // the follow-ups were stored, the input comes again
			queue = append(queue, o.follow...)
			w.now = w.now.Add(time.Second)
		case fault.Is(o.err, fault.RetryAfter): // it waits as a timer, and others pass it
			queue[0] = e.Later(w.now.Add(max(time.Second, fault.Of(o.err).After)))
		default:
			w.now = w.now.Add(max(time.Second, fault.Of(o.err).After))
		}
	}
	return false
}

// status is what an operator sees now.
func (w *world) status() mailbox.Status {
	claim := mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "att00", StateHash: "s", CodeHash: "c", StartedAt: at, ExpiresAt: at, AnsweredAt: at}}}
	return mailbox.View(mailbox.Facts{
		Invitation: w.invitations.get(), Claim: claim, Grant: w.grants.get(), Registration: w.registrations.get(),
	}, w.now)
}

// check reports breaches of the invariants that hold in every world.
func (w *world) check(t *testing.T) {
	t.Helper()
	for _, b := range w.breaches {
		t.Error(b)
	}
	for code, n := range w.microsoft.sends {
		if n > mailbox.MaxSends {
			t.Errorf("%s was sent %d times", code, n)
		}
	}
	if len(w.warmy.ids) > 1 {
		t.Errorf("Warmy has the mailbox %d times", len(w.warmy.ids))
	}
	for _, id := range w.lost() {
		t.Errorf("Warmy answered with %s, and nothing names it", id)
	}
	if t.Failed() {
		t.Logf("steps: %v", numbered(w.steps, w.script))
	}
}

// lost are the ids that Warmy has answered with and still has, and that are in no record and no dead letter.
func (w *world) lost() []string {
	var known []string
	for _, stored := range w.registrations.facts {
		reg := stored.fact
		if known = append(known, reg.WarmyID, reg.Elsewhere); reg.Again != nil {
			known = append(known, reg.Again.OtherID, reg.Again.Former)
		}
	}
	return slices.DeleteFunc(slices.Clone(w.answered), func(id string) bool {
		told := slices.ContainsFunc(w.letters, func(l letter) bool { return slices.Contains(strings.Fields(l.fault.Cause), id) })
		return told || slices.Contains(known, id) || !slices.Contains(w.warmy.ids, id)
	})
}

func numbered(steps []string, script map[int]mode) []string {
	out := slices.Clone(steps)
	for _, n := range slices.Sorted(maps.Keys(script)) {
		if n <= len(out) {
			out[n-1] += " (" + script[n].String() + ")"
		}
	}
	return out
}
