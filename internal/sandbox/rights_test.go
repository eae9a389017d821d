package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/campaign/sample"
	"kindling/internal/console"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/service"
	"kindling/internal/sim/crowd"
)

// denials collects what a log says of rights that are missing.
type denials struct {
	slog.Handler

	mu    *sync.Mutex
	found *[]string
}

func (d denials) Enabled(context.Context, slog.Level) bool { return true }

func (d denials) WithAttrs([]slog.Attr) slog.Handler { return d }

func (d denials) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		text := a.Value.String()
		if err, ok := a.Value.Any().(error); ok {
			text = err.Error()
		}
		if strings.Contains(text, bus.ErrDenied.Error()) || strings.Contains(text, "NATS does not let") || strings.Contains(text, "ermissions") {
			d.mu.Lock()
			*d.found = append(*d.found, r.Message+": "+text)
			d.mu.Unlock()
		}
		return true
	})
	return nil
}

// guardedFleet is the whole system on a server with users: every process in it has its own, and its rights alone.
type guardedFleet struct {
	options  DemoOptions
	world    *World
	settings Settings
	hosts    []app.Host
	denied   denials
}

// rightsCampaign is a campaign of mailboxes.
func rightsCampaign(t *testing.T, mailboxes int) []byte {
	t.Helper()
	var csv bytes.Buffer
	if err := sample.Write(&csv, mailboxes); err != nil {
		t.Fatal(err)
	}
	return csv.Bytes()
}

func startGuarded(t *testing.T, out *bytes.Buffer) *guardedFleet {
	t.Helper()
	conf, err := os.ReadFile("../../deployments/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	g := bustest.NewGuarded(t, conf)
	if _, err := g.Connect(bus.ProcessAdmin).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &guardedFleet{denied: denials{slog.DiscardHandler, new(sync.Mutex), new([]string)}}
	f.options = DemoOptions{CSV: rightsCampaign(t, 60), Seed: 3, Fast: true, Env: service.Env{
		Stdout: out, Stderr: out, Log: slog.New(f.denied), Getenv: func(string) string { return "" }, Environ: func() []string { return nil },
	}}
	if f.world, f.settings, err = f.options.world(t.Context(), app.Data(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.LoadConfig(f.options.Env, f.settings.File(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.world.Serve(ctx) })
	for process, run := range map[string]func(context.Context, app.Host) error{
		bus.ProcessEdge: app.Edge, bus.ProcessTokenWorker: app.TokenWorker, bus.ProcessWarmyWorker: app.WarmyWorker, bus.ProcessConsole: app.Console,
	} {
		h := app.NewHost(cfg, f.options.Env.Log)
		h.NATS = g.As(process)
		f.hosts = append(f.hosts, h)
		group.Go(func() error { return run(ctx, h) })
	}
	t.Cleanup(func() {
		stop()
		if err := group.Wait(); err != nil {
			t.Errorf("the processes ended with %v", err)
		}
	})
	return f
}

// TestThePipelineRunsWithOneUserForEachProcess takes every way through the system that asks something of NATS: import,
// consents, troubles, dead letters and their replay, timers, the console's view, a hold and a release, and the figures.
func TestThePipelineRunsWithOneUserForEachProcess(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := startGuarded(t, &out)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := f.options.play(ctx, f.world, f.settings); err != nil {
		t.Fatalf("%v\n%s\n%q", err, out.String(), *f.denied.found)
	}
	for _, want := range []string{" 1 dead\n", "60 mailboxes:  57 registered  2 needs_consent  1 mismatch\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out.String())
		}
	}
	f.holdAndRelease(ctx, t)
	f.measure(t)
	if found := *f.denied.found; len(found) > 0 {
		t.Errorf("rights are missing:\n%s", strings.Join(found, "\n"))
	}
}

// holdAndRelease has 30 more owners consent while Warmy's leg is held by the operator, and lets it go.
func (f *guardedFleet) holdAndRelease(ctx context.Context, t *testing.T) {
	t.Helper()
	token, err := os.ReadFile(f.settings.Data.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	operator := newAPI("http://"+f.settings.ConsoleListen, secret.New(strings.TrimSpace(string(token))))
	if got := setLeg(ctx, t, operator, "hold", "warmy/main"); got != leg.Held {
		t.Fatalf("the leg is %s", got)
	}
	report, err := operator.importCSV(ctx, "thirty", rightsCampaign(t, 90))
	if err != nil || report.Invited != 30 {
		t.Fatalf("invited %d: %v", report.Invited, err)
	}
	links, err := operator.links(ctx, report.Campaign)
	if err != nil {
		t.Fatal(err)
	}
	crowd.Crowd{Concurrency: 8}.Run(ctx, plans(links, nil), func(p crowd.Plan, _ crowd.Outcome, err error) {
		if err != nil {
			t.Errorf("the owner of %s: %v", p.Address, err)
		}
	})
	f.wait(ctx, t, operator, report.Campaign, mailbox.StateGranted)
	if got := setLeg(ctx, t, operator, "release", "warmy/main"); got != leg.Open {
		t.Fatalf("the leg is %s", got)
	}
	f.wait(ctx, t, operator, report.Campaign, mailbox.StateRegistered)
}

// wait returns when all thirty mailboxes are in state.
func (f *guardedFleet) wait(ctx context.Context, t *testing.T, operator *api, campaign string, state mailbox.State) {
	t.Helper()
	err := service.Poll(ctx, func() error {
		view, err := operator.campaign(ctx, campaign)
		if err == nil && view.Funnel.ByState[state] != 30 {
			err = fmt.Errorf("the mailboxes are %v", view.Funnel.ByState)
		}
		return err
	})
	if err != nil {
		t.Fatalf("not all are %s: %v\n%q", state, err, *f.denied.found)
	}
}

func setLeg(ctx context.Context, t *testing.T, operator *api, deed, name string) leg.State {
	t.Helper()
	var list console.LegList
	if err := operator.post(ctx, "/legs/"+deed, console.LegChange{Name: name, Cause: "test"}, &list); err != nil {
		t.Fatal(err)
	}
	for _, l := range list.Legs {
		if l.Name == name {
			return l.State
		}
	}
	return ""
}

// measure reads the figures of every process, and asks whether it is ready.
func (f *guardedFleet) measure(t *testing.T) {
	t.Helper()
	up := 0
	for _, h := range f.hosts {
		families, err := h.Registry.Gather()
		if err != nil {
			t.Error(err)
		}
		for _, family := range families {
			if family.GetName() == "kindling_bus_up" {
				up += int(family.GetMetric()[0].GetGauge().GetValue())
			}
		}
		if err := ready(h); err != nil {
			t.Error(err)
		}
	}
	if up != 3 {
		t.Errorf("%d processes could read their figures, want both workers and the console", up)
	}
}

func ready(h app.Host) error {
	answer := httptest.NewRecorder()
	h.Health.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/readyz", nil))
	if answer.Code != http.StatusOK {
		return errors.New("not ready: " + answer.Body.String())
	}
	return nil
}
