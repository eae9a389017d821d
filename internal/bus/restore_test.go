package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// fleet is both workers with their real handlers on a real server; Microsoft and Warmy are in memory.
type fleet struct {
	bus *bus.Bus

	mu       sync.Mutex
	server   *embed.Server
	sends    map[string]int // codes sent, by mailbox
	posts    map[string]int // POSTs, by address
	known    map[string]bool
	unclear  func(address string) bool
	who      func(id string) events.Proof // who consents for a mailbox
	nameless bool                         // nothing is known of that before it is proven
	rescued  map[string]int
	refused  *fault.Fault // what Warmy answers instead
	apart    time.Duration
}

// markBox turns every bit around: enough that nothing in a stream is readable.
type markBox struct{}

func (markBox) turn(text []byte) []byte {
	turned := make([]byte, len(text))
	for i, c := range text {
		turned[i] = ^c
	}
	return turned
}

func (m markBox) Seal(plain []byte, context string) ([]byte, error) {
	return m.turn(append([]byte(context+"\x00"), plain...)), nil
}

func (m markBox) Open(sealed []byte, context string) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(m.turn(sealed)), context+"\x00")
	if !ok {
		return nil, fmt.Errorf("sealed for something else than %s", context)
	}
	return []byte(plain), nil
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	s := bustest.Server(t)
	return &fleet{
		server: s, bus: bustest.Connect(t, s), sends: map[string]int{}, posts: map[string]int{}, known: map[string]bool{}, rescued: map[string]int{},
		unclear: func(string) bool { return false }, who: ownAccount, apart: time.Hour,
	}
}

func (f *fleet) Rescued(how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rescued[how]++
}

func (f *fleet) count(how string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rescued[how]
}

// Microsoft.

func (f *fleet) Redeem(_ context.Context, _ string, c mailbox.Consent) (mailbox.Tokens, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sends[c.Code.Reveal()]++
	t := mailbox.Tokens{Access: secret.New("a"), Refresh: secret.New("r"), Expiry: time.Now().Add(time.Hour), Scope: []string{"Mail.Send"}}
	if !f.nameless {
		t.Whose = f.who(strings.TrimPrefix(c.Code.Reveal(), "c-"))
	}
	return t, nil
}

func (f *fleet) Refresh(context.Context, string, mailbox.Tokens) (mailbox.Tokens, error) {
	return mailbox.Tokens{Access: secret.New("a2"), Expiry: time.Now().Add(time.Hour)}, nil
}

func (f *fleet) Prove(_ context.Context, _ string, _ mailbox.Tokens, address string) (events.Proof, error) {
	return f.who(strings.TrimSuffix(address, "-owner")), nil
}

// ownAccount is the account of a mailbox that no other one shares.
func ownAccount(id string) events.Proof { return events.Proof{TenantID: "tid", ObjectID: id} }

// Warmy.

func (f *fleet) Create(ctx context.Context, _ string, m handlers.NewMailbox) (string, error) {
	if err := m.Intend(ctx); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts[m.Address]++
	if f.refused != nil {
		return "", f.refused
	}
	f.known[m.Address] = true
	if f.unclear(m.Address) {
		return "", &fault.Fault{Class: fault.Unclear, Code: "warmy_timeout"}
	}
	return "w-" + m.Address, nil
}

func (f *fleet) Look(ctx context.Context, account, address string, _ time.Time) (handlers.Listing, error) {
	began := time.Now()
	id, found, err := f.Find(ctx, account, address)
	return handlers.Listing{ID: id, Found: found, Began: began}, err
}

func (f *fleet) Find(_ context.Context, _, address string) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "w-" + address, f.known[address], nil
}

func (f *fleet) Credentials(string) (string, secret.Text, error) {
	return "client", secret.New("s"), nil
}

func (f *fleet) serve(t *testing.T, lanes ...events.Lane) {
	t.Helper()
	f.serveAs(t, f.bus, "w1", lanes...)
}

