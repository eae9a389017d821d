// Package consoletest gives tests a console over facts in memory, with the same interfaces as the real store.
package consoletest

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/console"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// ErrDown is what a store answers that was switched off.
var ErrDown = errors.New("switched off")

// World is everything around a console, in memory.
type World struct {
	Invitations   *Bucket[mailbox.Invitation]
	Campaigns     *Bucket[mailbox.Campaign]
	Claims        *Bucket[mailbox.Claim]
	Grants        *Bucket[mailbox.Grant]
	Registrations *Bucket[mailbox.Registration]
	AdminConsents *Bucket[mailbox.AdminConsent]
	Plans         *Plans
	Dead          *Dead
	Published     *Published
	Legs          *Legs
	Audit         *Audit
	Links         Links
	Console       *console.Console
	Server        *httptest.Server
	OperatorsFile string
	Tokens        map[string]string // by role
	Expires       time.Time         // the second client secret of app main

	clock *clock
}

// Now is the world's time; it stands still until Advance.
func (w *World) Now() time.Time { return w.clock.now() }

// Advance lets time pass.
func (w *World) Advance(d time.Duration) { w.clock.advance(d) }

// New starts a console with one operator of each role. It ends with the test.
func New(tb testing.TB) *World {
	tb.Helper()
	w := NewUnready(tb)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Console.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("the console ended with %v", err)
		}
	})
	w.Eventually(tb, "the console is ready", func() bool { return w.Console.Ready(ctx) == nil })
	return w
}

// NewUnready serves a console that does not run: it has read no facts and does no jobs.
func NewUnready(tb testing.TB) *World {
	tb.Helper()
	w := newWorld(filepath.Join(tb.TempDir(), "operators.json"))
	var entries []console.Operator
	for _, role := range console.Roles() {
		token, entry := console.NewOperator(role+" one", role)
		w.Tokens[role] = token.Reveal()
		entries = append(entries, entry)
	}
	if err := console.SaveOperators(w.OperatorsFile, entries); err != nil {
		tb.Fatal(err)
	}
	c, err := console.New(w.config())
	if err != nil {
		tb.Fatal(err)
	}
	w.Console = c
	w.Server = httptest.NewServer(c.Handler())
	tb.Cleanup(w.Server.Close)
	return w
}

func newWorld(operators string) *World {
	return &World{
		Invitations: NewBucket[mailbox.Invitation](), Campaigns: NewBucket[mailbox.Campaign](), Claims: NewBucket[mailbox.Claim](),
		Grants: NewBucket[mailbox.Grant](), Registrations: NewBucket[mailbox.Registration](), AdminConsents: NewBucket[mailbox.AdminConsent](),
		Plans: &Plans{}, Dead: &Dead{}, Published: &Published{}, Legs: &Legs{}, Audit: &Audit{}, OperatorsFile: operators, Tokens: map[string]string{},
		clock:   &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		Expires: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC),
	}
}

func (w *World) config() console.Config {
	return console.Config{
		Invitations: Creator{w.Invitations}, Campaigns: w.Campaigns, Facts: follower{w}, DeadLetters: w.Dead, Events: w.Published, Legs: w.Legs,
		Audit: w.Audit, Links: w.Links, AdminLinks: w.Links, Claims: w.Claims, Grants: w.Grants, Registrations: w.Registrations,
		Plans: w.Plans, Apps: []string{"main", "second"}, Accounts: []string{"main", "other"},
		Budgets:   map[string]console.Budget{"main": {PerMinute: 60}, "other": {PerMinute: 30, Activates: true}},
		Expiries:  []console.Expiry{{App: "main", Position: 1, At: w.Expires.AddDate(1, 0, 0)}, {App: "main", Position: 2, At: w.Expires}},
		Defaults:  campaign.Defaults{App: "main", Account: "main", TariffPlanTypeID: 41, SpeedMode: "fast"},
		PublicURL: "https://connect.example", OperatorsFile: w.OperatorsFile, Log: slog.New(slog.DiscardHandler),
		Now: w.clock.now, SettleWait: 200 * time.Millisecond, StallLimit: 2 * time.Second,
	}
}

// Eventually waits until the condition holds, at most some seconds.
func (w *World) Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			tb.Fatalf("it never came true that %s", what)
		case <-tick.C:
		}
	}
}

// Published are the events that the console asked for.
type Published struct {
	mu   sync.Mutex
	all  []events.Event
	down bool
}

// Publish keeps the events.
func (p *Published) Publish(_ context.Context, evs ...events.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return ErrDown
	}
	for _, e := range evs {
		if _, err := events.Encode(e); err != nil {
			return err
		}
	}
	p.all = append(p.all, evs...)
	return nil
}

