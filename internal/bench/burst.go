package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/mailbox"
	"kindling/internal/service"
)

// burstBench sends many owners through the edge within minutes, as they come when a campaign's mail goes out: each
// presses the button, consents at the simulated Microsoft, and comes back at a moment of his own. Edge, NATS with sync
// always and token-worker run here; Warmy comes later and has no part in it.
type burstBench struct {
	options

	plan burstPlan
}

// burstPlan is how much comes, and how Microsoft answers meanwhile.
type burstPlan struct {
	consents        int
	within          time.Duration // of the last arrival after the first one
	latency, jitter time.Duration // of every answer of Microsoft and Graph
	throttled       float64       // share of the sends of codes that are answered 429
	patience        time.Duration // for what is under way after the last arrival
}

func (o options) burstPlan() burstPlan {
	p := burstPlan{
		consents: 10_000, within: 5 * time.Minute, latency: 150 * time.Millisecond, jitter: 75 * time.Millisecond, throttled: 0.02,
		patience: mailbox.CodeLife + time.Minute,
	}
	if o.quick || o.brief {
		p.consents, p.within = 500, 15*time.Second
	}
	return p
}

func (o options) burst(ctx context.Context) ([]figure, error) {
	return burstBench{options: o, plan: o.burstPlan()}.run(ctx)
}

func (b burstBench) run(ctx context.Context) (figures []figure, err error) {
	address, err := unusedAddress(ctx)
	if err != nil {
		return nil, err
	}
	base := "http://" + address
	s, err := b.startMicrosoft(ctx, base+"/oauth-callback/main")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	p, err := newRig(ctx, s, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	edge := &p.host.Config.Edge
	edge.Listen, edge.PublicURL = address, base
	p.host.Config.Apps[0].RedirectURI = base + "/oauth-callback/main"
	return b.measure(ctx, p, s, base)
}

// unusedAddress is one on which nothing listens.
func unusedAddress(ctx context.Context) (string, error) {
	listener, err := service.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// measure runs edge and token-worker until every consent has come to its end.
func (b burstBench) measure(ctx context.Context, p *rig, s *simulator, base string) ([]figure, error) {
	invitations, err := p.invite(ctx, addresses("burst", b.plan.consents))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return app.Edge(running, p.host) })
	group.Go(func() error { return app.TokenWorker(running, p.host) })
	seen := newOutcomes(len(invitations))
	group.Go(func() error { return p.bus.Facts(p.people).Follow(running, seen) })
	var figures []figure
	var slowest time.Duration
	group.Go(func() (err error) {
		slowest, err = watchDisk(running)
		return err
	})
	group.Go(func() error {
		defer stop()
		owners := &crowdOfBurst{base: base, sim: s, client: browser()}
		defer owners.client.CloseIdleConnections()
		if err := b.arrive(running, p, owners, invitations); err != nil {
			return err
		}
		b.settle(running, seen)
		var err error
		figures, err = b.figures(running, s, seen, invitations)
		figures = append(figures, remark("burst: pages that asked an owner to try again, or did not come", fmt.Sprint(owners.reloads.Load())))
		return err
	})
	err = group.Wait()
	return append(figures, remark("burst: longest append and sync of 4 KiB on the same disk meanwhile", slowest.Round(time.Millisecond).String())), err
}

// arrive lets every owner come at his moment, whether or not those before him are done: moments drawn evenly from the
// whole time, so that some come together and some alone. The draw is the same in every run.
func (b burstBench) arrive(ctx context.Context, p *rig, owners *crowdOfBurst, invitations []mailbox.Invitation) error {
	if err := service.Poll(ctx, func() error { _, err := visit(ctx, owners.client, http.MethodGet, owners.base+"/c/x", nil); return err }); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 33)) //nolint:gosec // arrivals need no secrecy
	moments := make([]time.Duration, len(invitations))
	for i := range moments {
		moments[i] = time.Duration(random.Int64N(int64(b.plan.within)))
	}
	slices.Sort(moments)
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i, inv := range invitations {
		pause(ctx, moments[i]-time.Since(began))
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return owners.consent(ctx, p.ids.Link(inv.ID, 1), inv.Address) })
	}
	return group.Wait()
}

// settle waits until every consent has an end, or must have had one.
func (b burstBench) settle(ctx context.Context, seen *outcomes) {
	timer := time.NewTimer(b.plan.patience)
	defer timer.Stop()
	select {
	case <-seen.all:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// figures says what became of the consents.
func (b burstBench) figures(ctx context.Context, s *simulator, seen *outcomes, invitations []mailbox.Invitation) ([]figure, error) {
	books, err := s.books(ctx)
	if err != nil {
		return nil, err
	}
	saved, late, other := seen.count(invitations)
	starts, saves := seen.waits(invitations, books.firstSends())
	if len(starts) == 0 || len(saves) == 0 {
		return nil, errors.New("no code was sent at all")
	}
	title := fmt.Sprintf("burst, %d consents in %v, sync always, %v ± %v and %.0f %% 429", b.plan.consents, b.plan.within, b.plan.latency, b.plan.jitter, 100*b.plan.throttled)
	start, save := percentile(starts, 0.99).Seconds(), percentile(saves, 0.99).Seconds()
	throttled := books.Summary.Calls["code"]["throttled"]
	return []figure{
		atMost(figure{
			name:    title + ": codes that missed their deadline",
			value:   fmt.Sprintf("%d (%d grants saved, %d ended otherwise)", late, saved, other),
			against: fmt.Sprintf("%d codes, %d sends answered 429", books.Summary.Codes, throttled),
		}, float64(late), 0, "%.0f"),
		atMost(figure{
			name:    "burst: code wait, from the edge's yes to the first answer of Microsoft's token endpoint, its latency included, p99",
			value:   spread(starts),
			against: "edge's time of the callback, and the simulator's of the send",
		}, start, 2, "%.0f s"),
		{
			name: "burst: from the edge's yes to the saved grant, 429s and their Retry-After included", value: spread(saves),
			against: fmt.Sprintf("p99 %.2f s", save), aim: "–", met: "–",
		},
		atMost(figure{
			name: "burst: grants revoked by a replay", value: fmt.Sprintf("%d (%d codes sent after their tokens)", books.Summary.RevokedByReplay, books.Summary.SentAfterTokens),
			against: "the simulator revokes on a replay",
		}, float64(books.Summary.RevokedByReplay), 0, "%.0f"),
	}, nil
}

func spread(sorted []time.Duration) string {
	return fmt.Sprintf("p50 %.2f s, p99 %.2f s, longest %.2f s", percentile(sorted, 0.5).Seconds(), percentile(sorted, 0.99).Seconds(), sorted[len(sorted)-1].Seconds())
}
