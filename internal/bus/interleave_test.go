package bus_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// TestNothingIsSilentAndNothingHappensTwice plays random histories on the real server with the real handlers, two
// worker processes, and a Microsoft and a Warmy that keep books: consents, repeated publishes, workers that are killed,
// connections that break, acknowledgements that are lost, consumers that vanish, held legs, calls that fail before or
// after their effect, replays. Then everything is healed, and what is left must come to an end.
//
// Nothing is silent: every mailbox whose code was accepted ends registered, in need of its owner with a recorded reason,
// as a mismatch, or dead with its dead letter. Nothing happens twice: no code is sent after its tokens were saved, no
// mailbox is posted without an intent, or with effect twice for one consent.
func TestNothingIsSilentAndNothingHappensTwice(t *testing.T) { //nolint:paralleltest // a bubble runs beside others by itself
	bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		histories(t, 24/scale)
		registered := 0
		rapid.Check(t, func(r *rapid.T) {
			script := rapid.SliceOfN(rapid.Custom(drawStep), steps, steps).Draw(r, "script")
			var breaches []string
			bustest.OneBubble(t, func(t *testing.T) { //nolint:thelper // as above
				p := newPlay(t)
				breaches = p.run(script)
				for _, end := range p.ends {
					if end == mailbox.StateRegistered {
						registered++
					}
				}
			})
			if len(breaches) > 0 {
				r.Fatalf("%q", breaches)
			}
		})
		if t.Logf("%d mailboxes were registered", registered); registered == 0 {
			t.Error("no mailbox was ever registered: the histories prove nothing")
		}
	})
}

// TestEveryTroubleOfEveryCallComesToAnEnd plays the shortest histories, each trouble in each call, one after the other. Under the
// race detector each trouble meets some of the calls.
func TestEveryTroubleOfEveryCallComesToAnEnd(t *testing.T) { //nolint:paralleltest // as above
	for i, call := range calls() { //nolint:paralleltest // as above
		t.Run(call, func(t *testing.T) {
			bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
				for k, how := range troubles() {
					if (i+k)%stride == 0 {
						playTrouble(t, call, how)
					}
				}
			})
		})
	}
}

func playTrouble(t *testing.T, call string, how trouble) {
	t.Helper()
	script := []step{{What: "fault", Call: call, Fault: how}, {What: "consent", Pause: 5 * time.Minute}}
	if call == "find" { // which comes only after a POST of unknown outcome
		script = append([]step{{What: "fault", Call: "create", Fault: lost}}, script...)
	}
	bustest.OneBubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		p := newPlay(t)
		for _, breach := range p.run(script) {
			t.Errorf("%s: %s", how, breach)
		}
		if end := p.ends[mailboxOf(0)]; !slices.Contains(endings(call, how), end) {
			t.Errorf("%s: ended %s, want %s", how, end, endings(call, how))
		}
	})
}

// endings are how a mailbox may end that meets one trouble and no more.
func endings(call string, how trouble) []mailbox.State {
	lostCode := mailbox.StateNeedsConsent // the code was taken, and its tokens are lost
	switch {
	case how == forbidden && call != "refresh":
		return []mailbox.State{mailbox.StateDead}
	case how == mismatched && call == "prove":
		return []mailbox.State{mailbox.StateMismatch}
	case call == "redeem" && (how == lost || how == panicking || how == dyingLate):
		return []mailbox.State{lostCode}
	case call == "redeem" && how == dyingLast: // before or after the tokens are saved
		return []mailbox.State{lostCode, mailbox.StateRegistered}
	}
	return []mailbox.State{mailbox.StateRegistered}
}

// histories is how many histories are played unless the command line says.
func histories(t *testing.T, n int) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if given {
		return
	}
	if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
}

// calls are those to Microsoft and Warmy. Refreshes come only in longer histories.
func calls() []string { return []string{"prove", "create", "redeem", "find", "refresh"} }

// steps is the length of every history. A shorter one has rests: drawn lengths would mostly be too short for trouble.
const steps = 16

// step is one thing that happens in a history.
type step struct {
	What  string
	Who   int           // which mailbox, worker or leg
	Call  string        // that goes wrong next
	Fault trouble       // and how
	Pause time.Duration // until the next step
}

