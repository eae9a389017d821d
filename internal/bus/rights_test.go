package bus_test

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/users"
	"kindling/internal/mailbox"
)

// The letters of the roles in the tables below.
var roles = map[byte]string{
	'e': bus.ProcessEdge, 't': bus.ProcessTokenWorker, 'w': bus.ProcessWarmyWorker, 'c': bus.ProcessConsole, 'a': bus.ProcessAdmin,
}

// subjects says who may publish where. It is written by hand, not derived from what the code asks for: a right too many
// in both the code and users.conf must be met here.
var subjects = map[string]string{
	"kindling.code.main.m": "e", "kindling.refresh.main.m": "twc", "kindling.register.main.s1.m": "twc", "kindling.reconcile.main.m": "",
	"kindling.at.code.main.m.e": "", "kindling.at.refresh.main.m.e": "t", "kindling.at.register.main.m.e": "w", "kindling.at.reconcile.main.m.e": "wc",
	"kindling.due.code.main.m.e": "", "kindling.due.refresh.main.m.e": "", "kindling.due.register.main.m.e": "", "kindling.due.reconcile.main.m.e": "",
	"kindling.dead.code.permanent.m": "t", "kindling.dead.refresh.permanent.m": "t", "kindling.dead.register.permanent.m": "w",
	"kindling.dead.reconcile.permanent.m": "w", "kindling.dead.other.permanent.m": "",
	"kindling.hint.main.7": "e", "$JS.ACK.HINTS.hints.1.1.1.1.0": "w", "$JS.ACK.HINTS.x.1.1.1.1.0": "",
	"$JS.API.CONSUMER.CREATE.HINTS.hints": "w", "$JS.API.CONSUMER.INFO.HINTS.hints": "w", "$JS.API.CONSUMER.MSG.NEXT.HINTS.hints": "w",
	"kindling.audit.operator": "ca", "kindling.audit.server": "", "kindling.other": "", "other": "",

	"$KV.campaigns.c": "c", "$KV.mailboxes.m": "c", "$KV.claims.m": "e", "$KV.grants.m": "t", "$KV.registrations.m": "w", "$KV.identities.main.x": "w", "$KV.tenants.main.m": "e", "$KV.other.m": "",
	"$KV.control.leg.microsoft.main": "tc", "$KV.control.leg.warmy.main": "wc", "$KV.control.pace.main": "w", "$KV.control.other": "",
	"$KV.control.restore.grants": "t", "$KV.control.restore.registrations": "w", "$KV.control.discarded.m": "c", "$KV.control.refresh_pace.main": "t",
	"$KV.control.session.main": "w", "$KV.control.plans.main": "w",
	"$KV.control.began.code.x": "t", "$KV.control.began.refresh.x": "t", "$KV.control.began.register.x": "w", "$KV.control.began.reconcile.x": "w",

	"$JS.ACK.CODE.code-main.1.1.1.1.0": "t", "$JS.ACK.REFRESH.refresh-main.1.1.1.1.0": "t", "$JS.ACK.TIMERS_TOKEN.due-refresh-main.1.1.1.1.0": "t",
	"$JS.ACK.REGISTER.register-main.1.1.1.1.0": "w", "$JS.ACK.TIMERS_WARMY.due-register-main.1.1.1.1.0": "w",
	"$JS.ACK.DEAD.x.1.1.1.1.0": "", "$JS.ACK.AUDIT.x.1.1.1.1.0": "", "$JS.ACK.KV_grants.x.1.1.1.1.0": "",
	"$JS.FC.KV_grants.x.1":                         "",
	"$JS.ACK.ADVISORIES.advisories-CODE.1.1.1.1.0": "t", "$JS.ACK.ADVISORIES.advisories-REGISTER.1.1.1.1.0": "w", "$JS.ACK.ADVISORIES.x.1.1.1.1.0": "",
	"$JS.API.CONSUMER.CREATE.ADVISORIES.advisories-CODE": "t", "$JS.API.CONSUMER.CREATE.ADVISORIES.advisories-REGISTER": "w",
	"$JS.API.CONSUMER.INFO.ADVISORIES.advisories-REFRESH": "t", "$JS.API.CONSUMER.INFO.ADVISORIES.advisories-TIMERS_WARMY": "w",
	"$JS.API.CONSUMER.MSG.NEXT.ADVISORIES.advisories-TIMERS_TOKEN": "t", "$JS.API.CONSUMER.MSG.NEXT.ADVISORIES.advisories-REGISTER": "w",

	"$JS.API.INFO": "etwca", "$JS.API.STREAM.NAMES": "", "$JS.API.STREAM.LIST": "", "$JS.API.ACCOUNT.PURGE.A": "",
	"$JS.API.META.LEADER.STEPDOWN": "", "$JS.API.SERVER.REMOVE": "", "$JS.API.DIRECT.GET.KV_grants": "", "$JS.API.DIRECT.GET.KV_grants.$KV.grants.m": "",
	"$SYS.REQ.SERVER.PING": "", "$SYS.REQ.ACCOUNT.A.CONNZ": "", "$SYS.ACCOUNT.A.CONNECT": "", "$SRV.PING": "",
	"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.CODE.x": "",
	"_INBOX.x": "", "_INBOX_callback-ingest.x": "", "_INBOX_token-worker.x": "", "_INBOX_warmy-worker.x": "", "_INBOX_console.x": "", "_INBOX_admin.x": "",
}

