package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/service"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/msid"
)

// aliasWorld is the whole system with one operator, and owners whose accounts are not what was invited.
type aliasWorld struct {
	*api

	t        *testing.T
	world    *World
	data     string
	log      bytes.Buffer
	campaign string
}

// startAlias invites two mailboxes: sales@, which is an alias of the account not.sales@, and lone@, which is nobody's alias.
// more are lines of the Warmy account's settings.
func startAlias(t *testing.T, more ...string) *aliasWorld {
	t.Helper()
	return startListing(t, time.Second, more...)
}

// startListing is startAlias where the listing is asked so long after an unclear POST.
func startListing(t *testing.T, after time.Duration, more ...string) *aliasWorld {
	t.Helper()
	w := &aliasWorld{t: t, data: t.TempDir()}
	settings := Settings{Data: app.Data(w.data), CallsPerMinute: 60_000, ReconcileAfter: after, RetryBase: 500 * time.Millisecond, HoldFor: time.Second}
	var err error
	for _, address := range []*string{&settings.EdgeListen, &settings.ConsoleListen} {
		if *address, err = freeAddress(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	settings.PublicURL = "http://" + settings.EdgeListen
	w.world, err = NewWorld(t.Context(), WorldOptions{
		MicrosoftListen: "127.0.0.1:0", WarmyListen: "127.0.0.1:0", RedirectURI: settings.RedirectURI(), CallsPerMinute: 60_000, Seed: 5,
		Users: []msid.User{{Address: "not.sales@a.example", Aliases: []string{"Sales@a.example"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	settings.MicrosoftURL, settings.WarmyURL = w.world.MicrosoftURL(), w.world.WarmyURL()
	if err := errors.Join(settings.Data.Prepare(), settings.Write()); err != nil {
		t.Fatal(err)
	}
	w.add(settings, more)
	w.run(settings)
	token, err := os.ReadFile(settings.Data.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	w.api = newAPI("http://"+settings.ConsoleListen, secret.New(strings.TrimSpace(string(token))))
	w.poll("the console is ready", func() error { return w.do(t.Context(), http.MethodGet, "/status", "", nil, nil) })
	report, err := w.importCSV(t.Context(), "alias", []byte("email\nsales@a.example\nlone@a.example\n"))
	if err != nil || report.Invited != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	w.campaign = report.Campaign
	return w
}

// add gives the Warmy account more settings.
func (w *aliasWorld) add(settings Settings, lines []string) {
	w.t.Helper()
	text, err := os.ReadFile(settings.File())
	if err != nil {
		w.t.Fatal(err)
	}
	const last = "    calls_per_minute:"
	for _, line := range lines {
		text = bytes.Replace(text, []byte(last), []byte("    "+line+"\n"+last), 1)
	}
	if err := os.WriteFile(settings.File(), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *aliasWorld) run(settings Settings) {
	w.t.Helper()
	log := slog.New(service.Redact(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	cfg, err := app.LoadConfig(service.Env{Log: log, Getenv: func(string) string { return "" }, Environ: func() []string { return nil }}, settings.File(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.world.Serve(ctx) })
	group.Go(func() error {
		return app.Up(ctx, app.NewHost(cfg, log), app.UpOptions{Data: settings.Data, Embedded: true, LazySync: true})
	})
	w.t.Cleanup(func() {
		stop()
		if err := group.Wait(); err != nil {
			w.t.Errorf("the system ended with %v", err)
		}
		w.unreadable()
	})
}

// unreadable looks for the accounts that consented in everything that was stored and logged.
func (w *aliasWorld) unreadable() {
	w.t.Helper()
	texts := map[string][]byte{"the log": w.log.Bytes()}
	err := filepath.WalkDir(filepath.Join(w.data, "nats"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		texts[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for where, text := range texts {
		if lower := bytes.ToLower(text); bytes.Contains(lower, []byte("not.sales@")) || bytes.Contains(lower, []byte("not.lone@")) {
			w.t.Errorf("an address that consented is readable in %s", where)
		}
	}
}

func (w *aliasWorld) poll(what string, ask func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	if err := service.Poll(ctx, ask); err != nil {
		w.t.Fatalf("it never came true that %s: %v", what, err)
	}
}

// link is the link of an invited address.
func (w *aliasWorld) link(address string) console.LinkView {
	w.t.Helper()
	links, err := w.links(w.t.Context(), w.campaign)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range links {
		if l.Email == address {
			return l
		}
	}
	w.t.Fatalf("there is no link of %s", address)
	return console.LinkView{}
}

// consent has the owner consent with the account not.<address>, and waits until the mailbox is in one of the states.
func (w *aliasWorld) consent(l console.LinkView, want mailbox.State) console.MailboxView {
	w.t.Helper()
	if out, err := (crowd.Crowd{}).Visit(w.t.Context(), l.Link, l.Email, crowd.WrongAccount); err != nil || out.Stage != crowd.Returned {
		w.t.Fatalf("%+v, %v", out, err)
	}
	var m console.MailboxView
	w.poll("the mailbox is "+string(want), func() error {
		if err := w.do(w.t.Context(), http.MethodGet, "/mailboxes/"+l.Mailbox, "", nil, &m); err != nil {
			return err
		}
		if m.State != want {
			return errors.New("it is " + string(m.State))
		}
		return nil
	})
	return m
}

// TestAnAliasIsConnectedOnceAnOperatorAcceptsIt goes the whole way: the owner of an alias is turned away, the operator
// sees both addresses and accepts, the owner consents once more, and Warmy has the mailbox.
func TestAnAliasIsConnectedOnceAnOperatorAcceptsIt(t *testing.T) {
	t.Parallel()
	w := startAlias(t)
	sales := w.link("sales@a.example")
	m := w.consent(sales, mailbox.StateMismatch)
	if m.Code != "identity_alias" || m.Consented == nil || m.Consented.Address != "not.sales@a.example" || !m.Consented.Alias {
		t.Fatalf("%+v, consented %+v", m, m.Consented)
	}
	var done console.Accepted
	body := console.Acceptance{TenantID: m.Consented.TenantID, ObjectID: m.Consented.ObjectID}
	if err := w.post(t.Context(), "/mailboxes/"+m.ID+"/accept-alias", body, &done); err != nil || done.Link != sales.Link {
		t.Fatalf("%+v, %v", done, err)
	}
	w.consent(sales, mailbox.StateRegistered)

	lone := w.link("lone@a.example")
	m = w.consent(lone, mailbox.StateMismatch)
	if err := w.post(t.Context(), "/mailboxes/"+m.ID+"/accept-alias", console.Acceptance{}, &done); err == nil || !strings.Contains(err.Error(), "no alias") {
		t.Errorf("a different mailbox is accepted as an alias: %v", err)
	}
	if err := w.post(t.Context(), "/mailboxes/"+m.ID+"/accept-alias", console.Acceptance{OtherAccount: true, Reason: "took over"}, &done); err != nil {
		t.Fatal(err)
	}
	w.consent(lone, mailbox.StateRegistered)
	if s := w.world.Warmy.Summary(); s.Mailboxes != 2 || s.CreatedTwice != 0 {
		t.Errorf("%+v", s)
	}
}
