package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// byHand is an administrator's connection, past Kindling.
func byHand(t *testing.T, s *embed.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// bare is a bus without streams.
func bare(t *testing.T, s *embed.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func summary(drifts []bus.Drift) []string {
	lines := make([]string, len(drifts))
	for i, d := range drifts {
		lines[i] = string(d.Severity) + " " + d.Setting + " " + d.Have
		if d.Fixed {
			lines[i] += " fixed"
		}
	}
	return lines
}

// streamDrifts are streams that an administrator made with another setting, and what is reported of each.
var streamDrifts = map[string]struct {
	stream string
	change func(*jetstream.StreamConfig)
	want   []string
}{
	"subjects":              {"CODE", func(s *jetstream.StreamConfig) { s.Subjects = append(s.Subjects, "other.>") }, []string{"unsafe subjects kindling.code.> other.>"}},
	"no work queue":         {"CODE", func(s *jetstream.StreamConfig) { s.Retention = jetstream.LimitsPolicy }, []string{"unsafe retention limits fixed"}},
	"interest instead":      {"DEAD", func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy }, []string{"unsafe retention interest"}},
	"in memory":             {"KV_grants", func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, []string{"unsafe storage memory fixed"}},
	"persisted later":       {"KV_grants", func(s *jetstream.StreamConfig) { s.PersistMode = jetstream.AsyncPersistMode }, []string{"unsafe persist_mode async fixed"}},
	"old ones dropped":      {"REGISTER", func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }, []string{"unsafe discard old"}},
	"new per subject":       {"KV_claims", func(s *jetstream.StreamConfig) { s.DiscardNewPerSubject = true }, []string{"unsafe discard_new_per_subject true"}},
	"other size":            {"CODE", func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 }, []string{"tolerated max_bytes 1048576"}},
	"bounded queue":         {"CODE", func(s *jetstream.StreamConfig) { s.MaxMsgs = 1000 }, []string{"tolerated max_msgs 1000"}},
	"bounded timers":        {"TIMERS_TOKEN", func(s *jetstream.StreamConfig) { s.MaxMsgs = 1000 }, []string{"unsafe max_msgs 1000"}},
	"history":               {"KV_claims", func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 5 }, []string{"unsafe max_msgs_per_subject 5"}},
	"smaller messages":      {"KV_grants", func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1024 }, []string{"unsafe max_msg_size 1024"}},
	"larger messages":       {"KV_grants", func(s *jetstream.StreamConfig) { s.MaxMsgSize = -1 }, []string{"tolerated max_msg_size -1"}},
	"grants that age":       {"KV_grants", func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, []string{"unsafe max_age 1h0m0s"}},
	"dead letters that age": {"DEAD", func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, []string{"tolerated max_age 1h0m0s"}},
	"window":                {"CODE", func(s *jetstream.StreamConfig) { s.Duplicates = time.Minute }, []string{"tolerated duplicate_window 1m0s"}},
	"no acknowledgement":    {"CODE", func(s *jetstream.StreamConfig) { s.NoAck = true }, []string{"unsafe no_ack true"}},
	"undeletable":           {"KV_control", func(s *jetstream.StreamConfig) { s.DenyDelete = true }, []string{"unsafe deny_delete true fixed"}},
	"deletable trail":       {"AUDIT", func(s *jetstream.StreamConfig) { s.DenyDelete = false }, []string{"unsafe deny_delete false"}},
	"purgeable bucket":      {"KV_grants", func(s *jetstream.StreamConfig) { s.DenyPurge = false }, []string{"unsafe deny_purge false"}},
	"unpurgeable queue":     {"CODE", func(s *jetstream.StreamConfig) { s.DenyPurge = true }, []string{"tolerated deny_purge true fixed"}},
	"rollup":                {"DEAD", func(s *jetstream.StreamConfig) { s.AllowRollup = true }, []string{"unsafe allow_rollup_hdrs true"}},
	"direct get":            {"KV_grants", func(s *jetstream.StreamConfig) { s.AllowDirect = true }, []string{"unsafe allow_direct true"}},
	"no batches":            {"KV_mailboxes", func(s *jetstream.StreamConfig) { s.AllowAtomicPublish = false }, []string{"unsafe allow_atomic false"}},
	"batches":               {"KV_grants", func(s *jetstream.StreamConfig) { s.AllowAtomicPublish = true }, []string{"tolerated allow_atomic true"}},
	"expiring messages":     {"KV_grants", func(s *jetstream.StreamConfig) { s.AllowMsgTTL = true }, []string{"unsafe allow_msg_ttl true fixed"}},
	"republished": {"KV_grants", func(s *jetstream.StreamConfig) {
		s.RePublish = &jetstream.RePublish{Source: ">", Destination: "copy.>"}
	}, []string{`unsafe republish {"src":">","dest":"copy.>"}`}},
	"transformed": {"DEAD", func(s *jetstream.StreamConfig) {
		s.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
	}, []string{`unsafe subject_transform {"src":">","dest":"x.>"}`}},
	"sourced":                 {"DEAD", func(s *jetstream.StreamConfig) { s.Sources = []*jetstream.StreamSource{{Name: "ELSEWHERE"}} }, []string{`unsafe sources [{"name":"ELSEWHERE"}]`}},
	"consumers that end":      {"CODE", func(s *jetstream.StreamConfig) { s.ConsumerLimits.InactiveThreshold = time.Minute }, []string{`unsafe consumer_limits {"inactive_threshold":60000000000}`}},
	"timers without schedule": {"TIMERS_TOKEN", func(s *jetstream.StreamConfig) { s.AllowMsgSchedules = false }, []string{"unsafe allow_msg_schedules false"}},
	"several": {
		"KV_grants", func(s *jetstream.StreamConfig) {
			s.AllowDirect, s.MaxBytes, s.DenyPurge, s.AllowRollup = true, 1<<20, false, true
		},
		[]string{"tolerated max_bytes 1048576", "unsafe deny_purge false", "unsafe allow_rollup_hdrs true", "unsafe allow_direct true"},
	},
	"a schedule where none belongs": {
		"REFRESH", func(s *jetstream.StreamConfig) { s.AllowMsgSchedules, s.Discard = true, jetstream.DiscardOld },
		[]string{"unsafe discard old fixed", "unsafe allow_rollup_hdrs true fixed", "unsafe allow_msg_schedules true fixed"},
	},
	"no difference": {"CODE", func(s *jetstream.StreamConfig) { s.Description, s.Compression = "ours", jetstream.S2Compression }, []string{}},
}