func drawStep(r *rapid.T) step {
	s := step{
		What: rapid.SampledFrom([]string{
			"rest", "fault", "consent", "fault", "consent", "kill", "deaf", "repeat", "cut", "hold", "release", "replay",
		}).Draw(r, "what"),
		Who: rapid.IntRange(0, 3).Draw(r, "who"),
		Pause: rapid.SampledFrom([]time.Duration{
			0, 0, 0, 250 * time.Millisecond, 450 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second, 20 * time.Second, 40 * time.Second, 11 * time.Minute,
		}).Draw(r, "pause"),
	}
	if s.What == "fault" {
		s.Call = rapid.SampledFrom(calls()).Draw(r, "call")
		s.Fault = rapid.SampledFrom(troubles()).Draw(r, "fault")
	}
	return s
}

// play is one history under way.
type play struct {
	*books

	t       *testing.T
	server  bus.Config // how to reach it
	workers []*process
	running sync.WaitGroup
}

func newPlay(t *testing.T) *play {
	t.Helper()
	server := bustest.Server(t)
	p := &play{t: t, books: newBooks(bustest.Connect(t, server)), server: bus.Config{InProcess: server, Name: "worker", Log: slog.New(slog.DiscardHandler)}}
	for id := range 4 {
		p.invite(t, mailboxOf(id))
	}
	p.workers = []*process{p.start(0), p.start(1)}
	return p
}

func mailboxOf(n int) string { return fmt.Sprintf("mb%022d", n) }

// run plays the script, heals everything and returns the breaches of the promises.
func (p *play) run(script []step) []string {
	for _, s := range script {
		p.do(s)
		time.Sleep(s.Pause)
	}
	p.heal()
	p.settle()
	for _, w := range p.workers {
		w.stop()
	}
	p.running.Wait()
	time.Sleep(time.Second) // the server must be at rest when it stops: it sleeps under a lock then, and time would stand still
	return p.breaches
}

func (p *play) do(s step) {
	time.Sleep(time.Millisecond) // until whatever starts has started: Watermill's Router leaves a goroutine behind when it cannot
	ctx := p.t.Context()
	switch s.What {
	case "consent":
		p.consent(p.t, mailboxOf(s.Who))
	case "repeat":
		p.repeat(p.t, mailboxOf(s.Who))
	case "fault":
		p.arm(s.Call, s.Fault)
	case "kill":
		p.each(s.Who, (*wire).kill)
	case "cut":
		p.each(s.Who, (*wire).cut)
	case "deaf":
		p.each(s.Who, func(w *wire) { w.loseAcks(40 * time.Second) })
	case "hold":
		p.insist("hold", func() error { return p.bus.Legs().Hold(ctx, legs()[s.Who%2], "a test", "op") })
	case "release":
		p.release(legs()[s.Who%2])
	case "replay":
		p.replay()
	}
}

// each does something to one worker, or to both: which of them holds a message is chance.
func (p *play) each(who int, do func(*wire)) {
	for i, w := range p.workers {
		if who == i+1 || who == 0 || who == 3 {
			do(w.line())
		}
	}
}

func legs() []string { return []string{leg.Name("microsoft", "main"), leg.Name("warmy", "main")} }