// serveAs runs the lanes in a process of their own.
func (f *fleet) serveAs(t *testing.T, b *bus.Bus, owner string, lanes ...events.Lane) {
	t.Helper()
	all := map[events.Lane]bus.Handler{
		events.Code: handlers.RedeemCode{
			Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Codes: markBox{}, Microsoft: f, Owner: owner, Now: time.Now,
		},
		events.Refresh: handlers.RefreshGrant{
			Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Microsoft: f, Margin: time.Minute, Now: time.Now,
		},
		events.Register: handlers.RegisterMailbox{
			Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Registrations: b.Registrations(), Identities: b.Identities(),
			Apps: f, Warmy: f, Listing: f, Margin: time.Minute, ReconcileAfter: f.apart, Owner: owner, Now: time.Now,
		},
		events.Reconcile: handlers.ReconcileMailbox{
			Invitations: b.Invitations(markBox{}), Registrations: b.Registrations(), Listing: f, Apart: f.apart, Now: time.Now,
		},
	}
	var served []bus.Lane
	for _, lane := range lanes {
		served = append(served, bus.Lane{Lane: lane, Leg: "main", Window: 8, Policy: quick, Handler: all[lane]})
	}
	serve(t, b, bus.ServeConfig{Rescuer: f}, served...)
}

func (f *fleet) config(half string, still time.Duration) bus.RestoreConfig {
	cfg := bus.RestoreConfig{
		Owner: "w1", Every: 50 * time.Millisecond, Confirm: 20 * time.Millisecond, PerSecond: 1 << 20, Rescuer: f,
		Half: handlers.RestoreGrants{
			Invitations: f.bus.Invitations(markBox{}), Claims: f.bus.Claims(), Grants: f.bus.Grants(markBox{}),
			Registrations: f.bus.Registrations(), Stored: f.bus.Presence(), Still: still, Now: time.Now,
		},
	}
	if half == "registrations" {
		cfg.Half = handlers.RestoreRegistrations{
			Invitations: f.bus.Invitations(markBox{}), Grants: f.bus.Grants(markBox{}), Registrations: f.bus.Registrations(),
			Stored: f.bus.Presence(), Still: still, Now: time.Now,
		}
	}
	return cfg
}

// restore walks the facts of both halves once.
func (f *fleet) restore(t *testing.T, still time.Duration) {
	t.Helper()
	for _, half := range []string{"grants", "registrations"} {
		if err := bus.RestoreOnce(t.Context(), f.bus, half, half, f.config(half, still)); err != nil {
			t.Fatalf("restore %s: %v", half, err)
		}
	}
}

// restoring walks until the test ends, as a worker does.
func (f *fleet) restoring(t *testing.T, still time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.bus.RestoreGrants(ctx, f.config("grants", still)) })
	running.Go(func() { _ = f.bus.RestoreRegistrations(ctx, f.config("registrations", still)) })
	t.Cleanup(func() { stop(); running.Wait() })
}