// Down switches it off or on.
func (p *Published) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// All returns the events so far.
func (p *Published) All() []events.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Bucket keeps one kind of fact.
type Bucket[T any] struct {
	mu        sync.Mutex
	facts     map[string]T
	revisions map[string]uint64
	watchers  []chan string
	down      bool
}

// NewBucket returns an empty Bucket.
func NewBucket[T any]() *Bucket[T] {
	return &Bucket[T]{facts: map[string]T{}, revisions: map[string]uint64{}}
}

// SetDown switches the bucket off or on.
func (b *Bucket[T]) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// Load returns the fact and its revision.
func (b *Bucket[T]) Load(_ context.Context, id string) (T, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		var zero T
		return zero, 0, ErrDown
	}
	return b.facts[id], b.revisions[id], nil
}

// Save stores the fact if its revision still is the given one.
func (b *Bucket[T]) Save(_ context.Context, id string, fact T, revision uint64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return 0, ErrDown
	}
	if b.revisions[id] != revision {
		return 0, handlers.ErrConflict
	}
	b.put(id, fact)
	return b.revisions[id], nil
}

// Put stores the fact as its owner would.
func (b *Bucket[T]) Put(id string, fact T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(id, fact)
}

func (b *Bucket[T]) put(id string, fact T) {
	b.facts[id] = fact
	b.revisions[id]++
	for _, w := range b.watchers {
		w <- id
	}
}

// Len counts the facts.
func (b *Bucket[T]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.facts)
}

// All returns a copy of the facts.
func (b *Bucket[T]) All() map[string]T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.facts)
}

// watch tells the id of every fact there is and of every change. The channel is large enough for any test.
func (b *Bucket[T]) watch() (existing int, ids <-chan string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := make(chan string, 1<<19)
	for id := range b.facts {
		ch <- id
	}
	b.watchers = append(b.watchers, ch)
	return len(b.facts), ch
}

// Creator adds the batch to the bucket of invitations.
type Creator struct{ *Bucket[mailbox.Invitation] }

// Create stores invitations that do not exist.
func (c Creator) Create(_ context.Context, batch []mailbox.Invitation) ([]error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, ErrDown
	}
	answers := make([]error, len(batch))
	for i, inv := range batch {
		if c.revisions[inv.ID] > 0 {
			answers[i] = handlers.ErrConflict
			continue
		}
		c.put(inv.ID, inv)
	}
	return answers, nil
}

// follower is the world's facts.
type follower struct{ w *World }

// Follow gives sink all facts, in one order per bucket.
func (f follower) Follow(ctx context.Context, sink console.Sink) error {
	w := f.w
	var group sync.WaitGroup
	var existing sync.WaitGroup
	existing.Add(6)
	follow(ctx, &group, &existing, w.Campaigns, func(_ string, c mailbox.Campaign) { sink.Campaign(c) })
	follow(ctx, &group, &existing, w.Invitations, func(_ string, i mailbox.Invitation) { sink.Invitation(i) })
	follow(ctx, &group, &existing, w.Claims, sink.Claim)
	follow(ctx, &group, &existing, w.Grants, sink.Grant)
	follow(ctx, &group, &existing, w.Registrations, sink.Registration)
	follow(ctx, &group, &existing, w.AdminConsents, func(_ string, c mailbox.AdminConsent) { sink.AdminConsent(c) })
	existing.Wait()
	sink.CaughtUp()
	group.Wait()
	return nil
}

func follow[T any](ctx context.Context, group, existing *sync.WaitGroup, b *Bucket[T], deliver func(string, T)) {
	left, ids := b.watch()
	if left == 0 {
		existing.Done()
	}
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case id := <-ids:
				fact, _, _ := b.Load(ctx, id)
				deliver(id, fact)
				if left--; left == 0 {
					existing.Done()
				}
			}
		}
	})
}

// Links derives ids and links without a key.
type Links struct{}

// Mailbox returns an id of the real form.
func (Links) Mailbox(app, address string) mailbox.ID {
	sum := sha256.Sum256([]byte(app + "\x00" + strings.ToLower(address)))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}

// Link returns a link of the real form.
func (Links) Link(id mailbox.ID, generation int) string {
	sum := sha256.Sum256([]byte(id + strconv.Itoa(generation)))
	return base64.RawURLEncoding.EncodeToString(append(sum[:], 0))[:44]
}

// Token returns a link for an admin that names what it is for.
func (Links) Token(link mailbox.AdminLink) (string, error) {
	return base64.RawURLEncoding.EncodeToString([]byte(link.App + "|" + link.Tenant + "|" + link.Expires.Format(time.RFC3339))), nil
}

