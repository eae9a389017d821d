package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// point is a place in a redeem at which its worker can come to grief.
type point string

const (
	beforeIntent point = "before the intent"
	afterIntent  point = "after the intent is saved"
	afterSend    point = "after the request is sent, its answer not read"
	afterAnswer  point = "after the answer is read, before the save"
	afterSave    point = "after the tokens are saved"
	afterPublish point = "after the follow-up is published, its receipt not read"
	beforeAck    point = "before the acknowledgement"
)

// grief is what happens there.
type grief string

const (
	kill9   grief = "kill -9"
	panics  grief = "panic"
	stopped grief = "SIGSTOP for longer than the lease"
	noDisk  grief = "disk full for a while"
)

const (
	griefTime = time.Minute // longer than the lease and the ack wait
	// diskTime is shorter than the lease, and passes outside any bubble: nats.go's ordered consumers, which watch the legs, wait
	// under a lock while JetStream is away, and in a bubble time would stand still.
	diskTime = 3 * time.Second
)

// stage is a server with two token-workers under supervisors, on which one redeem comes to grief at one point.
type stage struct {
	*books

	t        *testing.T
	server   *embed.Server
	merciful bool // Microsoft does not revoke tokens whose code comes again
	over     sync.WaitGroup
	workers  sync.WaitGroup
	stop     context.CancelFunc

	mu      sync.Mutex
	at      point
	how     grief
	saved   map[string]bool // attempts whose tokens were stored
	revoked map[string]bool // attempts whose tokens Microsoft has revoked
	hits    int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	server := bustest.Server(t)
	ctx, stop := context.WithCancel(context.Background())
	s := &stage{t: t, books: newBooks(bustest.Connect(t, server)), server: server, stop: stop, saved: map[string]bool{}, revoked: map[string]bool{}}
	for slot := range 2 {
		s.workers.Go(func() {
			for life := 0; ctx.Err() == nil; life++ {
				s.live(ctx, fmt.Sprintf("worker%d-%d", slot, life))
			}
		})
	}
	return s
}

// live runs a worker until it is killed, or ctx ends. A killed one goes on for a while without a connection and without effect.
func (s *stage) live(ctx context.Context, owner string) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := &redeemer{stage: s, wire: newIcy(newWire(s.server)), owner: owner}
	w.wire.wrote = w.hears
	ended := make(chan struct{})
	s.over.Go(func() { defer close(ended); _ = w.serve(ctx) }) // the supervisor's next one does better
	select {
	case <-w.wire.died:
	case <-ended:
	}
}

// end stops the workers, and waits for those that were killed, too.
func (s *stage) end() {
	s.stop()
	s.workers.Wait()
	s.over.Wait()
	time.Sleep(time.Second) // the server must be at rest when it stops: it sleeps under a lock then, and time would stand still
}

// arm lets the next redeem come to grief.
func (s *stage) arm(at point, how grief) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.how = at, how
}

// take reports whether it is this point's turn, once.
func (s *stage) take(at point) (grief, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != at {
		return "", false
	}
	s.at = ""
	s.hits++
	return s.how, true
}

// fillDisk does what the embedded server does when a write fails, and what it does when there is room again.
func (s *stage) fillDisk() {
	if err := s.server.NATS().ShutdownJetStream(); err != nil {
		s.t.Errorf("stop JetStream: %v", err)
	}
	s.over.Go(func() {
		time.Sleep(diskTime)
		if err := s.server.Restart(); err != nil {
			s.t.Errorf("start the server again: %v", err)
		}
	})
}

// redeemer is one worker process.
type redeemer struct {
	*stage

	wire  *icy
	owner string
}