func save[T any](t *testing.T, records bus.Records[T], id string, fact T) {
	t.Helper()
	_, revision, err := records.Load(t.Context(), id)
	if err == nil {
		_, err = records.Save(t.Context(), id, fact, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load[T any](t *testing.T, records bus.Records[T], id string) T {
	t.Helper()
	fact, _, err := records.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return fact
}

// consent is what the edge does when an owner's answer arrives; the event is returned, not published.
func (f *fleet) consent(t *testing.T, id string, received time.Time) events.Event {
	t.Helper()
	received = received.UTC().Truncate(time.Millisecond)
	save(t, f.bus.Invitations(markBox{}), id, mailbox.Invitation{
		ID: id, Campaign: "campus", App: "main", Account: "main", Address: id + "-owner", InvitedAt: received, LinkExpiresAt: received.Add(time.Hour),
	})
	save(t, f.bus.Claims(), id, mailbox.Claim{Attempts: []mailbox.Attempt{{
		ID: "att", StateHash: "state-" + id, CodeHash: mailbox.Hash("c-" + id), StartedAt: received, ExpiresAt: received.Add(time.Hour), AnsweredAt: received,
	}}})
	e := events.New(events.CodeReceived, mailbox.CodeSeed(id, "att", mailbox.Hash("c-"+id)), received)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt, e.Deadline = id, "main", "main", "campus", "att", received.Add(mailbox.CodeLife)
	plain, err := mailbox.Consent{Code: secret.New("c-" + id), Verifier: secret.New("v"), Nonce: secret.New("n")}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if e.Sealed, err = (markBox{}).Seal(plain, mailbox.SealedCodeContext(id, "att")); err != nil {
		t.Fatal(err)
	}
	return e
}

func (f *fleet) status(t *testing.T, id string) mailbox.Status {
	t.Helper()
	return mailbox.View(mailbox.Facts{
		Invitation: load(t, f.bus.Invitations(markBox{}), id), Claim: load(t, f.bus.Claims(), id),
		Grant: load(t, f.bus.Grants(nil), id), Registration: load(t, f.bus.Registrations(), id),
	}, time.Now())
}

func (f *fleet) reaches(t *testing.T, ids []string, want mailbox.State) {
	t.Helper()
	for _, id := range ids {
		eventually(t, fmt.Sprintf("%s is %s", id, want), func() bool { return f.status(t, id).State == want })
	}
}

func (f *fleet) consents(t *testing.T, prefix string, n int) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s%d", prefix, i)
		if err := f.bus.Publish(t.Context(), f.consent(t, id, time.Now())); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (f *fleet) onceEach(t *testing.T, ids []string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if f.sends["c-"+id] != 1 || f.posts[id+"-owner"] != 1 {
			t.Errorf("%s: %d sends, %d POSTs", id, f.sends["c-"+id], f.posts[id+"-owner"])
		}
	}
}

func waiting(t *testing.T, b *bus.Bus, stream string, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages in %s", want, stream), func() bool {
		n, err := bus.Waiting(t.Context(), b, stream)
		return err == nil && n == uint64(want)
	})
}

func TestMailboxesReachTheirEndThoughTheRegisterQueueIsPurged(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh) // Warmy's half is down
	ids := f.consents(t, "reg", 5)
	waiting(t, f.bus, "REGISTER", len(ids))
	if err := bus.Purge(t.Context(), f.bus, "REGISTER", ""); err != nil {
		t.Fatal(err)
	}
	f.serve(t, events.Register, events.Reconcile)
	f.restoring(t, time.Millisecond)
	f.reaches(t, ids, mailbox.StateRegistered)
	f.onceEach(t, ids)
}

func TestUnclearRegistrationsAreSettledThoughTheirTimersArePurged(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.unclear = func(string) bool { return true }
	f.serve(t, events.Code, events.Refresh, events.Register, events.Reconcile)
	ids := f.consents(t, "unc", 5)
	f.reaches(t, ids, mailbox.StateUnclear)
	waiting(t, f.bus, "TIMERS_WARMY", len(ids)) // due in an hour
	f.restore(t, time.Millisecond)
	if n := f.count("event_restored"); n != 0 {
		t.Fatalf("%d events restored that were waiting for their time", n)
	}
	if err := bus.Purge(t.Context(), f.bus, "TIMERS_WARMY", ""); err != nil {
		t.Fatal(err)
	}
	f.restoring(t, time.Millisecond)
	f.reaches(t, ids, mailbox.StateRegistered)
	f.onceEach(t, ids)
}

