package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/console"
	"kindling/internal/secret"
	"kindling/internal/service"
	"kindling/internal/sim/crowd"
)

// DemoOptions are the demo's flags.
type DemoOptions struct {
	CSV     []byte // the campaign
	Latency time.Duration
	Seed    uint64
	Fast    bool
	Keep    bool
	Dir     string // empty: a temporary one
	Env     service.Env
}

// pace is what the demo changes so that a person need not wait: everything else is as in real use.
type pace struct {
	callsPerMinute int           // of the simulated Warmy account
	reconcileAfter time.Duration // until Warmy's listing is asked about an unclear registration
	owners         int           // at once
}

func (o DemoOptions) pace() pace {
	if o.Fast {
		return pace{callsPerMinute: 60_000, reconcileAfter: time.Second, owners: 32}
	}
	return pace{callsPerMinute: 600, reconcileAfter: 5 * time.Second, owners: 8}
}

// demoLimit bounds the whole demo: what has not settled by then is a defect, and is reported as one.
const demoLimit = 10 * time.Minute

// Demo runs the whole system in this process, brings a campaign on board through its console, lets things go wrong, and
// puts right what can be put right without a person.
func Demo(ctx context.Context, o DemoOptions) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	dir, cleanup, err := o.directory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	log, closeLog, err := o.openLog(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	o.Env.Log = log
	world, settings, err := o.world(ctx, app.Data(dir))
	if err != nil {
		return err
	}
	cfg, err := app.LoadConfig(o.Env, settings.File(), nil)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return world.Serve(running) })
	group.Go(func() error {
		return app.Up(running, app.NewHost(cfg, o.Env.Log), app.UpOptions{Data: settings.Data, Embedded: true})
	})
	group.Go(func() error {
		defer stop()
		return o.play(running, world, settings)
	})
	return group.Wait()
}

func (o DemoOptions) directory() (string, func() error, error) {
	nothing := func() error { return nil }
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return "", nothing, fmt.Errorf("make the demo's directory: %w", err)
		}
		return o.Dir, nothing, nil
	}
	dir, err := os.MkdirTemp("", "kindling-demo-")
	if err != nil {
		return "", nothing, fmt.Errorf("make a directory for the demo: %w", err)
	}
	if o.Keep {
		return dir, nothing, nil
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// openLog keeps the log out of the funnel's way: it goes to a file beside the data, and is gone with it unless --keep.
func (o DemoOptions) openLog(dir string) (*slog.Logger, func() error, error) {
	file, err := os.OpenFile(filepath.Join(dir, "kindling.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the demo's own directory
	if err != nil {
		return nil, nil, fmt.Errorf("open the demo's log: %w", err)
	}
	handler := service.Redact(slog.NewJSONHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(handler), file.Close, nil
}

func (o DemoOptions) world(ctx context.Context, data app.Data) (*World, Settings, error) {
	p := o.pace()
	settings := Settings{
		Data: data, CallsPerMinute: p.callsPerMinute, ReconcileAfter: p.reconcileAfter, RetryBase: 500 * time.Millisecond, HoldFor: 5 * time.Second,
	}
	for _, address := range []*string{&settings.EdgeListen, &settings.ConsoleListen} {
		free, err := freeAddress(ctx)
		if err != nil {
			return nil, settings, err
		}
		*address = free
	}
	settings.PublicURL = "http://" + settings.EdgeListen
	world, err := NewWorld(ctx, WorldOptions{
		MicrosoftListen: "127.0.0.1:0", WarmyListen: "127.0.0.1:0", RedirectURI: settings.RedirectURI(),
		CallsPerMinute: p.callsPerMinute, Latency: o.Latency, Seed: o.Seed,
	})
	if err != nil {
		return nil, settings, err
	}
	settings.MicrosoftURL, settings.WarmyURL = world.MicrosoftURL(), world.WarmyURL()
	if err := data.Prepare(); err != nil {
		return nil, settings, err
	}
	return world, settings, settings.Write()
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := service.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// play is the demo's operator and its owners.
func (o DemoOptions) play(ctx context.Context, world *World, settings Settings) error {
	token, err := os.ReadFile(settings.Data.TokenFile())
	if err != nil {
		return fmt.Errorf("read the operator's token: %w", err)
	}
	operator := newAPI("http://"+settings.ConsoleListen, secret.New(strings.TrimSpace(string(token))))
	if err := service.Poll(ctx, func() error { return operator.do(ctx, http.MethodGet, "/status", "", nil, nil) }); err != nil {
		return fmt.Errorf("the console did not get ready: %w", err)
	}
	o.introduce(settings)
	report, err := operator.importCSV(ctx, "demo", o.CSV)
	if err != nil {
		return err
	}
	o.say("\nImported %d rows: %d invited, %d refused, in %.2f s.", report.Rows, report.Invited, report.Refused, report.Seconds)
	links, err := operator.links(ctx, report.Campaign)
	if err != nil {
		return err
	}
	addresses := make([]string, len(links))
	for i, l := range links {
		addresses[i] = l.Email
	}
	cast := NewCast(addresses, o.Seed)
	if err := cast.Stage(world); err != nil {
		return err
	}
	o.say("The owners open their links. One in ten meets trouble:\n  %s\n", strings.Join(cast.Count(), "\n  "))
	if err := o.consents(ctx, operator, report.Campaign, links, cast); err != nil {
		return err
	}
	if err := o.result(ctx, operator, report.Campaign, cast); err != nil {
		return err
	}
	if err := o.mend(ctx, world, operator, report.Campaign, cast); err != nil {
		return err
	}
	return o.prove(world)
}

func (o DemoOptions) introduce(s Settings) {
	o.say(`Kindling, all of it in this one process: an embedded NATS server (every write on disk before it counts), callback-ingest,
token-worker, warmy-worker and console. Microsoft and Warmy are simulators; nothing leaves this machine.

  console   http://%s   (token in %s)
  data      %s   (log in kindling.log)
  Warmy     allows this demo's account %d calls a minute; a real account has 60. Its listing is asked about an unclear
            registration after %s instead of a minute. All else is as in real use.`,
		s.ConsoleListen, filepath.Base(s.Data.TokenFile()), string(s.Data), s.CallsPerMinute, s.ReconcileAfter)
}

// consents lets every owner follow the link, and shows the funnel until nothing moves any more.
func (o DemoOptions) consents(ctx context.Context, operator *api, campaign string, links []console.LinkView, cast Cast) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var failed error
		people := crowd.Crowd{Concurrency: o.pace().owners}
		people.Run(ctx, plans(links, cast), func(p crowd.Plan, _ crowd.Outcome, err error) {
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("the owner of %s: %w", p.Address, err))
			}
		})
		return failed
	})
	group.Go(func() error { return o.watch(ctx, operator, campaign, len(links)) })
	return group.Wait()
}