// insist does what an operator does whose command failed: once more. A leg's consumer may just have vanished.
func (p *play) insist(what string, command func() error) {
	p.t.Helper()
	var err error
	for range 5 {
		if err = command(); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	p.t.Errorf("%s: %v", what, err)
}

func (p *play) release(name string) {
	p.t.Helper()
	p.insist("release", func() error { return p.bus.Legs().Release(p.t.Context(), name, "op") })
}

// replay gives every dead letter that can be replayed a new life.
func (p *play) replay() {
	for _, letter := range deadLetters(p.t, p.bus) {
		if letter.Stage != events.Code {
			p.insist("replay", func() error { return p.bus.DeadLetters().Replay(p.t.Context(), letter.Seq) })
		}
	}
}

// heal ends every trouble.
func (p *play) heal() {
	p.disarm()
	for _, name := range legs() {
		p.release(name)
	}
	for _, w := range p.workers {
		w.line().loseAcks(0)
	}
}

// settle waits until nothing is stored for a worker, and closes the books: first on what the lanes have done alone, then
// on what the second net makes of it.
func (p *play) settle() {
	if !p.drained() {
		return
	}
	p.audit(p.t, true)
	ctx, stop := context.WithCancel(p.t.Context())
	defer stop()
	p.restore(ctx)
	time.Sleep(5 * time.Minute) // it looks twice, at facts that have not moved for a while
	if p.drained() {
		p.audit(p.t, false)
	}
}

func (p *play) drained() bool {
	ended := time.Now().Add(6 * time.Hour)
	for {
		left := ""
		for _, stream := range []string{"CODE", "REFRESH", "REGISTER", "TIMERS_TOKEN", "TIMERS_WARMY"} {
			n, err := bus.Waiting(p.t.Context(), p.bus, stream)
			if err != nil {
				p.t.Fatal(err)
			}
			if n > 0 {
				left += fmt.Sprintf("%d in %s ", n, stream)
			}
		}
		if left == "" {
			return true
		}
		if time.Now().After(ended) {
			p.breach("stuck: %s", left)
			return false
		}
		time.Sleep(5 * time.Second)
	}
}

// restore looks for events that are lost, until ctx ends.
func (p *play) restore(ctx context.Context) {
	invitations, stored := p.bus.Invitations(maskBox{}), p.bus.Presence()
	grants := handlers.RestoreGrants{
		Invitations: invitations, Claims: p.claims, Grants: p.grants, Registrations: p.posted, Stored: stored, Still: time.Minute, Now: time.Now,
	}
	registrations := handlers.RestoreRegistrations{
		Invitations: invitations, Grants: p.grants, Registrations: p.posted, Stored: stored, Still: time.Minute, Now: time.Now,
	}
	p.running.Go(func() {
		_ = p.bus.RestoreGrants(ctx, bus.RestoreConfig{Half: grants, Owner: "net", Every: time.Minute})
	})
	p.running.Go(func() {
		_ = p.bus.RestoreRegistrations(ctx, bus.RestoreConfig{Half: registrations, Owner: "net", Every: time.Minute})
	})
}

// process is a worker process under a supervisor, which starts the next one when it is killed or cannot start.
type process struct {
	stop context.CancelFunc

	mu   sync.Mutex
	wire *wire
}

// line is the connection of the process that is alive.
func (w *process) line() *wire {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire
}

func (p *play) start(slot int) *process {
	ctx, stop := context.WithCancel(context.Background())
	w := &process{stop: stop, wire: newWire(p.server.InProcess)}
	p.running.Go(func() {
		for life := 0; ctx.Err() == nil; life++ {
			p.live(ctx, w.line(), fmt.Sprintf("worker%d-%d", slot, life))
			w.mu.Lock()
			w.wire = newWire(p.server.InProcess)
			w.mu.Unlock()
		}
	})
	return w
}

// live returns when the process was killed, or has ended. One that was killed goes on for a while without a connection
// and without effect.
func (p *play) live(ctx context.Context, w *wire, owner string) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	p.running.Go(func() {
		defer close(ended)
		_ = p.serve(ctx, w, owner) // the supervisor's next one does better
	})
	select {
	case <-w.died:
	case <-ended:
	}
	stop()
}

func (p *play) serve(ctx context.Context, w *wire, owner string) error {
	cfg := p.server
	cfg.InProcess = w
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Serve(ctx, bus.ServeConfig{HoldFor: 5 * time.Second}, p.lanes(b, w, owner)...)
}

func (p *play) lanes(b *bus.Bus, w *wire, owner string) []bus.Lane {
	third := thirdParties{books: p.books, from: w}
	invitations, grants, registrations := b.Invitations(maskBox{}), b.Grants(maskBox{}), b.Registrations()
	work := bus.Policy{Attempts: 4, MaxAge: 24 * time.Hour, Base: time.Second, Cap: time.Minute, Crashes: 5}
	codes := bus.Policy{Attempts: 1 << 20, Base: time.Second, Cap: 6 * time.Second, Crashes: 5, Nak: true}
	lane := func(l events.Lane, policy bus.Policy, h bus.Handler) bus.Lane {
		return bus.Lane{Lane: l, Leg: "main", Window: 2, Single: l == events.Reconcile, Policy: policy, Handler: h}
	}
	return []bus.Lane{
		lane(events.Code, codes, handlers.RedeemCode{
			Invitations: invitations, Grants: grants, Codes: maskBox{}, Microsoft: third, Times: handlers.NewRedeemTimes(), Owner: owner, Now: time.Now,
		}),
		lane(events.Refresh, work, handlers.RefreshGrant{
			Invitations: invitations, Grants: grants, Microsoft: third, Margin: 10 * time.Minute, Now: time.Now,
		}),
		lane(events.Register, work, handlers.RegisterMailbox{
			Invitations: invitations, Grants: grants, Registrations: registrations, Identities: b.Identities(),
			Apps: third, Warmy: third, Listing: third,
			Margin: 10 * time.Minute, ReconcileAfter: time.Minute, Owner: owner, Now: time.Now,
		}),
		lane(events.Reconcile, work, handlers.ReconcileMailbox{
			Invitations: invitations, Registrations: registrations, Listing: third, Apart: time.Minute, Now: time.Now,
		}),
	}
}
