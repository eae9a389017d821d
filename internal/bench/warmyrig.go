package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/service"
)

// warmyRig is one account of a simulated Warmy, a store, and warmy-workers, each in a process of its own.
type warmyRig struct {
	sim     *simulator
	store   *store
	bus     *bus.Bus
	ids     *seal.IDs
	people  *seal.Box
	grants  *seal.Box
	perMin  int
	workers []*child
	client  http.Client
	raw     *nats.Conn

	burned  atomic.Int64 // attempts that were counted against an event
	unclear atomic.Int64 // events that went to the listing
	dead    atomic.Int64
	why     atomic.Pointer[string] // the last dead letter's code
}

// warmyLatency is what every answer of the simulated Warmy takes, give or take a half.
const warmyLatency = 60 * time.Millisecond

func newWarmyRig(ctx context.Context, perMinute int) (*warmyRig, error) {
	r := &warmyRig{perMin: perMinute, client: http.Client{Timeout: 10 * time.Second}}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *warmyRig) open(ctx context.Context) (err error) {
	if r.sim, err = startSimulator(ctx, redirectURI, "--check-tokens=false", "--latency", warmyLatency.String(), "--jitter", (warmyLatency / 2).String()); err != nil {
		return err
	}
	if r.store, err = startStore(ctx, false); err != nil {
		return err
	}
	keys := app.Data(r.store.dir)
	if err := keys.Prepare(); err != nil {
		return err
	}
	if r.people, err = seal.OpenPeople(keys.Keys()); err != nil {
		return err
	}
	if r.ids, err = seal.OpenIDs(keys.Keys()); err != nil {
		return err
	}
	if r.grants, err = seal.OpenGrants(keys.Keys()); err != nil {
		return err
	}
	if r.bus, err = openBus(ctx, r.store.url, "bench"); err != nil {
		return err
	}
	if _, err = r.bus.Ensure(ctx); err != nil {
		return err
	}
	return r.listen()
}

// listen counts what becomes of events that did not succeed at once.
func (r *warmyRig) listen() (err error) {
	if r.raw, err = nats.Connect(r.store.url); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	for subject, count := range map[string]func(*nats.Msg){
		"kindling.at.register.>":  r.later,
		"kindling.at.reconcile.>": r.lookedUp,
		"kindling.dead.>":         r.buried,
	} {
		if _, err := r.raw.Subscribe(subject, count); err != nil {
			return fmt.Errorf("listen to %s: %w", subject, err)
		}
	}
	return r.raw.Flush()
}

// lookedUp counts an event that goes to the listing. What is no event is a worker's look at its rights.
func (r *warmyRig) lookedUp(m *nats.Msg) {
	if json.Valid(m.Data) {
		r.unclear.Add(1)
		r.later(m)
	}
}

// buried counts a dead letter, and keeps what it was for.
func (r *warmyRig) buried(m *nats.Msg) {
	var l events.DeadLetter
	if json.Unmarshal(m.Data, &l) == nil {
		r.dead.Add(1)
		r.why.Store(&l.Code)
	}
}

// later counts an event that comes back with an attempt less.
func (r *warmyRig) later(m *nats.Msg) {
	var e events.Event
	if json.Unmarshal(m.Data, &e) == nil && e.Failed > 0 {
		r.burned.Add(1)
	}
}

func (r *warmyRig) close() error {
	var errs []error
	for _, w := range r.workers {
		errs = append(errs, w.stop())
	}
	if r.raw != nil {
		r.raw.Close()
	}
	if r.bus != nil {
		r.bus.Close()
	}
	if r.store != nil {
		errs = append(errs, r.store.close())
	}
	if r.sim != nil && r.sim.child != nil {
		errs = append(errs, r.sim.stop())
	}
	return errors.Join(errs...)
}

// begin gives n mailboxes of a campaign to this many workers; the last one has this clock.
func (r *warmyRig) begin(ctx context.Context, campaign string, n, workers int, clock wrongTime) error {
	evs, err := r.seed(ctx, campaign, n)
	if err != nil {
		return err
	}
	if err := r.publish(ctx, evs); err != nil {
		return err
	}
	return r.work(ctx, workers, clock)
}

// work starts n workers; the last one has this clock.
func (r *warmyRig) work(ctx context.Context, n int, clock wrongTime) error {
	for i := range n {
		its := wrongTime{}
		if i == n-1 {
			its = clock
		}
		c, err := r.worker(ctx, its)
		if err != nil {
			return err
		}
		r.workers = append(r.workers, c)
	}
	return nil
}

func (r *warmyRig) worker(ctx context.Context, clock wrongTime) (*child, error) {
	var ready told
	return startChild(ctx, &ready, "warmed", "--url", r.store.url, "--dir", r.store.dir, "--warmy", r.sim.Warmy,
		"--calls", strconv.Itoa(r.perMin), "--clock", clock.by.String(), "--clock-after", clock.after.String())
}

// kill ends a worker as a power cut does, and starts another one in its place.
func (r *warmyRig) kill(ctx context.Context, i int) error {
	_ = r.workers[i].cmd.Process.Kill() // it cannot be gone: nobody else ends it
	_ = r.workers[i].cmd.Wait()
	c, err := r.worker(ctx, wrongTime{})
	if err == nil {
		r.workers[i] = c
	}
	return err
}

