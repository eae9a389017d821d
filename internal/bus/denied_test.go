package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/users"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// usersConf is deployments/nats/users.conf without the lines that hold one of the given texts.
func usersConf(t *testing.T, without ...string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../deployments/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !slices.ContainsFunc(without, func(w string) bool { return strings.Contains(line, w) }) {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, ""))
}

// quickly fails when do takes nearly as long as the time-out that a denial used to look like, and returns its error.
func quickly(t *testing.T, do func() error) error {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- do() }()
	limit := time.NewTimer(5 * time.Second) // half of the request's time-out
	defer limit.Stop()
	select {
	case err := <-failed:
		return err
	case <-limit.C:
		t.Fatal("a denial looks like a time-out")
		return nil
	}
}

func wantDenied(t *testing.T, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, bus.ErrDenied) {
		t.Fatalf("error is %v, want a denial", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error is %q, want it to say %q", err, text)
		}
	}
}

func registration(n int) events.Event {
	return events.Event{
		Version: events.Version, ID: fmt.Sprintf("denied%d", n), Kind: events.RegistrationRequested, Mailbox: strings.Repeat("a", 24),
		App: "main", Account: "main", Campaign: "c", At: time.Now(),
	}
}

func TestADeniedPublishSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	edge := g.Connect(bus.ProcessEdge)
	for name, evs := range map[string][]events.Event{"one": {registration(1)}, "several": {registration(2), registration(3)}} {
		err := quickly(t, func() error { return edge.Publish(t.Context(), evs...) })
		wantDenied(t, err, "callback-ingest", `"kindling.register.main.`, "grant")
		if !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%s: %v is not ErrUnavailable: an owner would not be told to try again", name, err)
		}
	}
	err := edge.Ready(t.Context())
	wantDenied(t, err, `"kindling.register.main.`)
}

func TestADeniedRequestSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t, "MSG.GET.KV_grants", "CONSUMER.PAUSE.REFRESH"))
	_ = ensured(t, g)
	worker := g.Connect(bus.ProcessTokenWorker)
	for name, c := range map[string]struct {
		do      func(ctx context.Context) error
		missing string
	}{
		"read a key": {func(ctx context.Context) error {
			_, _, err := worker.Grants(nil).Load(ctx, "x")
			return err
		}, "$JS.API.STREAM.MSG.GET.KV_grants"},
		"write a key of another's": {func(ctx context.Context) error {
			_, err := worker.Registrations().Save(ctx, "x", mailbox.Registration{}, 0)
			return err
		}, "$KV.registrations.x"},
		"pause": {func(ctx context.Context) error {
			_ = bus.CreateConsumer(ctx, worker, "REFRESH", "refresh-main", "kindling.refresh.main.>")
			return worker.Legs().Hold(ctx, "microsoft/main", "test", "test")
		}, "$JS.API.CONSUMER.PAUSE.REFRESH.refresh-main"},
		"discard a dead letter": {func(ctx context.Context) error {
			return worker.DeadLetters().Discard(ctx, 1)
		}, "$JS.API.STREAM.MSG.DELETE.DEAD"},
		"follow every fact": {func(ctx context.Context) error {
			return worker.Facts(nil).Follow(ctx, nobody{})
		}, "$JS.API.CONSUMER.CREATE.KV_"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := quickly(t, func() error { return c.do(t.Context()) })
			wantDenied(t, err, "token-worker", c.missing)
		})
	}
}

// nobody listens.
type nobody struct{}

func (nobody) Campaign(mailbox.Campaign)                     {}
func (nobody) Invitation(mailbox.Invitation)                 {}
func (nobody) Claim(mailbox.ID, mailbox.Claim)               {}
func (nobody) Grant(mailbox.ID, mailbox.Grant)               {}
func (nobody) Registration(mailbox.ID, mailbox.Registration) {}
func (nobody) AdminConsent(mailbox.AdminConsent)             {}
func (nobody) CaughtUp()                                     {}