// questions says who may ask what of which stream. "*" stands for every stream that is not named.
var questions = map[string]map[string]string{
	"STREAM.INFO.%": {"*": "etwca"}, "STREAM.CREATE.%": {"*": "a"}, "STREAM.UPDATE.%": {"*": "a"},
	"STREAM.DELETE.%": {}, "STREAM.PURGE.%": {}, "STREAM.SNAPSHOT.%": {}, "STREAM.RESTORE.%": {}, "STREAM.PEER.REMOVE.%": {},
	"STREAM.LEADER.STEPDOWN.%": {},
	"STREAM.MSG.GET.%": {
		"KV_campaigns": "c", "KV_mailboxes": "etwc", "KV_claims": "etc", "KV_grants": "etwc", "KV_registrations": "etwc", "KV_identities": "w", "KV_tenants": "e", "KV_control": "twc", "DEAD": "twc",
		"CODE": "tc", "REFRESH": "tc", "TIMERS_TOKEN": "tc", "REGISTER": "wc", "TIMERS_WARMY": "wc",
	},
	"STREAM.MSG.DELETE.%": {
		"CODE": "t", "REFRESH": "t", "TIMERS_TOKEN": "t", "REGISTER": "w", "TIMERS_WARMY": "w", "DEAD": "c", "KV_control": "tw",
	},
	"CONSUMER.CREATE.%": {}, "CONSUMER.DURABLE.CREATE.%.x": {}, "CONSUMER.LIST.%": lanes("a", "a"),
	"CONSUMER.CREATE.%.x":                              {"KV_campaigns": "c", "KV_mailboxes": "c", "KV_claims": "c", "KV_grants": "c", "KV_registrations": "c", "KV_tenants": "c"},
	"CONSUMER.CREATE.%.x.kindling.code.main.>":         {"CODE": "ta", "REFRESH": "a", "TIMERS_TOKEN": "a", "REGISTER": "a", "TIMERS_WARMY": "a"},
	"CONSUMER.CREATE.%.x.kindling.due.refresh.main.>":  {"CODE": "a", "REFRESH": "a", "TIMERS_TOKEN": "ta", "REGISTER": "a", "TIMERS_WARMY": "a"},
	"CONSUMER.CREATE.%.x.kindling.due.register.main.>": {"CODE": "a", "REFRESH": "a", "TIMERS_TOKEN": "a", "REGISTER": "a", "TIMERS_WARMY": "wa"},
	"CONSUMER.CREATE.%.x.kindling.at.refresh.>":        lanes("a", "a"), "CONSUMER.CREATE.%.x.kindling.at.register.>": lanes("a", "a"),
	"CONSUMER.CREATE.%.x.$KV.control.leg.>": {"KV_control": "tw", "CODE": "a", "REFRESH": "a", "TIMERS_TOKEN": "a", "REGISTER": "a", "TIMERS_WARMY": "a"},
	"CONSUMER.CREATE.%.x.$KV.grants.>":      lanes("a", "a"),
	"CONSUMER.NAMES.%":                      {"CODE": "c", "REFRESH": "c", "REGISTER": "c"},
	"CONSUMER.INFO.%.x":                     consuming("ca", "c", "tw"),
	"CONSUMER.DELETE.%.x":                   {"KV_campaigns": "c", "KV_mailboxes": "c", "KV_claims": "c", "KV_grants": "c", "KV_registrations": "c", "KV_tenants": "c", "KV_control": "tw"},
	"CONSUMER.MSG.NEXT.%.x":                 consuming("", "c", "tw"),
	"CONSUMER.PAUSE.%.x":                    consuming("c", "", ""),
	"CONSUMER.RESET.%.x":                    {}, "CONSUMER.UNPIN.%.x": {}, "CONSUMER.LEADER.STEPDOWN.%.x": {},
}

