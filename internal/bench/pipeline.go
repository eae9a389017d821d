package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
)

// pipeline measures from the publishing of sealed codes to the last registration, for both ways to sync.
func (o options) pipeline(ctx context.Context) ([]figure, error) {
	s, err := startSimulator(ctx, redirectURI)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.stop() }()
	var bare, lazy, always, writes []float64
	for round := range o.rounds {
		rate, err := o.bareRound(ctx, s, fmt.Sprintf("bare%d", round))
		if err != nil {
			return nil, err
		}
		bare = append(bare, rate)
		for _, mode := range []struct {
			lazy bool
			into *[]float64
		}{{true, &lazy}, {false, &always}} {
			rate, perMailbox, err := o.pipelineRound(ctx, s, fmt.Sprintf("pipe%d%t", round, mode.lazy), mode.lazy)
			if err != nil {
				return nil, err
			}
			*mode.into = append(*mode.into, rate/bare[round])
			writes = append(writes, perMailbox)
			fmt.Fprintf(o.env.Stderr, "  round %d: bare %.0f/s, pipeline %.0f/s (lazy sync: %t)\n", round+1, bare[round], rate, mode.lazy)
		}
	}
	reference := fmt.Sprintf("bare loop at %.0f/s", median(bare))
	// A process writes for itself, too: leases, legs. That is a handful in all, which two digits do not show.
	perMailbox := math.Round(100*median(writes)) / 100
	return []figure{
		atLeast(figure{name: "pipeline, default sync", value: rateOf(lazy, bare), against: reference}, median(lazy), 0.5),
		atLeast(figure{name: "pipeline, sync always", value: rateOf(always, bare), against: reference}, median(always), 0.28),
		atMost(figure{
			name: "writes per mailbox, code to registered", value: fmt.Sprintf("%.2f", perMailbox), against: "counted by the streams",
		}, perMailbox, 8, "%.0f"),
	}, nil
}

func rateOf(ratios, bare []float64) string {
	return fmt.Sprintf("%.0f mailboxes/s, ratio %.2f", median(ratios)*median(bare), median(ratios))
}

func (o options) bareRound(ctx context.Context, s *simulator, prefix string) (float64, error) {
	addresses := addresses(prefix, o.mailboxes)
	codes, err := s.codes(ctx, addresses)
	if err != nil {
		return 0, err
	}
	took, err := s.bare(ctx, addresses, codes)
	return float64(o.mailboxes) / took.Seconds(), err
}

func addresses(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d@bench.example", prefix, i)
	}
	return all
}

// pipelineRound brings mailboxes through both workers and counts what was written for each.
func (o options) pipelineRound(ctx context.Context, s *simulator, prefix string, lazy bool) (rate, writes float64, err error) {
	p, err := newRig(ctx, s, lazy)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	events, err := p.prepare(ctx, s, prefix, o.mailboxes)
	if err != nil {
		return 0, 0, err
	}
	before, err := p.bus.Writes(ctx)
	if err != nil {
		return 0, 0, err
	}
	took, err := p.measure(ctx, events)
	if err != nil {
		return 0, 0, err
	}
	after, err := p.bus.Writes(ctx)
	if err != nil {
		return 0, 0, err
	}
	n := float64(o.mailboxes)
	return n / took.Seconds(), float64(after.Stored-before.Stored+after.Acked-before.Acked) / n, nil
}

// rig is a store with both workers, in this process.
type rig struct {
	dir    string
	server *embed.Server
	host   app.Host
	bus    *bus.Bus
	people *seal.Box
	ids    *seal.IDs
	codes  *seal.Sealer
}