func plans(links []console.LinkView, cast Cast) func(func(crowd.Plan) bool) {
	return func(yield func(crowd.Plan) bool) {
		for _, l := range links {
			if !yield(crowd.Plan{Link: l.Link, Address: l.Email, Behaviour: cast.Behaviour(l.Email)}) {
				return
			}
		}
	}
}

// watch shows the funnel until it has settled.
func (o DemoOptions) watch(ctx context.Context, operator *api, campaign string, total int) error {
	f := newFunnel(o.Env.Stdout, total, time.Now())
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		view, err := operator.campaign(ctx, campaign)
		if err != nil {
			return err
		}
		if settled(view) {
			f.end(view, time.Now())
			return nil
		}
		f.show(view, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the campaign did not settle: %w", context.Cause(ctx))
		}
	}
}

func (o DemoOptions) result(ctx context.Context, operator *api, campaign string, cast Cast) error {
	mailboxes, err := operator.mailboxes(ctx, campaign)
	if err != nil {
		return err
	}
	o.say("")
	if err := printTable(o.Env.Stdout, mailboxes, cast); err != nil {
		return err
	}
	printCounts(o.Env.Stdout, mailboxes)
	return nil
}

// mend is the operator's part: the setting that Warmy refused is put right, then what time or a setting can fix is replayed.
func (o DemoOptions) mend(ctx context.Context, world *World, operator *api, campaign string, cast Cast) error {
	world.Warmy.ClearFaults()
	before := time.Now()
	counts, err := operator.replay(ctx, campaign, "the tariff plan is enabled now")
	if err != nil {
		return err
	}
	o.say("\nThe operator has the tariff plan enabled at Warmy and replays what time or a setting can fix: %d dead letters.\n"+
		"What only a person can fix is left: those mailboxes need their links again (kindling campaign links).\n", counts)
	if err := service.Poll(ctx, func() error { return operator.movedSince(ctx, campaign, before) }); err != nil {
		return err
	}
	return o.result(ctx, operator, campaign, cast)
}

// prove asks the simulators what really happened.
func (o DemoOptions) prove(world *World) error {
	ms, wa := world.Microsoft.Summary(), world.Warmy.Summary()
	o.say("\nWhat the simulators saw: %d codes issued, %d sent again after their tokens had arrived; %d mailboxes created, %d created twice, "+
		"%d with somebody else's tokens; at most %d calls to Warmy in any minute.",
		ms.Codes, ms.SentAfterTokens, wa.Mailboxes, wa.CreatedTwice, wa.ForeignTokens, wa.MostPerMinute)
	if ms.SentAfterTokens+wa.CreatedTwice+wa.ForeignTokens > 0 {
		return errors.New("a promise was broken: see the simulators' figures above")
	}
	return nil
}

func (o DemoOptions) say(format string, args ...any) { fmt.Fprintf(o.Env.Stdout, format+"\n", args...) }
