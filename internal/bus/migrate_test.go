package bus_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
)

// settings are all settings of all streams and consumers, by name.
func settings(t *testing.T, js jetstream.JetStream) map[string]any {
	t.Helper()
	all := make(map[string]any)
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		all[info.Config.Name] = info.Config
		stream, err := js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			all[info.Config.Name+"/"+c.Name] = c.Config
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// trail are the entries of the audit trail.
func trail(t *testing.T, js jetstream.JetStream) []events.AuditEntry {
	t.Helper()
	stream, err := js.Stream(t.Context(), "AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	var all []events.AuditEntry
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var e events.AuditEntry
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func planOf(t *testing.T, b *bus.Bus, also ...string) bus.MigrationPlan {
	t.Helper()
	plan, err := b.MigrationPlan(t.Context(), also...)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func outline(plan bus.MigrationPlan) []string {
	lines := []string{}
	for _, s := range plan.Steps {
		line := string(s.Action) + " " + s.Name()
		for _, d := range s.Drifts {
			line += " " + d.Setting
		}
		lines = append(lines, line)
	}
	return lines
}

// byHandWith makes one stream with another setting, then all others as they should be.
func byHandWith(t *testing.T, b *bus.Bus, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	cfg := bus.StreamWanted(b, name)
	change(&cfg)
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAMigrationMendsWhatIsUnsafeAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, c := range streamDrifts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Server(t)
			b, js := bare(t, s), byHand(t, s)
			byHandWith(t, b, js, c.stream, c.change)
			before := settings(t, js)
			plan := planOf(t, b)
			if diff := cmp.Diff(before, settings(t, js)); diff != "" {
				t.Errorf("making a plan changed something:\n%s", diff)
			}
			done, err := b.Migrate(t.Context(), plan, "test")
			if err != nil {
				t.Fatal(err)
			}
			var left []string // what must be as it was
			byHandOnly := strings.Contains(strings.Join(c.want, "\n"), "unsafe") && strings.Contains(strings.Join(c.want, "\n"), "fixed")
			for _, line := range c.want {
				if byHandOnly || strings.HasPrefix(line, "tolerated") {
					left = append(left, line)
				}
			}
			drifts, err := b.Ensure(t.Context())
			if diff := cmp.Diff(left, append([]string(nil), summary(drifts)...)); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if changed := len(c.want) > len(left); (len(done) == 1) != changed || (len(trail(t, js)) > 0) != changed {
				t.Errorf("%d steps, audit trail %+v", len(done), trail(t, js))
			}
			after := settings(t, js)
			delete(before, c.stream)
			delete(after, c.stream)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("another stream was changed:\n%s", diff)
			}
		})
	}
}

