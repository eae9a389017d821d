package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// memory is a Records: compare-and-set, in memory.
type memory[T any] struct {
	world    *world
	name     string
	facts    map[string]stored[T]
	revision uint64
	onSave   func(T) // another worker's doings just before a save
}

type stored[T any] struct {
	fact     T
	revision uint64
}

var errStore = errors.New("the store does not answer")

func (m *memory[T]) Load(_ context.Context, id mailbox.ID) (fact T, revision uint64, err error) {
	err = m.world.step("load "+m.name, func() error {
		s := m.facts[id]
		fact, revision = s.fact, s.revision
		return nil
	}, errStore, errStore)
	return fact, revision, err
}

func (m *memory[T]) Save(_ context.Context, id mailbox.ID, fact T, revision uint64) (next uint64, err error) {
	err = m.world.step("save "+m.name, func() error {
		if hook := m.onSave; hook != nil {
			m.onSave = nil
			hook(fact)
		}
		if m.facts[id].revision != revision {
			return handlers.ErrConflict
		}
		next = m.putAt(id, fact)
		return nil
	}, errStore, errStore)
	return next, err
}

// put stores without a step: what the test or somebody else does.
func (m *memory[T]) put(fact T) uint64 { return m.putAt(mb, fact) }

func (m *memory[T]) putAt(id mailbox.ID, fact T) uint64 {
	m.revision++
	m.facts[id] = stored[T]{fact, m.revision}
	if g, ok := any(fact).(mailbox.Grant); ok && g.Tokens != nil {
		m.world.microsoft.saved[g.Tokens.Attempt] = true
	}
	return m.revision
}

func (m *memory[T]) get() T { return m.at(mb) }

func (m *memory[T]) at(id mailbox.ID) T { return m.facts[id].fact }

// microsoft is a TokenEndpoint with single-use codes and a ledger.
type microsoft struct {
	world *world
	sends map[string]int  // by code
	spent map[string]bool // codes that tokens were issued for
	saved map[string]bool // attempts whose tokens were ever stored
	life  time.Duration
	turn  int // makes every access token another

	who       map[string]events.Proof // by attempt: who consented; {tid, oid} where nothing is said
	nameless  bool                    // nothing is known of who consented before it is proven
	refuse    error                   // what Redeem answers instead
	dead      error                   // what Refresh answers instead
	proof     error                   // what Prove answers instead
	onRefresh func()                  // another worker's doings while Refresh is under way
	refreshes int
	proofs    int
}

func (m *microsoft) whose(attempt string) events.Proof {
	if p, said := m.who[attempt]; said {
		return p
	}
	return events.Proof{TenantID: "tid", ObjectID: "oid"}
}

func (m *microsoft) tokens() mailbox.Tokens {
	m.turn++
	return mailbox.Tokens{
		Access: secret.New(fmt.Sprintf("access%d", m.turn)), Refresh: secret.New(fmt.Sprintf("refresh%d", m.turn)),
		Expiry: m.world.now.Add(m.life), Scope: []string{"Mail.Send"},
	}
}

func (m *microsoft) Redeem(_ context.Context, app string, c mailbox.Consent) (t mailbox.Tokens, err error) {
	code := c.Code.Reveal()
	err = m.world.step("redeem", func() error {
		m.sends[code]++
		if app != "main" || c.Tenant != "organizations" {
			m.world.breach("redeemed with app %q at tenant %q", app, c.Tenant)
		}
		if m.saved[strings.TrimPrefix(code, "code-")] {
			m.world.breach("%s was sent again after its tokens were saved", code)
		}
		if m.refuse != nil {
			return m.refuse
		}
		if m.spent[code] {
			return &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS54005", Reason: mailbox.CodeExpired, Forecast: fault.ByPerson}
		}
		m.spent[code] = true
		t = m.tokens()
		if !m.nameless {
			t.Whose = m.whose(strings.TrimPrefix(code, "code-"))
		}
		return nil
	}, passing("microsoft_unreachable"), passing("microsoft_timeout"))
	if err != nil {
		return mailbox.Tokens{}, err
	}
	return t, nil
}

func (m *microsoft) Refresh(_ context.Context, _ string, old mailbox.Tokens) (t mailbox.Tokens, err error) {
	err = m.world.step("refresh", func() error {
		m.refreshes++
		if hook := m.onRefresh; hook != nil {
			m.onRefresh = nil
			hook()
		}
		if m.dead != nil {
			return m.dead
		}
		t = m.tokens()
		t.Scope = nil
		return nil
	}, passing("microsoft_unreachable"), passing("microsoft_timeout"))
	if old.Refresh.Empty() {
		m.world.breach("a refresh without a refresh token")
	}
	return t, err
}

func (m *microsoft) Prove(_ context.Context, _ string, t mailbox.Tokens, whose string) (p events.Proof, err error) {
	err = m.world.step("prove", func() error {
		m.proofs++
		if m.world.addressOf(t.Attempt) != whose || t.Access.Empty() {
			m.world.breach("asked to prove %q", whose)
		}
		p = m.whose(t.Attempt)
		return m.proof
	}, passing("graph_unreachable"), passing("graph_timeout"))
	return p, err
}