func newRig(ctx context.Context, s *simulator, lazy bool) (*rig, error) {
	dir, err := os.MkdirTemp("", "kindling-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	p := &rig{dir: dir}
	data := app.Data(dir)
	err = data.Prepare()
	if err == nil {
		p.server, err = embed.Start(embed.Options{Dir: filepath.Join(dir, "nats"), LazySync: lazy}) //nolint:contextcheck // it lives until Stop
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.host = app.NewHost(configFor(s, data), slog.New(slog.DiscardHandler))
	p.host.NATS.InProcess, p.host.NATS.Unsynced = p.server, lazy
	return p, p.open(ctx)
}

func (p *rig) open(ctx context.Context) error {
	cfg := p.host.NATS
	cfg.Name, cfg.Log = "bench", p.host.Log
	var err error
	if p.bus, err = bus.Connect(ctx, cfg); err != nil {
		return err
	}
	if _, err = p.bus.Ensure(ctx); err != nil {
		return err
	}
	keys := p.host.Config.Keys.Dir
	if p.people, err = seal.OpenPeople(keys); err != nil {
		return err
	}
	if p.ids, err = seal.OpenIDs(keys); err != nil {
		return err
	}
	p.codes, err = seal.OpenCodesPublic(keys)
	return err
}

func (p *rig) close() error {
	p.bus.Close()
	return errors.Join(p.server.Stop(), os.RemoveAll(p.dir))
}

// prepare invites the mailboxes and returns a code event for each, sealed as the edge seals it.
func (p *rig) prepare(ctx context.Context, s *simulator, prefix string, n int) ([]events.Event, error) {
	invitations, err := p.invite(ctx, addresses(prefix, n))
	if err != nil {
		return nil, err
	}
	codes, err := s.codes(ctx, addresses(prefix, n))
	if err != nil {
		return nil, err
	}
	evs := make([]events.Event, n)
	for i, inv := range invitations {
		if evs[i], err = p.codeEvent(inv, codes[i]); err != nil {
			return nil, err
		}
	}
	return evs, nil
}

// invite stores an invitation for each address.
func (p *rig) invite(ctx context.Context, addresses []string) ([]mailbox.Invitation, error) {
	invitations := make([]mailbox.Invitation, len(addresses))
	for i, address := range addresses {
		invitations[i] = p.invitation(address)
	}
	return invitations, storeInvitations(ctx, p.bus.InvitationStore(p.people), invitations)
}

func storeInvitations(ctx context.Context, store bus.InvitationStore, invitations []mailbox.Invitation) error {
	for chunk := range slices.Chunk(invitations, 500) {
		if _, err := store.Create(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (p *rig) invitation(address string) mailbox.Invitation {
	return invitationOf(p.ids, "bench", address)
}

func invitationOf(ids *seal.IDs, campaign, address string) mailbox.Invitation {
	id, now := ids.Mailbox("main", address), time.Now()
	return mailbox.Invitation{
		ID: id, Campaign: campaign, App: "main", Account: "main", Address: address, FromName: "Bench", TariffPlanTypeID: 41, SpeedMode: "fast",
		LinkGeneration: 1, LinkHash: mailbox.Hash(ids.Link(id, 1)), InvitedAt: now, LinkExpiresAt: now.Add(time.Hour),
	}
}

// codeEvent is what the edge publishes for a code.
func (p *rig) codeEvent(inv mailbox.Invitation, code string) (events.Event, error) {
	const attempt = "bench"
	plain, err := mailbox.Consent{
		Code: secret.New(code), Verifier: secret.New(verifier), Nonce: secret.New(nonce), Tenant: "organizations", RedirectURI: redirectURI,
	}.Marshal()
	if err != nil {
		return events.Event{}, err
	}
	now := time.Now()
	e := events.New(events.CodeReceived, mailbox.CodeSeed(inv.ID, attempt, mailbox.Hash(code)), now)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt, e.Deadline = inv.ID, inv.App, inv.Account, inv.Campaign, attempt, now.Add(mailbox.CodeLife)
	e.Sealed, err = p.codes.Seal(plain, mailbox.SealedCodeContext(inv.ID, attempt))
	return e, err
}

var errNotYet = errors.New("the round was cut off")

func (p *rig) measure(ctx context.Context, evs []events.Event) (time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return app.TokenWorker(running, p.host) })
	group.Go(func() error { return app.WarmyWorker(running, p.host) })
	counter := &registered{want: int64(len(evs)), done: make(chan struct{}), ready: make(chan struct{})}
	group.Go(func() error { return p.bus.Facts(p.people).Follow(running, counter) })
	select {
	case <-counter.ready:
	case <-running.Done():
		return 0, group.Wait()
	}
	began := time.Now()
	for chunk := range slices.Chunk(evs, 256) {
		if err := p.bus.Publish(running, chunk...); err != nil {
			return 0, err
		}
	}
	select {
	case <-counter.done:
	case <-running.Done():
		return 0, errors.Join(errNotYet, group.Wait())
	}
	took := time.Since(began)
	stop()
	return took, group.Wait()
}

// registered counts the mailboxes that Warmy has.
type registered struct {
	want  int64
	count atomic.Int64
	ready chan struct{}
	done  chan struct{}
}

func (*registered) Campaign(mailbox.Campaign)         {}
func (*registered) Invitation(mailbox.Invitation)     {}
func (*registered) Claim(mailbox.ID, mailbox.Claim)   {}
func (*registered) Grant(mailbox.ID, mailbox.Grant)   {}
func (*registered) AdminConsent(mailbox.AdminConsent) {}
func (r *registered) CaughtUp()                       { close(r.ready) }
func (r *registered) Registration(_ mailbox.ID, reg mailbox.Registration) {
	if reg.Phase == mailbox.Registered && r.count.Add(1) == r.want {
		close(r.done)
	}
}