func TestEveryDifferenceOfAStreamIsReportedAndNoneIsAltered(t *testing.T) {
	t.Parallel()
	for name, c := range streamDrifts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Server(t)
			b, js := bare(t, s), byHand(t, s)
			cfg := bus.StreamWanted(b, c.stream)
			c.change(&cfg)
			made, err := js.CreateStream(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			drifts, err := b.Ensure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, summary(drifts)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			unsafe := strings.Contains(strings.Join(c.want, "\n"), "unsafe")
			if err := bus.Unfit(bus.Findings(drifts)); errors.Is(err, bus.ErrUnfit) != unsafe {
				t.Errorf("refused: %v", err)
			}
			after, err := made.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(made.CachedInfo().Config, after.Config); diff != "" {
				t.Errorf("the stream was altered:\n%s", diff)
			}
		})
	}
}

func TestARefusalNamesEveryDifferenceWithItsRemedy(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b, js := bare(t, s), byHand(t, s)
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"KV_grants":    func(s *jetstream.StreamConfig) { s.AllowDirect = true },
		"KV_claims":    func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage },
		"CODE":         func(s *jetstream.StreamConfig) { s.Retention = jetstream.LimitsPolicy },
		"KV_campaigns": func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 },
	} {
		cfg := bus.StreamWanted(b, name)
		change(&cfg)
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	drifts, err := b.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = bus.Unfit(bus.Findings(drifts))
	for _, want := range []string{
		"stream KV_grants: allow_direct is true, expected false: a read may miss the last write, and decisions rest on it (kindling store migrate)",
		"stream KV_claims: storage is memory, expected file", "nats stream backup KV_claims",
		"stream CODE: retention is limits, expected workqueue", "nats stream rm CODE",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "KV_campaigns") {
		t.Errorf("what an operator may choose is refused:\n%v", err)
	}
	var coded interface{ ExitCode() int }
	if !errors.As(err, &coded) || coded.ExitCode() != 78 {
		t.Errorf("no exit code 78: %v", err)
	}
}

func TestAWorkerRefusesAConsumerWithOtherSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*jetstream.ConsumerConfig)
		want   string // in the refusal; empty: the worker starts
	}{
		"bounded deliveries": {func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 }, "max_deliver is 5, expected -1"},
		"back-off": {func(c *jetstream.ConsumerConfig) {
			c.BackOff = []time.Duration{30 * time.Second, time.Minute}
		}, "backoff is 30s 1m0s, expected none"},
		"another ack wait": {func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second }, "ack_wait is 1s, expected 30s"},
		"another filter":   {func(c *jetstream.ConsumerConfig) { c.FilterSubject = "kindling.register.main.0.>" }, "filter_subject is"},
		"headers only":     {func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }, "headers_only is true, expected false"},
		"in memory":        {func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true }, "nats consumer rm REGISTER register-main"},
		"as once it came":  {func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }, "replay_policy is original, expected instant"},
		"ends when idle":   {func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Minute }, "inactive_threshold is 1m0s, expected 0s"},
		"small pulls":      {func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 1 }, "max_batch is 1, expected 0"},
		"in groups": {func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyOverflow, []string{"a"}
		}, "priority_groups is a, expected none"},
		"another window": {func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1000 }, ""},
		"one filter as a list": {func(c *jetstream.ConsumerConfig) {
			c.FilterSubjects, c.FilterSubject = []string{c.FilterSubject}, ""
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Server(t)
			b, js := bustest.Connect(t, s), byHand(t, s)
			cfg := bus.ConsumerWanted(events.Register, false, "main", 16)
			c.change(&cfg)
			if _, err := js.CreateConsumer(t.Context(), "REGISTER", cfg); err != nil {
				t.Fatal(err)
			}
			handled := make(chan error, 1)
			lane := bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: fakeHandler{buried: make(chan *fault.Fault, 1)}}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() { handled <- b.Serve(ctx, bus.ServeConfig{}, lane) }()
			if c.want == "" {
				eventually(t, "the worker pulls", func() bool {
					info, err := js.Consumer(t.Context(), "REGISTER", "register-main")
					return err == nil && info.CachedInfo().NumWaiting > 0
				})
				stop()
			}
			err := receive(t, handled, "end of Serve")
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (!errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("not refused with %q: %v", c.want, err)
			}
		})
	}
}
