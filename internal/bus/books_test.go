package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// trouble is how the next call to Microsoft or Warmy goes wrong.
type trouble string

const (
	fine       trouble = ""
	failing    trouble = "fails without effect"
	throttled  trouble = "throttled"
	downLeg    trouble = "leg down"
	lost       trouble = "answer lost" // after the effect
	forbidden  trouble = "forbidden for good"
	panicking  trouble = "panics after the effect"
	mismatched trouble = "somebody else" // proof only
	dyingEarly trouble = "its worker dies before the effect"
	dyingLate  trouble = "its worker dies after the effect"
	dyingLast  trouble = "its worker dies after the answer"
)

func troubles() []trouble {
	return []trouble{dyingLate, lost, panicking, dyingEarly, dyingLast, failing, throttled, downLeg, forbidden, mismatched}
}

// books are what Microsoft, Warmy and an auditor know.
type books struct {
	bus    *bus.Bus
	claims bus.Records[mailbox.Claim]
	grants bus.Records[mailbox.Grant]
	posted bus.Records[mailbox.Registration]

	mu       sync.Mutex
	next     map[string]trouble      // by call
	codes    map[string]events.Event // the latest of each mailbox
	attempts int
	spent    map[string]bool     // attempts whose code was taken
	sends    map[string]int      // by attempt
	taken    map[string][]string // the consents whose POST Warmy took, by address
	ends     map[string]mailbox.State
	breaches []string
}

func newBooks(b *bus.Bus) *books {
	return &books{
		bus: b, claims: b.Claims(), grants: b.Grants(maskBox{}), posted: b.Registrations(),
		next: make(map[string]trouble), codes: make(map[string]events.Event), spent: make(map[string]bool), sends: make(map[string]int), taken: make(map[string][]string), ends: make(map[string]mailbox.State),
	}
}

func (k *books) breach(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.breaches = append(k.breaches, fmt.Sprintf(format, args...))
}

// arm makes the next call of a kind go wrong.
func (k *books) arm(call string, how trouble) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next[call] = how
}

func (k *books) disarm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.next)
}

func (k *books) trouble(call string) trouble {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer delete(k.next, call)
	return k.next[call]
}