func TestALostCodeEndsInConsentLostAndIsNeverSent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	old := time.Now().Add(-15 * time.Minute)
	f.consent(t, "lost", old) // and its event is purged
	if err := f.bus.Publish(t.Context(), f.consent(t, "waits", old)); err != nil {
		t.Fatal(err)
	}
	redeeming := f.consent(t, "held", old)
	held, verdict := mailbox.Grant{}.Claim(redeeming, "w0", old, time.Second)
	if verdict != mailbox.Proceed {
		t.Fatal(verdict)
	}
	save(t, f.bus.Grants(markBox{}), "held", held)
	f.restore(t, time.Minute)
	for _, id := range []string{"lost", "held"} {
		g := load(t, f.bus.Grants(nil), id)
		if g.Phase != mailbox.GrantNeedsConsent || g.Reason != mailbox.ConsentLost || g.Finding.Code != "code_event_lost" || g.Finding.Remedy == "" {
			t.Errorf("%s: %+v", id, g)
		}
		if s := f.status(t, id); s.State != mailbox.StateNeedsConsent || s.Reason != mailbox.ConsentLost {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if g := load(t, f.bus.Grants(nil), "waits"); g.Phase != mailbox.GrantNone {
		t.Errorf("the code that waits for its worker: %+v", g)
	}
	f.restore(t, time.Minute)
	if n := f.count("consent_lost"); n != 2 || len(f.sends) != 0 {
		t.Errorf("%d codes said to be lost, %d sent", n, len(f.sends))
	}
}

func TestAnAbandonedPostIsSettledByTheListingNeverRepeated(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh, events.Reconcile)
	ids := f.consents(t, "post", 2)
	waiting(t, f.bus, "REGISTER", 2)
	proof := &events.Proof{TenantID: "tid", ObjectID: "oid"}
	for _, id := range ids {
		save(t, f.bus.Registrations(), id, mailbox.Registration{
			Phase: mailbox.Posting, Attempt: "att", Proof: proof, Posts: 1, Owner: "dead", Since: time.Now(), Lease: time.Now().Add(-time.Second),
		})
		f.known[id+"-owner"] = true
	}
	if err := bus.Purge(t.Context(), f.bus, "REGISTER", ""); err != nil {
		t.Fatal(err)
	}
	f.serve(t, events.Register)
	f.restoring(t, time.Millisecond)
	f.reaches(t, ids, mailbox.StateRegistered)
	if len(f.posts) != 0 {
		t.Errorf("posted: %v", f.posts)
	}
}

func TestARestoredEventLooksBeforeItPosts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh)
	ids := f.consents(t, "back", 2)
	waiting(t, f.bus, "REGISTER", 2)
	if err := bus.Purge(t.Context(), f.bus, "REGISTER", ""); err != nil {
		t.Fatal(err)
	}
	f.known["back0-owner"] = true // registered after the backup that the facts were restored from
	f.serve(t, events.Register, events.Reconcile)
	f.restoring(t, time.Millisecond)
	f.reaches(t, ids, mailbox.StateRegistered)
	if f.posts["back0-owner"] != 0 || f.posts["back1-owner"] != 1 {
		t.Errorf("POSTs: %v", f.posts)
	}
	if r := load(t, f.bus.Registrations(), "back0"); !r.Adopted || r.WarmyID != "w-back0-owner" {
		t.Errorf("%+v", r)
	}
}

func TestWhatMerelyWaitsIsNotRestored(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh)
	ids := f.consents(t, "wait", 20)
	waiting(t, f.bus, "REGISTER", len(ids))
	if err := f.bus.Legs().Hold(t.Context(), "warmy/main", "test", "test"); err != nil {
		t.Fatal(err)
	}
	f.serve(t, events.Register, events.Reconcile)
	for range 3 {
		f.restore(t, time.Millisecond)
	}
	if err := f.bus.Legs().Release(t.Context(), "warmy/main", "test"); err != nil {
		t.Fatal(err)
	}
	f.reaches(t, ids, mailbox.StateRegistered)
	f.onceEach(t, ids)
	f.restore(t, time.Millisecond)
	if len(f.rescued) != 0 {
		t.Errorf("restored: %v", f.rescued)
	}
}

func TestFactsThatMovedLatelyAreLeftAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code)
	f.consents(t, "new", 1)
	waiting(t, f.bus, "REGISTER", 1)
	if err := bus.Purge(t.Context(), f.bus, "REGISTER", ""); err != nil {
		t.Fatal(err)
	}
	f.restore(t, time.Hour)
	if len(f.rescued) != 0 {
		t.Errorf("restored: %v", f.rescued)
	}
	f.restore(t, time.Millisecond)
	if f.rescued["event_restored"] != 1 {
		t.Errorf("restored: %v", f.rescued)
	}
}

// inStep lets nobody publish before all have found the same loss.
type inStep struct {
	bus.Half

	mu      *sync.Mutex
	arrived map[string]chan struct{} // by mailbox; full when all are there
}