// ensured has the administrator make the streams.
func ensured(t *testing.T, g *bustest.Guarded) *bus.Bus {
	t.Helper()
	admin := g.Connect(bus.ProcessAdmin)
	if drifts, err := admin.Ensure(t.Context()); err != nil || len(drifts) > 0 {
		t.Fatalf("Ensure: %v, %v", drifts, err)
	}
	return admin
}

func TestOnlyTheAdministratorMakesStreams(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	worker := g.Connect(bus.ProcessTokenWorker)
	err := quickly(t, func() error { _, err := worker.Ensure(t.Context()); return err })
	wantDenied(t, err, "$JS.API.STREAM.CREATE.", "kindling store migrate")
	ensured(t, g)
	if drifts, err := worker.Ensure(t.Context()); err != nil || len(drifts) > 0 {
		t.Errorf("Ensure with every stream in place: %v, %v", drifts, err)
	}
}

func TestAProcessThatHearsNoAnswersSaysSo(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, []byte(strings.ReplaceAll(string(usersConf(t)), "_INBOX_console.>", "_INBOX_other.>")))
	err := quickly(t, func() error { _, err := bus.Connect(t.Context(), g.As(bus.ProcessConsole)); return err })
	wantDenied(t, err, "subscribe to", "_INBOX_console.")
}

func TestAnUnknownUserIsDenied(t *testing.T) {
	t.Parallel()
	g, other := bustest.NewGuarded(t, usersConf(t)), bustest.NewGuarded(t, usersConf(t))
	cfg := g.As(bus.ProcessConsole)
	cfg.CredsFile = other.As(bus.ProcessConsole).CredsFile
	err := quickly(t, func() error { _, err := bus.Connect(t.Context(), cfg); return err })
	wantDenied(t, err, "console", "nats.creds_file")
}

func TestRightsAreCheckedTogether(t *testing.T) {
	t.Parallel()
	missing := []string{"kindling.at.register.>", "$KV.registrations.>", "$JS.ACK.REGISTER.>", "$JS.API.CONSUMER.MSG.NEXT.REGISTER.*"}
	g := bustest.NewGuarded(t, usersConf(t, missing...))
	admin := ensured(t, g)
	err := quickly(t, func() error { return g.Connect(bus.ProcessWarmyWorker).CheckRights(t.Context()) })
	wantDenied(t, err, missing...)
	if n := strings.Count(err.Error(), "grant"); n != len(missing) {
		t.Errorf("%d rights are reported, want %d: %v", n, len(missing), err)
	}
	for _, process := range users.Processes() {
		if process == bus.ProcessWarmyWorker {
			continue
		}
		if err := g.Connect(process).CheckRights(t.Context()); err != nil {
			t.Errorf("%s: %v", process, err)
		}
	}
	for _, stream := range bus.Streams(admin) {
		if n, err := bus.Waiting(t.Context(), admin, stream); err != nil || n != 0 {
			t.Errorf("after the checks %s holds %d messages, error %v", stream, n, err)
		}
	}
}

func TestARightThatIsTakenAwayAndGivenBack(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	ensured(t, g)
	edge := g.Connect(bus.ProcessEdge)
	save := func(id string) error {
		return quickly(t, func() error { _, err := edge.Claims().Save(t.Context(), id, mailbox.Claim{}, 0); return err })
	}
	if err := errors.Join(save("one"), edge.Ready(t.Context())); err != nil {
		t.Fatal(err)
	}
	g.Reload(usersConf(t, "$KV.claims.>"))
	wantDenied(t, save("two"), `"$KV.claims.two"`, `grant "$KV.claims.>"`)
	wantDenied(t, edge.Ready(t.Context()), `"$KV.claims.two"`)
	g.Reload(usersConf(t))
	if err := errors.Join(save("two"), edge.Ready(t.Context())); err != nil {
		t.Errorf("the right is there again: %v", err)
	}
}