func (k *books) invite(t *testing.T, id string) {
	t.Helper()
	_, err := k.bus.Invitations(maskBox{}).Save(t.Context(), id, mailbox.Invitation{
		ID: id, App: "main", Account: "main", Campaign: "campus", Address: id + "@example.com", InvitedAt: time.Now(), LinkExpiresAt: time.Now().Add(24 * time.Hour),
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
}

// consent is an owner's consent as the edge records and publishes it.
func (k *books) consent(t *testing.T, id string) {
	t.Helper()
	time.Sleep(time.Millisecond) // no two consents of one instant
	k.attempts++
	attempt := fmt.Sprintf("att%04d", k.attempts)
	code := id + "|" + attempt
	claim, revision, err := k.claims.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claim.Attempts = append(slices.Clone(claim.Attempts), mailbox.Attempt{
		ID: attempt, StateHash: attempt, CodeHash: mailbox.Hash(code), StartedAt: now, ExpiresAt: now.Add(time.Hour), AnsweredAt: now,
	})
	if _, err := k.claims.Save(t.Context(), id, claim, revision); err != nil {
		t.Fatal(err)
	}
	plain, err := mailbox.Consent{Code: secret.New(code), Tenant: "organizations"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e := events.New(events.CodeReceived, mailbox.CodeSeed(id, attempt, mailbox.Hash(code)), now)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = id, "main", "main", "campus", attempt
	e.Deadline = e.At.Add(mailbox.CodeLife)
	if e.Sealed, err = (maskBox{}).Seal(plain, mailbox.SealedCodeContext(id, attempt)); err != nil {
		t.Fatal(err)
	}
	k.codes[id] = e
	k.repeat(t, id)
}

// repeat publishes the latest code of a mailbox, perhaps again.
func (k *books) repeat(t *testing.T, id string) {
	t.Helper()
	if e, ok := k.codes[id]; ok {
		if err := k.bus.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// audit looks for mailboxes that were left in silence. Nothing is stored for a worker any more. Before the second net
// has looked, one silence is known and forgiven: a newer consent that failed hides that the work on the older one's
// tokens was given up.
func (k *books) audit(t *testing.T, early bool) {
	t.Helper()
	letters := make(map[string]string)
	for _, letter := range deadLetters(t, k.bus) {
		letters[letter.Mailbox] += string(letter.Stage) + " " + letter.Code + ";"
	}
	for id, latest := range k.codes {
		claim, _, err := k.claims.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		grant, _, err := k.grants.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		reg, _, err := k.posted.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		s := mailbox.View(mailbox.Facts{Invitation: mailbox.Invitation{ID: id}, Claim: claim, Grant: grant, Registration: reg}, time.Now())
		k.ends[id] = s.State
		switch {
		case s.State == mailbox.StateRegistered && len(k.taken[id+"@example.com"]) > 0 && (reconnected(s) || letters[id] != ""):
		case s.State == mailbox.StateMismatch:
		case s.State == mailbox.StateNeedsConsent && grant.Phase == mailbox.GrantNeedsConsent && grant.Attempt == latest.Attempt:
		case s.State == mailbox.StateDead && letters[id] != "":
		case early && s.State == mailbox.StateGranted && letters[id] != "" && grant.Phase == mailbox.GrantNeedsConsent && grant.Attempt != grant.Tokens.Attempt:
		default:
			k.breach("%s ended in silence as %+v; grant %s of %s, registration %s, letters %q, %d POSTs at Warmy",
				id, s, grant.Phase, grant.Attempt, reg.Phase, letters[id], len(k.taken[id+"@example.com"]))
		}
	}
	for attempt, n := range k.sends {
		if n > mailbox.MaxSends {
			k.breach("the code of %s was sent %d times", attempt, n)
		}
	}
}

// reconnected reports whether Warmy was told of the mailbox's latest tokens.
func reconnected(s mailbox.Status) bool {
	return s.Reason != mailbox.Reconnecting && s.Reason != mailbox.ReconnectDue
}

// thirdParties is Microsoft and Warmy as one process reaches them.
type thirdParties struct {
	*books

	from *wire
}

// call runs one call: the request is under way for a while, then it has its effect even if its sender is gone, then the
// answer is under way.
func (o thirdParties) call(ctx context.Context, kind string, lostClass fault.Class, effect func(context.Context) error) error {
	t := o.trouble(kind)
	time.Sleep(200 * time.Millisecond)
	if t == dyingEarly {
		o.from.kill()
	}
	if o.from.isDead() {
		return errDead
	}
	if f := before(t); f != nil {
		return f
	}
	time.Sleep(100 * time.Millisecond)
	err := effect(context.WithoutCancel(ctx))
	if t == mismatched && kind == "prove" {
		err = &fault.Fault{Class: fault.Permanent, Code: handlers.CodeMismatch, Forecast: fault.ByPerson}
	}
	if t == dyingLate {
		o.from.kill()
	}
	time.Sleep(200 * time.Millisecond)
	switch {
	case t == panicking:
		panic("a test")
	case t == lost || o.from.isDead() || ctx.Err() != nil:
		return &fault.Fault{Class: lostClass, Code: "test_timeout", Forecast: fault.ByTime}
	case t == dyingLast:
		go func() { o.from.kill() }() // somewhere in what the handler does with the answer
	}
	return err
}

func before(t trouble) error {
	switch t {
	case failing:
		return &fault.Fault{Class: fault.Transient, Code: "test_5xx", Forecast: fault.ByTime}
	case throttled:
		return &fault.Fault{Class: fault.RetryAfter, Code: "test_429", After: 3 * time.Second, Forecast: fault.ByTime}
	case downLeg:
		return &fault.Fault{Class: fault.LegDown, Code: "test_down", After: 2 * time.Second, Forecast: fault.ByConfig}
	case forbidden:
		return &fault.Fault{Class: fault.Permanent, Code: "test_refused", Forecast: fault.ByConfig}
	case fine, lost, panicking, mismatched, dyingEarly, dyingLate, dyingLast:
	}
	return nil
}

func (k *books) tokens() mailbox.Tokens {
	return mailbox.Tokens{Access: secret.New("a"), Refresh: secret.New("r"), Expiry: time.Now().Add(20 * time.Minute)}
}

func (o thirdParties) Redeem(ctx context.Context, _ string, c mailbox.Consent) (t mailbox.Tokens, err error) {
	id, attempt := c.Code.Reveal()[:24], c.Code.Reveal()[25:]
	err = o.call(ctx, "redeem", fault.Transient, func(ctx context.Context) error {
		if g, _, err := o.grants.Load(ctx, id); err != nil || g.Tokens != nil && g.Tokens.Attempt == attempt {
			o.breach("the code of %s was sent after its tokens were saved (%v)", attempt, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.sends[attempt]++
		if o.spent[attempt] {
			return &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS54005", Reason: mailbox.CodeExpired, Forecast: fault.ByPerson}
		}
		o.spent[attempt] = true
		return nil
	})
	t = o.tokens()
	t.Whose = ownerOf(id)
	return t, err
}

// ownerOf is who consents for a mailbox.
func ownerOf(id string) events.Proof { return events.Proof{TenantID: "tid", ObjectID: id} }

func (o thirdParties) Refresh(ctx context.Context, _ string, _ mailbox.Tokens) (mailbox.Tokens, error) {
	err := o.call(ctx, "refresh", fault.Transient, func(context.Context) error { return nil })
	return o.tokens(), err
}

func (o thirdParties) Prove(ctx context.Context, _ string, _ mailbox.Tokens, address string) (events.Proof, error) {
	err := o.call(ctx, "prove", fault.Transient, func(context.Context) error { return nil })
	return ownerOf(address[:24]), err
}

func (thirdParties) Credentials(string) (string, secret.Text, error) {
	return "client", secret.New("s"), nil
}

func (o thirdParties) Create(ctx context.Context, _ string, m handlers.NewMailbox) (id string, err error) {
	if err := m.Intend(ctx); err != nil {
		return "", err
	}
	err = o.call(ctx, "create", fault.Unclear, func(ctx context.Context) error {
		r, err := o.intent(ctx, m.Address[:24])
		if err != nil || r.Work().Phase != mailbox.Posting {
			o.breach("%s was posted without an intent (%v)", m.Address, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, consent := range o.taken[m.Address] {
			if consent == r.Work().Attempt {
				o.breaches = append(o.breaches, m.Address+" was posted twice for one consent")
			}
		}
		o.taken[m.Address] = append(o.taken[m.Address], r.Work().Attempt)
		id = "w1" // this Warmy takes another POST as news of the mailbox that it has
		return nil
	})
	return id, err
}

// intent is the mailbox's registration as it stands: before it has a record of its own, its first intent is the claim on the
// identity.
func (o thirdParties) intent(ctx context.Context, id string) (mailbox.Registration, error) {
	r, revision, err := o.posted.Load(ctx, id)
	if err != nil || revision > 0 {
		return r, err
	}
	held, _, err := o.bus.Identities().Load(ctx, mailbox.IdentityKey("main", mailbox.Who(ownerOf(id))))
	first, _ := held.Intended(id)
	return first, err
}

func (o thirdParties) Look(ctx context.Context, account, address string, since time.Time) (handlers.Listing, error) {
	began := time.Now()
	if began.Before(since) {
		o.breach("asked for a listing that begins later than now")
	}
	id, found, err := o.Find(ctx, account, address)
	return handlers.Listing{ID: id, Found: found, Began: began}, err
}

func (o thirdParties) Find(ctx context.Context, _, address string) (id string, found bool, err error) {
	err = o.call(ctx, "find", fault.Transient, func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if found = len(o.taken[address]) > 0; found {
			id = "w1"
		}
		return nil
	})
	return id, found, err
}