func (h inStep) Mend(ctx context.Context, id mailbox.ID) (handlers.Loss, error) {
	loss, err := h.Half.Mend(ctx, id)
	h.mu.Lock()
	if h.arrived[id] == nil {
		h.arrived[id] = make(chan struct{}, atOnce)
	}
	all := h.arrived[id]
	h.mu.Unlock()
	all <- struct{}{}
	for tick := time.NewTicker(time.Millisecond); len(all) < atOnce && ctx.Err() == nil; {
		<-tick.C
	}
	return loss, err
}

const atOnce = 4

func TestTwoThatRestoreAtOnceLeaveOneEvent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code)
	f.consents(t, "grant", 3)
	waiting(t, f.bus, "REGISTER", 3)
	for _, id := range []string{"grant1", "grant2"} {
		save(t, f.bus.Registrations(), id, mailbox.Registration{
			Phase: mailbox.Uncertain, Attempt: "att", Proof: &events.Proof{TenantID: "tid", ObjectID: "oid"}, Since: time.Now(),
		})
	}
	reg := load(t, f.bus.Registrations(), "grant2")
	save(t, f.bus.Registrations(), "grant2", reg.Bury(event(events.RegistrationRequested, "grant2"), refused, time.Now()))
	if err := bus.Purge(t.Context(), f.bus, "REGISTER", ""); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2*atOnce)
	step := inStep{mu: &sync.Mutex{}, arrived: map[string]chan struct{}{}}
	for i := range cap(done) {
		half := []string{"grants", "registrations"}[i%2]
		cfg := f.config(half, time.Millisecond)
		cfg.Half = inStep{cfg.Half, step.mu, step.arrived}
		go func() { done <- bus.RestoreOnce(t.Context(), f.bus, half, fmt.Sprint("lease", i), cfg) }()
	}
	for range cap(done) {
		if err := receive(t, done, "walk"); err != nil {
			t.Error(err)
		}
	}
	for stream, want := range map[string]int{"REFRESH": 1, "TIMERS_WARMY": 1, "DEAD": 1, "REGISTER": 0} {
		waiting(t, f.bus, stream, want)
	}
	if f.rescued["event_restored"] != 2 || f.rescued["dead_letter_restored"] != 1 {
		t.Errorf("restored: %v", f.rescued)
	}
}