// Dead are dead letters.
type Dead struct {
	mu       sync.Mutex
	letters  []events.DeadLetter
	last     uint64
	replayed []uint64
	onReplay func(events.DeadLetter)
	down     bool
}

// Add stores a dead letter and returns its number.
func (d *Dead) Add(letter events.DeadLetter) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	letter.Seq = d.last
	d.letters = append(d.letters, letter)
	return d.last
}

// OnReplay calls f for every dead letter that is replayed.
func (d *Dead) OnReplay(f func(events.DeadLetter)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onReplay = f
}

// SetDown switches the dead letters off or on.
func (d *Dead) SetDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// Replayed returns what was replayed, in order.
func (d *Dead) Replayed() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]uint64(nil), d.replayed...)
}

// Len counts the dead letters.
func (d *Dead) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.letters)
}

// Each visits all.
func (d *Dead) Each(_ context.Context, visit func(events.DeadLetter) bool) error {
	d.mu.Lock()
	letters, down := append([]events.DeadLetter(nil), d.letters...), d.down
	d.mu.Unlock()
	if down {
		return ErrDown
	}
	for _, l := range letters {
		if !visit(l) {
			break
		}
	}
	return nil
}

// Get returns one.
func (d *Dead) Get(_ context.Context, seq uint64) (events.DeadLetter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.letters {
		if l.Seq == seq {
			return l, nil
		}
	}
	return events.DeadLetter{}, console.ErrNotFound
}

// Replay notes the replay and removes the letter.
func (d *Dead) Replay(ctx context.Context, seq uint64) error {
	letter, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	d.mu.Lock()
	down, hook := d.down, d.onReplay
	d.mu.Unlock()
	if down {
		return ErrDown
	}
	d.mu.Lock()
	d.replayed = append(d.replayed, seq)
	d.mu.Unlock()
	if hook != nil {
		hook(letter)
	}
	return d.Discard(ctx, seq)
}

// Discard removes the letter.
func (d *Dead) Discard(_ context.Context, seq uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, l := range d.letters {
		if l.Seq == seq {
			d.letters = append(d.letters[:i:i], d.letters[i+1:]...)
			return nil
		}
	}
	return nil
}

// Legs are two legs, and that of account other once something is said of it.
type Legs struct {
	mu    sync.Mutex
	held  map[string]leg.Leg
	loads map[string]leg.Load
	lists int
	asked map[string]int
	down  bool
}

// Load makes it known what waits on a leg and at what pace, as the store tells it: without an estimate.
func (l *Legs) Load(name string, load leg.Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loads == nil {
		l.loads = map[string]leg.Load{}
	}
	l.loads[name] = load
}

// SetDown switches the legs off or on.
func (l *Legs) SetDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// Asked tells how often all legs were listed, and how often each was asked for alone.
func (l *Legs) Asked() (lists int, alone map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lists, maps.Clone(l.asked)
}

// Of returns these.
func (l *Legs) Of(_ context.Context, names ...string) (legs []leg.Leg, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked == nil {
		l.asked = map[string]int{}
	}
	for _, name := range names {
		l.asked[name]++
		legs = append(legs, l.one(name))
	}
	if l.down {
		return nil, ErrDown
	}
	return legs, nil
}

func (l *Legs) one(name string) leg.Leg {
	one, ok := l.held[name]
	if !ok {
		one = leg.Leg{Name: name, State: leg.Open}
	}
	one.Load = l.loads[name]
	return one
}

// List returns them.
func (l *Legs) List(context.Context) ([]leg.Leg, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists++
	if l.down {
		return nil, ErrDown
	}
	var legs []leg.Leg
	names := []string{"microsoft/main", "warmy/main"}
	if _, served := l.loads["warmy/other"]; served {
		names = append(names, "warmy/other")
	}
	for _, name := range names {
		legs = append(legs, l.one(name))
	}
	return legs, nil
}

// Hold holds a leg.
func (l *Legs) Hold(_ context.Context, name, cause, by string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]leg.Leg{}
	}
	l.held[name] = leg.Leg{Name: name, State: leg.Held, Cause: cause, By: by, Code: leg.HeldByOperator}
	return nil
}

// Release releases a leg.
func (l *Legs) Release(_ context.Context, name, _ string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, name)
	return nil
}

// Audit is the trail.
type Audit struct {
	mu      sync.Mutex
	entries []events.AuditEntry
	down    bool
}

// Append adds an entry.
func (a *Audit) Append(_ context.Context, e events.AuditEntry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return ErrDown
	}
	a.entries = append(a.entries, e)
	return nil
}

// SetDown switches the trail off or on.
func (a *Audit) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// Entries returns the trail.
func (a *Audit) Entries() []events.AuditEntry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]events.AuditEntry(nil), a.entries...)
}
