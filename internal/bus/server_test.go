package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
)

func TestVersionsAreComparedByTheirNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		level   int
		fits    bool
	}{
		{"2.12.0", 2, true},
		{"2.15.2", 5, true},
		{"v2.12.1", 2, true},
		{"2.12.0+build.7", 2, true},
		{"3.0.0", 9, true},
		{"2.13.0-RC.1", 3, true},
		{"2.100.0", 9, true},
		{"nightly", 5, true}, // what is no number is judged by its level
		{"nightly", 1, false},
		{"", 0, false},
		{"2.12.0-RC.1", 2, false},
		{"2.11.9", 1, false},
		{"2.9.25", 0, false},
		{"1.99.99", 9, false},
		{"2.15.2", 1, false}, // in a cluster whose leader is old
	} {
		err := bus.CheckVersion(c.version, c.level)
		if (err == nil) != c.fits {
			t.Errorf("%q level %d: %v", c.version, c.level, err)
		}
		told := err == nil || errors.Is(err, bus.ErrUnfit) && strings.Contains(err.Error(), "2.12.0") && strings.Contains(err.Error(), c.version)
		if !told {
			t.Errorf("%q: %v does not name what is seen and what is needed", c.version, err)
		}
	}
}

// oldServer speaks as much of the protocol as it takes to ask a server for JetStream.
func oldServer(t *testing.T, version string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go speak(conn, version)
		}
	}()
	return "nats://" + listener.Addr().String()
}

func speak(conn net.Conn, version string) {
	defer conn.Close() //nolint:errcheck // the client may be gone
	fmt.Fprintf(conn, `INFO {"server_id":"OLD","version":%q,"proto":1,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n", version)
	lines := bufio.NewScanner(conn)
	sid := ""
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0:
		case words[0] == "PING":
			fmt.Fprint(conn, "PONG\r\n")
		case words[0] == "SUB":
			sid = words[len(words)-1]
		case words[0] == "PUB" && words[1] == "$JS.API.INFO":
			const answer = `{"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,"storage":0,"api":{"total":1,"errors":0}}`
			fmt.Fprintf(conn, "MSG %s %s %d\r\n%s\r\n", words[2], sid, len(answer), answer)
		}
	}
}

func connectTo(t *testing.T, cfg bus.Config) (*bus.Bus, error) {
	t.Helper()
	cfg.Name, cfg.Log = "test", slog.New(slog.DiscardHandler)
	b, err := bus.Connect(t.Context(), cfg)
	if err == nil {
		t.Cleanup(b.Close)
	}
	return b, err
}

func TestAServerThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	_, err := connectTo(t, bus.Config{URL: oldServer(t, "2.10.29")})
	if !errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), "version 2.10.29") || !strings.Contains(err.Error(), "needs 2.12.0") {
		t.Errorf("%v", err)
	}
}

// natsServer runs a server of other making than Kindling's own.
func natsServer(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{
		ServerName: "other", Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}
	change(opts)
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server did not start")
	}
	return s
}

func monitorOf(s *server.Server) string { return "http://" + s.MonitorAddr().String() }

func TestAServerWithoutJetStreamIsNamed(t *testing.T) {
	t.Parallel()
	s := natsServer(t, func(o *server.Options) { o.JetStream = false })
	_, err := connectTo(t, bus.Config{URL: s.ClientURL()})
	if !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), "no JetStream answers") {
		t.Errorf("%v", err)
	}
}

func TestAnAccountWithoutJetStreamIsRefused(t *testing.T) {
	t.Parallel()
	s := natsServer(t, func(o *server.Options) {
		account := server.NewAccount("KINDLING")
		o.Accounts = []*server.Account{account}
		o.NoAuthUser = "kindling"
		o.Users = []*server.User{{Username: "kindling", Password: "kindling", Account: account}}
	})
	_, err := connectTo(t, bus.Config{URL: s.ClientURL()})
	if !errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), "not enabled for this NATS account") {
		t.Errorf("%v", err)
	}
}

func TestStreamsThatCannotBeMadeAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options  embed.Options
		replicas int
		before   func(context.Context, jetstream.JetStream) error
		want     string
	}{
		"three replicas on one server": {replicas: 3, want: "nats.replicas is 3, and the NATS server is no cluster (write nats.replicas: 1, or connect to the cluster)"},
		"no room":                      {options: embed.Options{MaxStore: gib}, want: "no room for the stream CODE of at most 2 GiB"},
		"somebody else's stream": {want: "another stream takes kindling.code.>", before: func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVERYTHING", Subjects: []string{"kindling.>"}})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.options.Dir, c.options.LazySync = t.TempDir(), true
			s, err := embed.Start(c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop() //nolint:errcheck // the test is over
			if c.before != nil {
				if err := c.before(t.Context(), byHand(t, s)); err != nil {
					t.Fatal(err)
				}
			}
			b, err := connectTo(t, bus.Config{InProcess: s, Replicas: c.replicas})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Ensure(t.Context()); !errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		})
	}
}

const gib = 1 << 30