func TestALostDeadLetterIsRestoredAndCanBeReplayedADiscardedOneStaysAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.refused = refused
	f.serve(t, events.Code, events.Refresh, events.Register, events.Reconcile)
	ids := f.consents(t, "dead", 2)
	f.reaches(t, ids, mailbox.StateDead)
	waiting(t, f.bus, "REGISTER", 0)
	for _, letter := range deadLetters(t, f.bus) {
		if letter.Mailbox == "dead0" {
			if err := f.bus.DeadLetters().Discard(t.Context(), letter.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := bus.Purge(t.Context(), f.bus, "DEAD", ""); err != nil {
		t.Fatal(err)
	}
	f.restore(t, time.Millisecond)
	f.restore(t, time.Millisecond)
	letters := deadLetters(t, f.bus)
	if len(letters) != 1 || letters[0].Mailbox != "dead1" || letters[0].Code != "warmy_422" || letters[0].Stage != events.Register {
		t.Fatalf("letters: %+v", letters)
	}
	f.mu.Lock()
	f.refused = nil
	f.mu.Unlock()
	if err := f.bus.DeadLetters().Replay(t.Context(), letters[0].Seq); err != nil {
		t.Fatal(err)
	}
	f.reaches(t, ids[1:], mailbox.StateRegistered)
}

func TestAReplayRepeatedAnHourLaterRegistersOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.refused = refused
	f.serve(t, events.Code, events.Refresh, events.Register, events.Reconcile)
	ids := f.consents(t, "twice", 1)
	f.reaches(t, ids, mailbox.StateDead)
	f.mu.Lock()
	f.refused, f.posts = nil, map[string]int{}
	f.mu.Unlock()
	seq := deadLetters(t, f.bus)[0].Seq
	if err := bus.ReplayHalf(t.Context(), f.bus, seq); err != nil { // and the console is gone
		t.Fatal(err)
	}
	f.reaches(t, ids, mailbox.StateRegistered)
	forget(t, f.bus, map[string]string{"REGISTER": "kindling.register.probe.s1.probe"})
	if err := f.bus.DeadLetters().Replay(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	waiting(t, f.bus, "REGISTER", 0)
	f.onceEach(t, ids)
	if letters := deadLetters(t, f.bus); len(letters) != 0 {
		t.Errorf("letters: %+v", letters)
	}
}

func TestTheLeaseOfAProcessThatDiedStopsTheOthersForItsTimeOnly(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.serve(t, events.Code, events.Refresh, events.Register, events.Reconcile)
	old := time.Now().Add(-15 * time.Minute)
	f.consent(t, "lost", old)
	if err := bus.TakeLease(t.Context(), f.bus, "grants", "dead", time.Now().Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	died := time.Now().Add(2 * time.Second)
	f.restoring(t, time.Millisecond)
	eventually(t, "another process takes over", func() bool { return f.count("consent_lost") == 1 })
	if time.Now().Before(died) {
		t.Error("the lease was not respected")
	}
}

func TestEachWorkersRightsSufficeToRescueAndRestore(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	_ = ensured(t, g)
	token, warmy := &fleet{bus: g.Connect(bus.ProcessTokenWorker)}, &fleet{bus: g.Connect(bus.ProcessWarmyWorker)}
	edge, console := g.Connect(bus.ProcessEdge), g.Connect(bus.ProcessConsole)
	for _, f := range []*fleet{token, warmy} {
		f.rescued, f.apart = map[string]int{}, time.Hour
	}
	old := time.Now().Add(-15 * time.Minute)
	for _, id := range []string{"lost", "saved", "posted", "dead"} {
		save(t, console.Invitations(markBox{}), id, mailbox.Invitation{ID: id, Campaign: "campus", App: "main", Account: "main", LinkExpiresAt: time.Now().Add(time.Hour)})
	}
	save(t, edge.Claims(), "lost", mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "att", CodeHash: "code", AnsweredAt: old, StateHash: "s", StartedAt: old, ExpiresAt: old}}})
	save(t, token.bus.Grants(markBox{}), "saved", mailbox.Grant{
		Phase: mailbox.GrantSaved, Attempt: "att", Since: old, CodeAt: old, Tokens: &mailbox.Tokens{Attempt: "att", SavedAt: old, Expiry: old},
	})
	posted := mailbox.Registration{Phase: mailbox.Posting, Attempt: "att", Since: old, Lease: old, Posts: 1}
	save(t, warmy.bus.Registrations(), "posted", posted)
	save(t, warmy.bus.Registrations(), "dead", posted.Bury(event(events.RegistrationRequested, "dead"), refused, old))
	token.serve(t, events.Code, events.Refresh)
	warmy.serve(t, events.Register, events.Reconcile)
	for consumer, b := range map[string]*bus.Bus{"advisories-CODE": token.bus, "advisories-TIMERS_TOKEN": token.bus, "advisories-REGISTER": warmy.bus} {
		eventually(t, consumer+" is heard", func() bool { return bus.HasConsumer(t.Context(), b, "ADVISORIES", consumer) })
	}
	for half, f := range map[string]*fleet{"grants": token, "registrations": warmy} {
		if err := bus.RestoreOnce(t.Context(), f.bus, half, half, f.config(half, time.Minute)); err != nil {
			t.Errorf("restore %s: %v", half, err)
		}
	}
	for how, want := range map[string]int{"consent_lost": 1, "event_restored": 2, "dead_letter_restored": 1} {
		if n := token.count(how) + warmy.count(how); n != want {
			t.Errorf("%s: %d, want %d", how, n, want)
		}
	}
	if err := console.DeadLetters().Discard(t.Context(), deadLetters(t, console)[0].Seq); err != nil {
		t.Error(err)
	}
	if err := bus.SweepOnce(t.Context(), token.bus, bus.ServeConfig{}, bus.Lane{Lane: events.Refresh, Leg: "main"}); err != nil {
		t.Error(err)
	}
}