// seed saves n mailboxes of a campaign with fresh grants, and returns their events.
func (r *warmyRig) seed(ctx context.Context, campaign string, n int) ([]events.Event, error) {
	evs, now := make([]events.Event, n), time.Now()
	invitations := make([]mailbox.Invitation, n)
	for i, address := range addresses(campaign, n) {
		invitations[i] = invitationOf(r.ids, campaign, address)
		id := invitations[i].ID
		e := events.New(events.RegistrationRequested, "bench-"+id, now)
		e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = id, "main", "main", campaign, "bench"
		e.Proof = &events.Proof{TenantID: "bench", ObjectID: id}
		evs[i] = e
	}
	if err := storeInvitations(ctx, r.bus.InvitationStore(r.people), invitations); err != nil {
		return nil, err
	}
	return evs, r.seedGrants(ctx, evs, now)
}

func (r *warmyRig) seedGrants(ctx context.Context, evs []events.Event, now time.Time) error {
	grants := r.bus.Grants(r.grants)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for _, e := range evs {
		group.Go(func() error {
			_, err := grants.Save(ctx, e.Mailbox, mailbox.Grant{
				Phase: mailbox.GrantSaved, Attempt: "bench", Since: now, Tokens: &mailbox.Tokens{
					Access: secret.New("access"), Refresh: secret.New("refresh"), Expiry: now.Add(24 * time.Hour), Attempt: "bench", SavedAt: now,
				},
			}, 0)
			return err
		})
	}
	return group.Wait()
}

// publish stores the events as the token-worker does.
func (r *warmyRig) publish(ctx context.Context, evs []events.Event) error {
	for chunk := range slices.Chunk(evs, 256) {
		if err := r.bus.Publish(ctx, chunk...); err != nil {
			return err
		}
	}
	return nil
}

// warmyLedger is what the simulated Warmy has seen.
type warmyLedger struct {
	Summary struct {
		Calls         map[string]map[string]int `json:"calls"`
		MostPerMinute int                       `json:"most_per_minute"`
		CreatedTwice  int                       `json:"created_twice"`
	} `json:"summary"`
	Mailboxes []struct {
		Email     string    `json:"email"`
		CreatedAt time.Time `json:"created_at"`
	} `json:"mailboxes"`
}

// calls counts all calls that arrived.
func (l warmyLedger) calls() int {
	n := 0
	for op := range l.Summary.Calls {
		n += l.of(op)
	}
	return n
}

func (l warmyLedger) of(op string) int {
	n := 0
	for _, count := range l.Summary.Calls[op] {
		n += count
	}
	return n
}

func (r *warmyRig) ledger(ctx context.Context, query string) (l warmyLedger, err error) {
	err = r.ask(ctx, http.MethodGet, "/_sim/ledger"+query, nil, &l)
	return l, err
}

// outage takes Warmy down with this status for every call, or with 0 brings it back.
func (r *warmyRig) outage(ctx context.Context, status int) error {
	return r.ask(ctx, http.MethodPost, "/_sim/faults", map[string]any{"switches": map[string]int{"outage": status}}, nil)
}

func (r *warmyRig) ask(ctx context.Context, method, path string, body, answer any) error {
	return askJSON(ctx, &r.client, method, r.sim.Warmy+path, body, answer)
}

// next waits until more calls than before have arrived, and returns their number and when it saw that.
func (r *warmyRig) next(ctx context.Context, before int) (int, time.Time, error) {
	for {
		l, err := r.ledger(ctx, "")
		if err != nil || l.calls() > before {
			return l.calls(), time.Now(), err
		}
		if pause(ctx, ledgerEvery); ctx.Err() != nil {
			return 0, time.Time{}, context.Cause(ctx)
		}
	}
}

// ledgerEvery is how often the simulator is asked while something is awaited.
const ledgerEvery = 20 * time.Millisecond

func warmedCommand(env service.Env) *cobra.Command {
	var url, dir, warmy string
	var calls int
	var clock wrongTime
	cmd := &cobra.Command{
		Use: "warmed", Hidden: true, Args: cobra.NoArgs, Short: "A warmy-worker, in a process of its own",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := configFor(&simulator{}, app.Data(dir))
			cfg.Apps[0].Authority, cfg.Apps[0].GraphURL = warmy, warmy // asked for nothing
			cfg.Accounts[0].BaseURL, cfg.Accounts[0].CallsPerMinute = warmy, calls
			cfg.NATS.URL = url
			return workWarmed(cmd.Context(), env, cfg, clock)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "of NATS")
	cmd.Flags().StringVar(&dir, "dir", "", "of the keys")
	cmd.Flags().StringVar(&warmy, "warmy", "", "URL of the simulated Warmy")
	cmd.Flags().IntVar(&calls, "calls", 55, "a minute, of the whole fleet")
	cmd.Flags().DurationVar(&clock.by, "clock", 0, "by how much this process's clock is ahead")
	cmd.Flags().DurationVar(&clock.after, "clock-after", 0, "how long after its start")
	return cmd
}