func TestWhatTheServerSaysOfADenial(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		`Permissions Violation for Publish to "$KV.grants.m"`:                                 `publish to "$KV.grants.m"`,
		`Permissions Violation for Subscription to "a.>"`:                                     `subscribe to "a.>"`,
		`Permissions Violation for Subscription to "a" using queue "q"`:                       `subscribe to "a"`,
		`Permissions Violation for Subscription to "a" using queue "q" (sid "7")`:             `subscribe to "a"`,
		`Permissions Violation for Publish with Reply of "$SYS.x"`:                            `publish to "$SYS.x"`,
		`Permissions Violation for Publish to "with \"quotes\" and \x07"`:                     `publish to "with \"quotes\" and \a"`,
		`Permissions Violation for Publish to "kindling.register.a.s1.m"`:                     `grant "kindling.register.>"`,
		`Permissions Violation for Publish to "$JS.API.STREAM.CREATE.CODE"`:                   "kindling store migrate",
		`Permissions Violation for Publish to "$JS.API.CONSUMER.PAUSE.REFRESH.refresh-main"`:  `grant "$JS.API.CONSUMER.PAUSE.REFRESH.*"`,
		`Permissions Violation for Publish to "what.nobody.needs"`:                            `grant "what.nobody.needs"`,
		`Permissions Violation for Subscription to "_INBOX_token-worker.x.*"`:                 `grant "_INBOX_token-worker.>"`,
		`Permissions Violation for Subscription to "_INBOX_token-worker.x.*" using queue "q"`: `grant "_INBOX_token-worker.>"`,
	} {
		d := bus.NewDenied(bus.ProcessTokenWorker, slog.New(slog.DiscardHandler))
		d.Report(said)
		wantDenied(t, d.Current(), want, "token-worker")
	}
	d := bus.NewDenied(bus.ProcessTokenWorker, slog.New(slog.DiscardHandler))
	d.Report("something new")
	if err := d.Current(); err != nil {
		t.Errorf("words nobody knows are a denial of %v", err)
	}
}

func TestADenialThatIsNotMetAgainIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := bus.NewDenied(bus.ProcessEdge, slog.New(slog.DiscardHandler))
		d.Report(`Permissions Violation for Publish to "a"`)
		time.Sleep(59 * time.Second)
		wantDenied(t, d.Current(), `"a"`)
		time.Sleep(2 * time.Second)
		if err := d.Current(); err != nil {
			t.Errorf("after a minute: %v", err)
		}
		d.Report(`Permissions Violation for Subscription to "_INBOX_callback-ingest.x.*"`)
		time.Sleep(time.Hour)
		wantDenied(t, d.Current(), "_INBOX_callback-ingest.") // no answer is heard until the connection is a new one
	})
}

func TestARightHoldsItsSubjects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		right, subject string
		want           bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"a.*", "a", false},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a.b", true},
		{"*", "a", true},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"a.*.>", "a.b", false},
		{"a.*.>", "a.b.c", true},
	} {
		if got := bus.Matches(c.right, c.subject); got != c.want {
			t.Errorf("%s holds %s: %v, want %v", c.right, c.subject, got, c.want)
		}
	}
}

func TestTheAdministratorMigratesWithTheRightsOfItsUser(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	admin := g.Connect(bus.ProcessAdmin)
	migrate := func() []bus.Step {
		plan, err := admin.MigrationPlan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done, err := admin.Migrate(t.Context(), plan, "Ada")
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done, want := len(migrate()), len(bus.Streams(admin)); done != want {
		t.Errorf("%d streams were made, want %d", done, want)
	}
	worker := g.Connect(bus.ProcessTokenWorker)
	if err := bus.CreateConsumer(t.Context(), worker, "REFRESH", "refresh-main", "kindling.refresh.main.>"); err != nil {
		t.Fatal(err)
	}
	if err := bus.LimitDeliveries(t.Context(), worker, "REFRESH", "refresh-main"); err != nil {
		t.Fatal(err)
	}
	if done := migrate(); len(done) != 1 || done[0].Consumer != "refresh-main" {
		t.Errorf("the consumer that differs is not put right: %v", done)
	}
	if _, err := worker.MigrationPlan(t.Context()); !errors.Is(err, bus.ErrDenied) {
		t.Errorf("a worker lists the consumers: %v", err)
	}
	if n, err := bus.Waiting(t.Context(), admin, "AUDIT"); err != nil || n < 2 {
		t.Errorf("the audit trail holds %d entries, error %v", n, err)
	}
}
