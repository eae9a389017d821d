package cli_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/service"
)

// storeOf runs a server whose streams are as they should be, and gives an administrator's way to it.
func storeOf(t *testing.T, dir, listen string) (*embed.Server, jetstream.JetStream) {
	t.Helper()
	s, err := embed.Start(embed.Options{Dir: dir, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Connect(context.Background(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	return s, js
}

func alterStream(t *testing.T, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	change(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// streamSettings are all streams with all their settings.
func streamSettings(t *testing.T, js jetstream.JetStream) map[string]jetstream.StreamConfig {
	t.Helper()
	all := make(map[string]jetstream.StreamConfig)
	lister := js.ListStreams(t.Context())
	for info := range lister.Info() {
		all[info.Config.Name] = info.Config
	}
	if err := lister.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// admin is a terminal whose configuration names the server.
func admin(t *testing.T) (*terminal, jetstream.JetStream) {
	t.Helper()
	s, js := storeOf(t, t.TempDir(), "127.0.0.1:0")
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &terminal{dir: t.TempDir(), vars: map[string]string{"KINDLING_NATS_URL": s.ClientURL()}}, js
}

func TestTheStoreIsCheckedAndMigrated(t *testing.T) {
	t.Parallel()
	tm, js := admin(t)
	if r := tm.run(t, "store", "check").want(t, service.ExitOK); !strings.Contains(r.talk, "fit for use") || !strings.Contains(r.out, "nats.monitoring_url") {
		t.Errorf("out %q talk %q", r.out, r.talk)
	}
	alterStream(t, js, "KV_grants", func(s *jetstream.StreamConfig) { s.AllowDirect = true })
	alterStream(t, js, "CODE", func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 })
	if err := js.DeleteStream(t.Context(), "DEAD"); err != nil {
		t.Fatal(err)
	}
	before := streamSettings(t, js)

	r := tm.run(t, "store", "check").want(t, service.ExitConfig)
	for _, want := range []string{"KV_grants", "allow_direct", "a read may miss the last write", "keep", "yours to choose", "create", "DEAD"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in:\n%s", want, r.out)
		}
	}
	tm.run(t, "store", "migrate", "--dry-run").want(t, service.ExitOK)
	tm.run(t, "store", "migrate", "--dry-run", "--yes", "-o", "csv").want(t, service.ExitOK)
	tm.run(t, "store", "migrate").want(t, service.ExitUsage) // nobody to ask
	tm.run(t, "store", "migrate", "--yes", "--also", "max_byts").want(t, service.ExitUsage)
	if diff := cmp.Diff(before, streamSettings(t, js)); diff != "" {
		t.Fatalf("a dry run, or a refused one, changed something:\n%s", diff)
	}

	r = tm.run(t, "store", "migrate", "--yes", "-o", "json").want(t, service.ExitOK)
	var plan bus.MigrationPlan
	if err := json.Unmarshal([]byte(r.out), &plan); err != nil || len(plan.Steps) != 3 || plan.Steps[0].Action != bus.Create {
		t.Errorf("%v\n%s", err, r.out)
	}
	if !strings.Contains(r.talk, "done: create DEAD") || !strings.Contains(r.talk, "done: update KV_grants") {
		t.Errorf("talk %q", r.talk)
	}
	tm.run(t, "store", "check").want(t, service.ExitOK)
	after := streamSettings(t, js)
	if after["KV_grants"].AllowDirect || after["CODE"].MaxBytes != 1<<20 || after["DEAD"].Name == "" {
		t.Errorf("after: %+v", after)
	}
	if r := tm.run(t, "store", "migrate", "--yes").want(t, service.ExitOK); !strings.Contains(r.talk, "nothing to change") {
		t.Errorf("talk %q", r.talk)
	}
	tm.run(t, "store", "migrate", "--yes", "--also", "max_bytes").want(t, service.ExitOK)
	if got := streamSettings(t, js)["CODE"].MaxBytes; got != 2<<30 {
		t.Errorf("max_bytes is %d", got)
	}
}

func TestWhatCannotBeChangedIsLeftWithItsRemedy(t *testing.T) {
	t.Parallel()
	tm, js := admin(t)
	alterStream(t, js, "KV_control", func(s *jetstream.StreamConfig) { s.DenyDelete = true })
	alterStream(t, js, "KV_grants", func(s *jetstream.StreamConfig) { s.AllowDirect = true })
	for _, verb := range [][]string{{"store", "check"}, {"store", "migrate", "--dry-run"}, {"store", "migrate", "--yes"}, {"store", "migrate", "--yes"}} {
		if r := tm.run(t, verb...).want(t, service.ExitConfig); !strings.Contains(r.out, "recreate") || !strings.Contains(r.out, "nats stream backup KV_control") {
			t.Errorf("%v: %s", verb, r.out)
		}
	}
	if streamSettings(t, js)["KV_grants"].AllowDirect {
		t.Error("what could be changed was not")
	}
}

func TestTheStoreOfKindlingUpIsOpenedWhileItDoesNotRun(t *testing.T) {
	t.Parallel()
	tm := &terminal{dir: t.TempDir(), vars: map[string]string{}}
	if r := tm.run(t, "store", "check", "--data", tm.dir).want(t, service.ExitConfig); !strings.Contains(r.talk, "no message store") {
		t.Errorf("talk %q", r.talk)
	}
	s, js := storeOf(t, filepath.Join(tm.dir, "nats"), "")
	alterStream(t, js, "KV_grants", func(s *jetstream.StreamConfig) { s.AllowDirect = true })
	if r := tm.run(t, "store", "check", "--data", tm.dir).want(t, service.ExitUnavailable); !strings.Contains(r.talk, "stop kindling up first") {
		t.Errorf("talk %q", r.talk)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	tm.run(t, "store", "migrate", "--data", tm.dir, "--yes").want(t, service.ExitOK)
	tm.run(t, "store", "check", "--data", tm.dir).want(t, service.ExitOK)
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	tm := &terminal{dir: t.TempDir(), vars: map[string]string{}}
	tm.run(t, "store", "check", "--url", "nats://127.0.0.1:1").want(t, service.ExitUnavailable)
	tm.run(t, "store", "check", "--url", "http://127.0.0.1:1").want(t, service.ExitConfig)
	tm.run(t, "store").want(t, service.ExitUsage)
	tm.run(t, "store", "mend").want(t, service.ExitUsage)
}

func TestAServerWithoutRoomIsAWrongSettingAndNoOutage(t *testing.T) {
	t.Parallel()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxStore: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop() //nolint:errcheck // the test is over
	tm := &terminal{dir: t.TempDir(), vars: map[string]string{"KINDLING_NATS_URL": s.ClientURL()}}
	r := tm.run(t, "store", "migrate", "--yes").want(t, service.ExitConfig)
	if !strings.Contains(r.talk, "no room for the stream AUDIT") || !strings.Contains(r.talk, "kindling store check") {
		t.Errorf("talk %q", r.talk)
	}
}