func TestAMigrationGoesInASafeOrderAndIsAudited(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bustest.Connect(t, s), byHand(t, s)
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"REGISTER":  func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld },
		"KV_grants": func(s *jetstream.StreamConfig) { s.AllowDirect = true },
		"CODE":      func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 },
	} {
		cfg := bus.StreamWanted(b, name)
		change(&cfg)
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	cfg := bus.ConsumerWanted(events.Register, false, "main", 16)
	cfg.MaxDeliver = 5
	for _, consumer := range []jetstream.ConsumerConfig{cfg, {Durable: "peek", FilterSubject: "kindling.register.nobody.>", AckPolicy: jetstream.AckExplicitPolicy}} {
		if _, err := js.CreateConsumer(t.Context(), "REGISTER", consumer); err != nil {
			t.Fatal(err)
		}
	}
	for _, missing := range []string{"AUDIT", "DEAD"} {
		if err := js.DeleteStream(t.Context(), missing); err != nil {
			t.Fatal(err)
		}
	}
	plan := planOf(t, b)
	want := []string{
		"create AUDIT", "create DEAD", "update KV_grants allow_direct", "update REGISTER discard",
		"update REGISTER/register-main max_deliver", "keep CODE max_bytes", "keep REGISTER/peek name",
	}
	if diff := cmp.Diff(want, outline(plan)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if done, err := b.Migrate(t.Context(), plan, "local:ada"); err != nil || len(done) != 5 {
		t.Fatalf("%d steps: %v", len(done), err)
	}
	if diff := cmp.Diff([]string{"keep CODE max_bytes", "keep REGISTER/peek name"}, outline(planOf(t, b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	entries := trail(t, js)
	if len(entries) != 2 || entries[0].Outcome != "intent" || entries[1].Outcome != "done" || entries[0].Request != entries[1].Request {
		t.Fatalf("trail %+v", entries)
	}
	e := entries[0]
	target := "create AUDIT, create DEAD, update KV_grants, update REGISTER, update REGISTER/register-main"
	if e.Actor != "local:ada" || e.Action != "store.migrate" || e.Count != 5 || e.Target != target {
		t.Errorf("entry %+v", e)
	}
}

func TestAMigrationKeepsMessagesWindowsAndPauses(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bare(t, s), byHand(t, s)
	byHandWith(t, b, js, "REGISTER", func(s *jetstream.StreamConfig) { s.Discard, s.MaxMsgSize = jetstream.DiscardOld, 4096 })
	for _, mb := range []string{"mb1", "mb2"} {
		if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := bus.ConsumerWanted(events.Register, false, "main", 77)
	cfg.AckWait, cfg.BackOff = time.Second, []time.Duration{time.Second}
	if _, err := js.CreateConsumer(t.Context(), "REGISTER", cfg); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if _, err := js.PauseConsumer(t.Context(), "REGISTER", "register-main", until); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Migrate(t.Context(), planOf(t, b), "test"); err != nil {
		t.Fatal(err)
	}
	if len(planOf(t, b).Steps) > 0 {
		t.Errorf("left: %v", outline(planOf(t, b)))
	}
	consumer, err := js.Consumer(t.Context(), "REGISTER", "register-main")
	if err != nil {
		t.Fatal(err)
	}
	info := consumer.CachedInfo()
	if !info.Paused || info.Config.PauseUntil == nil || !info.Config.PauseUntil.Equal(until) || info.Config.MaxAckPending != 77 {
		t.Errorf("paused %v until %v, window %d", info.Paused, info.Config.PauseUntil, info.Config.MaxAckPending)
	}
	if n, err := bus.Waiting(t.Context(), b, "REGISTER"); err != nil || n != 2 {
		t.Errorf("%d messages, %v", n, err)
	}
}

func TestSettingsOfAnOperatorsChoiceAreTakenBackOnlyByName(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bare(t, s), byHand(t, s)
	byHandWith(t, b, js, "DEAD", func(s *jetstream.StreamConfig) { s.MaxBytes, s.MaxAge = 1<<20, time.Hour })
	if plan := planOf(t, b); len(plan.Changes()) > 0 {
		t.Errorf("plan %v", outline(plan))
	}
	plan := planOf(t, b, "max_bytes")
	if diff := cmp.Diff([]string{"update DEAD max_bytes", "keep DEAD max_age"}, outline(plan)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if _, err := b.Migrate(t.Context(), plan, "test"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keep DEAD max_age"}, outline(planOf(t, b, "max_bytes"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := b.MigrationPlan(t.Context(), "max_byts"); !errors.Is(err, bus.ErrNoSetting) || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("%v", err)
	}
}

func TestNothingIsChangedThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bustest.Connect(t, s), byHand(t, s)
	audit, grants := bus.StreamWanted(b, "AUDIT"), bus.StreamWanted(b, "KV_grants")
	audit.Sealed, audit.MaxAge, grants.AllowDirect = true, 0, true
	for _, cfg := range []jetstream.StreamConfig{audit, grants} {
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	before := settings(t, js)
	done, err := b.Migrate(t.Context(), planOf(t, b), "test")
	if err == nil || len(done) > 0 || !strings.Contains(err.Error(), "the audit trail cannot be written") {
		t.Errorf("%d steps: %v", len(done), err)
	}
	if diff := cmp.Diff(before, settings(t, js)); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
}

func TestAMigrationThatFailsStopsAndSaysSo(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bustest.Connect(t, s), byHand(t, s)
	for _, name := range []string{"KV_claims", "KV_grants", "KV_registrations"} {
		cfg := bus.StreamWanted(b, name)
		cfg.AllowDirect = true
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	plan := planOf(t, b)
	if err := js.DeleteStream(t.Context(), "KV_grants"); err != nil { // somebody is quicker
		t.Fatal(err)
	}
	done, err := b.Migrate(t.Context(), plan, "test")
	if err == nil || !strings.Contains(err.Error(), "update KV_grants") || len(done) != 1 || done[0].Stream != "KV_claims" {
		t.Errorf("%v: %v", done, err)
	}
	if entries := trail(t, js); len(entries) != 2 || entries[1].Outcome != "failed" {
		t.Errorf("trail %+v", entries)
	}
	if diff := cmp.Diff([]string{"create KV_grants", "update KV_registrations allow_direct"}, outline(planOf(t, b))); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestALimitIsNotLoweredOverTimersThatItWouldDrop(t *testing.T) {
	t.Parallel()
	b := bare(t, bustest.Server(t))
	for _, c := range []struct {
		stream string
		holds  uint64
		fixed  bool
	}{
		{"TIMERS_TOKEN", gib - 1, false},
		{"TIMERS_TOKEN", gib + 1, true},
		{"CODE", 3 * gib, false}, // it refuses new ones, and drops none
	} {
		want := bus.StreamWanted(b, c.stream)
		have := &jetstream.StreamInfo{Config: want, State: jetstream.StreamState{Bytes: c.holds}}
		have.Config.MaxBytes = -1
		drifts := bus.DriftsOf(want, have)
		if len(drifts) != 1 || drifts[0].Fixed != c.fixed || drifts[0].Severity != bus.Tolerated {
			t.Errorf("%s with %d bytes: %+v", c.stream, c.holds, drifts)
		}
	}
}