func inspect(t *testing.T, cfg bus.Config) []bus.Finding {
	t.Helper()
	b, err := connectTo(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	found, err := b.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantFinding wants exactly one finding of this severity with these words, or none if there are no words.
func wantFinding(t *testing.T, found []bus.Finding, severity bus.Severity, words string) {
	t.Helper()
	switch {
	case words == "" && len(found) > 0:
		t.Errorf("found %v", found)
	case words == "":
	case len(found) != 1 || found[0].Severity != severity || !strings.Contains(found[0].String(), words):
		t.Errorf("want %s %q, got %v", severity, words, found)
	}
	if (bus.Unfit(found) != nil) != (severity == bus.Unsafe) {
		t.Errorf("%v is refused: %v", found, bus.Unfit(found))
	}
}

func TestAnEmbeddedServerThatDoesNotSyncIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	lazy := bustest.Server(t)
	synced, err := embed.Start(embed.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer synced.Stop() //nolint:errcheck // the test is over
	wantFinding(t, inspect(t, bus.Config{InProcess: lazy}), bus.Unsafe, "sync_interval: always")
	wantFinding(t, inspect(t, bus.Config{InProcess: lazy, Unsynced: true}), bus.Tolerated, "nats.allow_unsynced")
	wantFinding(t, inspect(t, bus.Config{InProcess: synced}), bus.Note, "")
}

func TestAServerThatIsSeenNotToSyncIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	lazy := natsServer(t, func(o *server.Options) { o.SyncInterval = 90 * time.Second })
	synced := natsServer(t, func(o *server.Options) { o.SyncAlways = true })
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":"no NATS"}`) }))
	t.Cleanup(stranger.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(closed.Close)
	for name, c := range map[string]struct {
		server   *server.Server
		monitor  string
		unsynced bool
		severity bus.Severity
		want     string
	}{
		"not seen":         {lazy, "", false, bus.Note, "nats.monitoring_url"},
		"synced":           {synced, monitorOf(synced), false, bus.Note, ""},
		"synced, a slash":  {synced, monitorOf(synced) + "/", false, bus.Note, ""},
		"not synced":       {lazy, monitorOf(lazy), false, bus.Unsafe, "the server other acknowledges before its disk has the message, and syncs every 1m30s"},
		"allowed":          {lazy, monitorOf(lazy), true, bus.Tolerated, "nats.allow_unsynced"},
		"another server's": {lazy, monitorOf(synced), false, bus.Tolerated, "is not the server at nats.url"},
		"no NATS server":   {lazy, stranger.URL, false, bus.Tolerated, "not a NATS server's"},
		"not found":        {lazy, closed.URL, false, bus.Tolerated, "it answers 404"},
		"no answer":        {lazy, "http://127.0.0.1:1", false, bus.Tolerated, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := inspect(t, bus.Config{URL: c.server.ClientURL(), Monitor: c.monitor, Unsynced: c.unsynced})
			wantFinding(t, found, c.severity, c.want)
		})
	}
	t.Run("one of two", func(t *testing.T) {
		t.Parallel()
		found := inspect(t, bus.Config{URL: lazy.ClientURL(), Monitor: monitorOf(synced) + ", " + monitorOf(lazy)})
		if len(found) != 2 || bus.Unfit(found) == nil {
			t.Errorf("found %v", found)
		}
	})
}

func TestAnAccountThatIsTooSmallIsWarnedOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits map[string]server.JetStreamAccountLimits
		want   []string
	}{
		"enough":     {map[string]server.JetStreamAccountLimits{"": {MaxStore: 100 * gib, MaxStreams: 100, MaxConsumers: 1000}}, nil},
		"no limits":  {map[string]server.JetStreamAccountLimits{"": {MaxStore: -1, MaxStreams: -1, MaxConsumers: -1}}, nil},
		"everything": {map[string]server.JetStreamAccountLimits{"": {MaxStore: gib, MaxStreams: 5, MaxConsumers: 3, StoreMaxStreamBytes: gib}}, []string{"store 1 GiB", "streams of 1 GiB", "5 streams", "3 consumers"}},
		"a tier":     {map[string]server.JetStreamAccountLimits{"R1": {MaxStore: gib, MaxStreams: -1, MaxConsumers: -1}}, []string{"store 1 GiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natsServer(t, func(o *server.Options) {
				account := server.NewAccount("KINDLING")
				o.Accounts = []*server.Account{account}
				o.NoAuthUser = "kindling"
				o.SyncAlways = true
				o.Users = []*server.User{{Username: "kindling", Password: "kindling", Account: account}}
				o.JetStreamMaxStore = 200 * gib
			})
			account, err := s.LookupAccount("KINDLING")
			if err == nil {
				err = account.EnableJetStream(c.limits, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			found := inspect(t, bus.Config{URL: s.ClientURL(), Monitor: monitorOf(s)})
			if len(found) != len(c.want) {
				t.Fatalf("found %v", found)
			}
			for i, f := range found {
				if f.Severity != bus.Tolerated || !strings.Contains(f.What, c.want[i]) {
					t.Errorf("finding %s is %v, want %q", strconv.Itoa(i), f, c.want[i])
				}
			}
		})
	}
}