// warmy is a Registrar with a ledger. A POST may have taken effect until its answer came or two listings were clean.
type warmy struct {
	world    *world
	posts    int
	made     int // mailboxes
	ids      []string
	of       map[string]string // the address of an id, where there are two mailboxes
	asked    string            // the address of the last POST
	maybe    bool
	absences []time.Time

	turn   func()    // happens while Create waits for its turn; may be nil
	anew   func()    // happens before what was refused with the session is sent once more; nil: the session lives
	alias  bool      // what is made is answered with another address, and no listing shows it
	hidden []string  // what was made so
	refuse error     // what Create answers instead, without effect
	still  error     // what Activate answers
	since  time.Time // since when the listing had to be that was asked for last
	doubt  error     // what Look answers instead, because the listing is not to be trusted
	last   handlers.NewMailbox

	started []string
	update  bool          // a POST of what is there changes it; else it makes another one
	twice   bool          // the listing shows two ids
	lag     time.Duration // until the listing shows what was created
	bornAt  time.Time
}

func (y *warmy) Create(ctx context.Context, account string, m handlers.NewMailbox) (id string, err error) {
	if y.turn != nil {
		y.turn()
	}
	if err := m.Intend(ctx); err != nil {
		return "", err
	}
	if y.anew != nil {
		y.anew()
		if err := m.Intend(ctx); err != nil {
			return "", err
		}
	}
	if y.maybe {
		y.world.breach("a POST while an earlier one may have taken effect")
	}
	if y.world.registrations.get().Two() {
		y.world.breach("a POST while Warmy may have the mailbox twice")
	}
	wasFine := false
	y.maybe, y.absences = true, nil
	defer func() {
		if wasFine || fault.Is(err, fault.Transient) || err != nil && !fault.Is(err, fault.Unclear) {
			y.maybe = false
		}
	}()
	err = y.world.step("create", func() error {
		y.posts++
		y.last, y.asked = m, m.Address
		if account != "agency" || !y.world.invites(m.Address) {
			y.world.breach("posted %q to %q", m.Address, account)
		}
		if y.refuse != nil {
			return y.refuse
		}
		if !y.update || len(y.ids) == 0 {
			y.made++
			if y.ids = append(y.ids, fmt.Sprintf("w%d", y.made)); y.alias {
				y.hidden = append(y.hidden, y.ids[len(y.ids)-1])
			}
		}
		y.bornAt = y.world.now
		id = y.ids[len(y.ids)-1]
		y.of[id] = m.Address
		return nil
	}, passing("warmy_unreachable"), classed(fault.Unclear, "warmy_timeout"))
	wasFine = err == nil
	if err != nil {
		return "", err
	}
	y.world.answered = append(y.world.answered, id)
	if slices.Contains(y.hidden, id) {
		return id, classed(fault.Unclear, "warmy_other_address")
	}
	return id, nil
}

func (y *warmy) Find(_ context.Context, account, whose string) (id string, found bool, err error) {
	err = y.world.step("find", func() error {
		if account != "agency" || !y.world.invites(whose) {
			y.world.breach("looked for %q at %q", whose, account)
		}
		if other := len(y.ids) > 0 && y.of[y.ids[0]] != "" && y.of[y.ids[0]] != whose; other || y.asked != "" && y.asked != whose {
			return nil // it says nothing about what was posted under the other address
		}
		if ids := y.visible(); len(ids) > 0 && !y.world.now.Before(y.bornAt.Add(y.lag)) {
			id, found, y.maybe = ids[0], true, false
			if y.twice && len(ids) > 1 {
				return classed(fault.Permanent, "warmy_listed_twice")
			}
			return nil
		}
		y.absences = append(y.absences, y.world.now)
		n := len(y.absences)
		y.maybe = y.maybe && (n < 2 || y.absences[n-1].Sub(y.absences[0]) < settle)
		return nil
	}, passing("warmy_unreachable"), passing("warmy_timeout"))
	if err != nil {
		return "", false, err
	}
	return id, found, nil
}

// visible are the ids that a listing shows under the invited address.
func (y *warmy) visible() []string {
	return slices.DeleteFunc(slices.Clone(y.ids), func(id string) bool { return slices.Contains(y.hidden, id) })
}

func (y *warmy) Look(ctx context.Context, account, whose string, since time.Time) (handlers.Listing, error) {
	if y.world.now.Before(since) {
		y.world.breach("asked for a listing that begins later than now")
	}
	y.since = since
	if y.doubt != nil {
		return handlers.Listing{}, y.doubt
	}
	id, found, err := y.Find(ctx, account, whose)
	return handlers.Listing{ID: id, Found: found, Began: y.world.now}, err
}

func (y *warmy) Activate(_ context.Context, account, id string) error {
	return y.world.step("activate", func() error {
		if account != "agency" || id != y.world.registrations.get().WarmyID {
			y.world.breach("started %q of %q", id, account)
		}
		y.started = append(y.started, id)
		return y.still
	}, passing("warmy_unreachable"), passing("warmy_timeout"))
}

// plainSeal seals by writing the context in front.
type plainSeal struct{}

func (plainSeal) Open(sealed []byte, context string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), context+"\x00")
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return []byte(plain), nil
}

type oneApp struct{ err error }

func (a oneApp) Credentials(app string) (string, secret.Text, error) {
	return "client-" + app, secret.New("client-secret"), a.err
}

// slow is a TokenEndpoint whose redeems take four seconds.
type slow struct {
	*microsoft

	world *world
}

func (s slow) Redeem(ctx context.Context, app string, c mailbox.Consent) (mailbox.Tokens, error) {
	s.world.now = s.world.now.Add(4 * time.Second)
	return s.microsoft.Redeem(ctx, app, c)
}