func (w *redeemer) serve(ctx context.Context) error {
	b, err := bus.Connect(ctx, bus.Config{InProcess: w.wire, Name: "worker", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		time.Sleep(time.Second) // a supervisor's pause
		return err
	}
	defer b.Close()
	invitations, grants := b.Invitations(maskBox{}), stagedGrants{b.Grants(maskBox{}), w}
	codes := bus.Policy{Attempts: 1 << 20, Base: time.Second, Cap: 6 * time.Second, Crashes: 5, Nak: true}
	work := bus.Policy{Attempts: 4, MaxAge: 24 * time.Hour, Base: time.Second, Cap: time.Minute, Crashes: 5}
	return b.Serve(ctx, bus.ServeConfig{HoldFor: 5 * time.Second, Observer: w},
		bus.Lane{Lane: events.Code, Leg: "main", Window: 2, Policy: codes, Handler: handlers.RedeemCode{
			Invitations: invitations, Grants: grants, Codes: maskBox{}, Microsoft: w, Owner: w.owner, Now: time.Now,
		}},
		bus.Lane{Lane: events.Refresh, Leg: "main", Window: 2, Policy: work, Handler: handlers.RefreshGrant{
			Invitations: invitations, Grants: grants, Microsoft: w, Margin: 10 * time.Minute, Now: time.Now,
		}})
}

// reaches is called at each point.
func (w *redeemer) reaches(p point) {
	if p == "" || w.wire.isDead() {
		return
	}
	how, mine := w.take(p)
	if !mine {
		return
	}
	switch how {
	case kill9:
		w.wire.kill()
	case panics:
		panic("a test")
	case stopped:
		w.wire.freeze()
		w.endure(p, w.goOn)
	case noDisk:
		w.endure(p, w.fillDisk)
	}
}

// endure keeps the worker at its point meanwhile. What is noticed by the connection is noticed under its locks, and must
// not wait there.
func (w *redeemer) endure(p point, what func()) {
	if p == afterPublish {
		w.over.Go(what)
		return
	}
	what()
}

// goOn ends a stop.
func (w *redeemer) goOn() {
	time.Sleep(griefTime)
	w.wire.thaw()
}

// hears looks at what the worker has written to the server.
func (w *redeemer) hears(said []byte) {
	if bytes.Contains(said, []byte("PUB kindling.register.")) {
		w.reaches(afterPublish)
	}
}

// Delivered is called when the follow-up is published and the delivery is not acknowledged yet.
func (w *redeemer) Delivered(lane events.Lane, outcome string, _ time.Duration) {
	if lane == events.Code && outcome == "ok" {
		w.reaches(beforeAck)
	}
}

// stagedGrants are the records of one worker.
type stagedGrants struct {
	bus.Records[mailbox.Grant]

	worker *redeemer
}

// Save saves, with the points before and after it.
func (g stagedGrants) Save(ctx context.Context, id mailbox.ID, fact mailbox.Grant, revision uint64) (uint64, error) {
	before, after := point(""), point("")
	switch fact.Phase {
	case mailbox.GrantRedeeming:
		if fact.Owner != "" { // not a failed redeem's word
			before, after = beforeIntent, afterIntent
		}
	case mailbox.GrantSaved:
		before, after = afterAnswer, afterSave
	case mailbox.GrantNone, mailbox.GrantNeedsConsent, mailbox.GrantMismatch, mailbox.GrantDead:
	}
	g.worker.reaches(before)
	next, err := g.Records.Save(ctx, id, fact, revision)
	if err != nil {
		return next, err
	}
	if fact.Tokens != nil {
		g.worker.mu.Lock()
		g.worker.saved[fact.Tokens.Attempt] = true
		g.worker.mu.Unlock()
	}
	g.worker.reaches(after)
	return next, nil
}

// Redeem is Microsoft's token endpoint: a code is good once, and when it comes again its tokens are revoked.
func (w *redeemer) Redeem(_ context.Context, _ string, c mailbox.Consent) (mailbox.Tokens, error) {
	attempt := c.Code.Reveal()[25:]
	if w.wire.isDead() {
		return mailbox.Tokens{}, errDead
	}
	time.Sleep(100 * time.Millisecond)
	err := w.spend(attempt)
	w.reaches(afterSend)
	time.Sleep(100 * time.Millisecond)
	switch {
	case w.wire.isDead():
		return mailbox.Tokens{}, errDead
	case err != nil:
		return mailbox.Tokens{}, err
	}
	return w.tokens(), nil
}

func (s *stage) spend(attempt string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	if s.sends[attempt]++; s.saved[attempt] {
		s.breaches = append(s.breaches, fmt.Sprintf("send %d of %s left after its tokens were saved", s.sends[attempt], attempt))
	}
	if s.spent[attempt] {
		s.revoked[attempt] = !s.merciful
		return &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS54005", Reason: mailbox.CodeExpired, Forecast: fault.ByPerson}
	}
	s.spent[attempt] = true
	return nil
}

// Prove is Graph, which does not accept what was revoked.
func (w *redeemer) Prove(_ context.Context, _ string, t mailbox.Tokens, _ string) (events.Proof, error) {
	if w.wire.isDead() {
		return events.Proof{}, errDead
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.revoked[t.Attempt] {
		return events.Proof{}, &fault.Fault{Class: fault.Permanent, Code: "graph_401", Forecast: fault.ByPerson}
	}
	return events.Proof{TenantID: "tid", ObjectID: "oid"}, nil
}

// Refresh is never asked: no token of this test is that old.
func (*redeemer) Refresh(context.Context, string, mailbox.Tokens) (mailbox.Tokens, error) {
	return mailbox.Tokens{Access: secret.New("a")}, errors.New("nothing is refreshed here")
}