// lanes is who works with the work and timer streams of token-worker and of warmy-worker.
func lanes(token, warmy string) map[string]string {
	return map[string]string{"CODE": token, "REFRESH": token, "TIMERS_TOKEN": token, "REGISTER": warmy, "TIMERS_WARMY": warmy}
}

// consuming is who works with the consumers: of the lanes their worker and others, of the facts and of the control bucket
// who is named.
func consuming(others, facts, control string) map[string]string {
	m := lanes("t"+others, "w"+others)
	m["KV_control"] = control
	for _, bucket := range []string{"campaigns", "mailboxes", "claims", "grants", "registrations", "tenants"} {
		m["KV_"+bucket] = facts
	}
	return m
}

// matrix is who may publish to each probe.
func matrix(streams []string) map[string]string {
	all := maps.Clone(subjects)
	for question, who := range questions {
		for _, stream := range streams {
			may, named := who[stream]
			if !named {
				may = who["*"]
			}
			all["$JS.API."+strings.Replace(question, "%", stream, 1)] = may
		}
	}
	return all
}

// raw is a role's connection without Kindling's own precautions.
func raw(t *testing.T, g *bustest.Guarded, process string) *nats.Conn {
	t.Helper()
	seed, err := nats.NkeyOptionFromSeed(g.As(process).CredsFile)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(g.ClientURL(), seed, nats.CustomInboxPrefix("_INBOX_"+process), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// denied reports whether the server denies what do does. Its denial comes before its answer to the flush.
func denied(t *testing.T, nc *nats.Conn, do func() error) bool {
	t.Helper()
	before := nc.LastError()
	if err := errors.Join(do(), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	after := nc.LastError()
	return errors.Is(after, nats.ErrPermissionViolation) && after != before //nolint:errorlint // is it another one?
}

func TestNoRoleMayPublishMoreOrLessThanTheMatrixSays(t *testing.T) {
	t.Parallel()
	for letter, process := range roles {
		t.Run(process, func(t *testing.T) {
			t.Parallel()
			g := bustest.NewGuarded(t, usersConf(t))
			admin := ensured(t, g)
			nc := raw(t, g, process)
			all, wrong := matrix(bus.Streams(admin)), 0
			for subject, may := range all {
				want := !strings.Contains(may, string(letter))
				msg := nats.NewMsg(subject)
				msg.Data = []byte("no JSON") // what is allowed has no effect, what is denied could have had
				if want {
					msg.Data = nil
				} else if !strings.HasPrefix(subject, "$JS.") {
					msg.Header.Set(nats.ExpectedStreamHdr, "none")
				}
				if got := denied(t, nc, func() error { return nc.PublishMsg(msg) }); got != want {
					t.Errorf("publish to %s: denied %v, want %v", subject, got, want)
					wrong++
				}
			}
			t.Logf("%d probes, %d unexpected", len(all), wrong)
			if len(all) < 40 {
				t.Errorf("only %d probes", len(all))
			}
			if drifts, err := admin.Ensure(t.Context()); err != nil || len(drifts) > 0 {
				t.Errorf("after the probes the streams are not as they were: %v, %v", drifts, err)
			}
		})
	}
}

func TestARoleHearsItsOwnAnswersAndNothingElse(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	ensured(t, g)
	for letter, process := range roles {
		nc := raw(t, g, process)
		all := map[string]bool{
			">": false, "*": false, "kindling.>": false, "kindling.code.>": false, "kindling.register.>": false, "kindling.audit.>": false,
			"$KV.>": false, "$KV.grants.>": false, "$KV.control.>": false, "$JS.>": false, "$JS.API.>": false, "$JS.ACK.>": false,
			"$JS.EVENT.>": false, "$JS.EVENT.ADVISORY.API": false, "$SYS.>": false, "_INBOX.>": false, "_INBOX_" + process + ".x": true,
		}
		for other, name := range roles {
			all["_INBOX_"+name+".>"] = other == letter
		}
		for subject, may := range all {
			for _, queue := range []string{"", "q"} {
				if got := denied(t, nc, func() error { _, err := nc.QueueSubscribeSync(subject, queue); return err }); got == may {
					t.Errorf("%s subscribes to %s, queue %q: denied %v, want %v", process, subject, queue, got, !may)
				}
			}
		}
	}
}

func TestUsersConfGrantsWhatTheCodeAsksFor(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	if n := len(g.Options.Nkeys); n != len(users.Processes()) {
		t.Errorf("%d users, want %d", n, len(users.Processes()))
	}
	for _, process := range users.Processes() {
		i := slices.IndexFunc(g.Options.Nkeys, func(u *server.NkeyUser) bool { return u.Nkey == g.PublicKey(process) })
		if i < 0 {
			t.Fatalf("no user of %s", process)
		}
		granted := g.Options.Nkeys[i].Permissions
		slices.Sort(granted.Publish.Allow)
		if diff := cmp.Diff(bus.Rights(process), granted.Publish.Allow); diff != "" {
			t.Errorf("%s: asked for (-) and granted (+):\n%s", process, diff)
		}
		if diff := cmp.Diff([]string{"_INBOX_" + process + ".>"}, granted.Subscribe.Allow); diff != "" {
			t.Errorf("%s: hears (-want +got):\n%s", process, diff)
		}
	}
	if found := regexp.MustCompile(`(?i)password|pass:|token:|\bS[UAO][A-Z2-7]{40}|"\$JS\.API\.>"|">"`).FindString(string(usersConf(t))); found != "" {
		t.Errorf("users.conf holds a secret, or grants everything: %q", found)
	}
}

// TestAnAllowedSubjectGivesNoPowerOverOthers tries what the server's own headers can do to a stream.
func TestAnAllowedSubjectGivesNoPowerOverOthers(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	admin := ensured(t, g)
	warmy := g.Connect(bus.ProcessWarmyWorker)
	posted := mailbox.Registration{Phase: mailbox.Posting, Posts: 1, Since: time.Now().UTC().Truncate(time.Second)}
	for _, id := range []string{"one", "two"} {
		if _, err := warmy.Registrations().Save(t.Context(), id, posted, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		process, subject string
		headers          map[string]string
	}{
		"roll up a bucket":                {bus.ProcessWarmyWorker, "$KV.registrations.one", map[string]string{"Nats-Rollup": "all"}},
		"roll up a key":                   {bus.ProcessWarmyWorker, "$KV.registrations.one", map[string]string{"Nats-Rollup": "sub"}},
		"let a fact expire":               {bus.ProcessWarmyWorker, "$KV.registrations.one", map[string]string{"Nats-TTL": "1s"}},
		"purge a key":                     {bus.ProcessWarmyWorker, "$KV.registrations.one", map[string]string{"KV-Operation": "PURGE", "Nats-Rollup": "sub"}},
		"roll up the codes":               {bus.ProcessEdge, "kindling.code.main.m", map[string]string{"Nats-Rollup": "all"}},
		"schedule in a work queue":        {bus.ProcessTokenWorker, "kindling.register.main.s1.m", map[string]string{"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "kindling.register.main.s1.x"}},
		"schedule into another stream":    {bus.ProcessTokenWorker, "kindling.at.refresh.main.m.e", map[string]string{"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "kindling.register.main.s1.m"}},
		"schedule into a bucket":          {bus.ProcessTokenWorker, "kindling.at.refresh.main.m.e", map[string]string{"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "$KV.registrations.one"}},
		"copy another stream by schedule": {bus.ProcessTokenWorker, "kindling.at.refresh.main.m.e", map[string]string{"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "kindling.due.refresh.main.m.e", "Nats-Schedule-Source": "$KV.grants.one"}},
	} {
		nc := raw(t, g, c.process)
		msg := nats.NewMsg(c.subject)
		for key, value := range c.headers {
			msg.Header.Set(key, value)
		}
		answer, err := nc.RequestMsg(msg, 5*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ack struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil {
			t.Errorf("%s: the server took it: %s", name, answer.Data)
		}
	}
	for _, id := range []string{"one", "two"} {
		if got, _, err := warmy.Registrations().Load(t.Context(), id); err != nil || got.Posts != 1 {
			t.Errorf("the fact %s is %+v, error %v", id, got, err)
		}
	}
	for _, stream := range []string{"CODE", "REGISTER", "TIMERS_TOKEN"} {
		if n, err := bus.Waiting(t.Context(), admin, stream); err != nil || n != 0 {
			t.Errorf("%s holds %d messages, error %v", stream, n, err)
		}
	}
}

// TestAnAnswerOfTheServerIsNoFact does what NATS cannot prevent: whoever may ask anything of JetStream chooses where the
// answer goes. It destroys the value that stood there; it must not be read as a mailbox for which nothing has happened.
func TestAnAnswerOfTheServerIsNoFact(t *testing.T) {
	t.Parallel()
	g := bustest.NewGuarded(t, usersConf(t))
	ensured(t, g)
	warmy := g.Connect(bus.ProcessWarmyWorker)
	edge := raw(t, g, bus.ProcessEdge)
	for name, question := range map[string]*nats.Msg{
		"info":   {Subject: "$JS.API.STREAM.INFO.KV_claims"},
		"read":   {Subject: "$JS.API.STREAM.MSG.GET.KV_claims", Data: []byte(`{"seq":1}`)},
		"write":  {Subject: "$KV.claims.x", Data: []byte("{}")},
		"refuse": {Subject: "$KV.claims.x", Data: []byte("{}"), Header: nats.Header{nats.ExpectedStreamHdr: {"none"}}},
	} {
		if _, err := warmy.Registrations().Save(t.Context(), name, mailbox.Registration{Phase: mailbox.Posting, Posts: 1}, 0); err != nil {
			t.Fatal(err)
		}
		question.Reply = "$KV.registrations." + name
		if err := edge.PublishMsg(question); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			got, revision, err := warmy.Registrations().Load(t.Context(), name)
			if err != nil {
				if revision != 0 || !strings.Contains(err.Error(), "an answer of the NATS server") {
					t.Errorf("%s: revision %d, error %v", name, revision, err)
				}
				break
			}
			if got.Posts != 1 {
				t.Errorf("%s: the answer of the server was read as a fact: %+v", name, got)
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: the answer never came: this test proves nothing", name)
				break
			}
		}
	}
}
