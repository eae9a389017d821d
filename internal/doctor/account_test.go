package doctor_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/doctor"
	"kindling/internal/events"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/warmyapi"
	"kindling/internal/warmy"
)

func TestASessionIsExaminedThroughTheWorkersOwn(t *testing.T) {
	t.Parallel()
	server, err := embed.Start(embed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	r := newRig(t, nil)
	r.warmy = warmyapi.New(warmyapi.Config{
		Logins: []warmyapi.Login{{Email: "op@x.example", Password: "pw-" + canary}}, Switches: warmyapi.Switches{CallsPerMinute: -1, RotateTokens: true},
	})
	r.api = r.serve(r.warmy)
	r.account = "    auth: session\n    email: op@x.example\n    password_file: " + r.file("password", "pw-"+canary)
	r.examine().want(t, doctor.OK, "account", "main", "accepts the credentials") // nothing runs yet: a session of its own

	r.more = "nats: {url: " + server.ClientURL() + "}\n"
	b := bustest.Connect(t, server)
	box, err := seal.OpenGrants(r.keys())
	if err != nil {
		t.Fatal(err)
	}
	worker := warmy.New(warmy.Config{
		Accounts: []warmy.Account{{
			Name: "main", BaseURL: r.api, Auth: warmy.Session, Email: secret.New("op@x.example"), Password: secret.New("pw-" + canary), HolderUID: warmyapi.GuideHolder,
		}}, Sessions: b.Sessions(box), Pace: b.Pacer(map[string]int{"main": 55}),
	})
	works := func() {
		t.Helper()
		if err := worker.Ping(context.WithoutCancel(t.Context()), "main"); err != nil {
			t.Error(err)
		}
	}
	works()
	found := r.examine()
	found.want(t, doctor.OK, "account", "main", "accepts the credentials")
	found.want(t, doctor.OK, "account", "main budget", "55 calls a minute")
	works()
	if n := r.warmy.Summary().Calls[warmyapi.OpSignIn]["200"]; n != 2 {
		t.Errorf("%d sign-ins, want the doctor's first and the worker's", n)
	}
}

func TestAClockThatWouldSpoilTokensIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.examine().want(t, doctor.OK, "account", "main clock", "agrees")
	r.doctor.Now = func() time.Time { return time.Now().Add(-5 * time.Second) } // the pace does not go by it
	r.examine().want(t, doctor.OK, "account", "main clock", "agrees")
	r.doctor.Now = func() time.Time { return time.Now().Add(-45 * time.Second) }
	r.examine().want(t, doctor.Warn, "account", "main clock", "differ by", "tokens", "NTP")
}

// store gives the rig a running message store, and the pacer of a worker on it.
func (r *rig) store() (*bus.Bus, *bus.Pacer) {
	r.t.Helper()
	server, err := embed.Start(embed.Options{Dir: r.t.TempDir(), Listen: "127.0.0.1:0", LazySync: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = server.Stop() })
	r.more = "nats: {url: " + server.ClientURL() + "}\n"
	b := bustest.Connect(r.t, server)
	return b, b.Pacer(map[string]int{"main": 55})
}

// During the wait that a 429 asks for nothing is asked, and nothing is blamed on the network or on Warmy.
func TestAPauseIsToldAndNotTakenForAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, pacer := r.store()
	if err := pacer.Wait(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := pacer.Throttled(t.Context(), "main", time.Now(), 5*time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	r.doctor.Now = func() time.Time { return time.Now().Add(-3 * time.Hour) } // the pause is by the server's clock
	until := time.Now().Add(5 * time.Minute).UTC().Format("15:04")            // the minute may be over by the time that it is looked at
	found := r.examine()
	found.want(t, doctor.Warn, "account", "main budget", "55 calls a minute", "429", "nobody calls before ")
	skipped := found.want(t, doctor.Skipped, "account", "main", "asked for a pause", "run this again after ")
	if later := time.Now().Add(5 * time.Minute).UTC().Format("15:04"); !strings.Contains(skipped.Found, until) && !strings.Contains(skipped.Found, later) {
		t.Errorf("the pause ends at %s: %s", until, skipped.Found)
	}
	if n := r.warmy.Summary().Calls[warmyapi.OpPlans]; len(n) != 0 {
		t.Errorf("Warmy was called: %v", n)
	}
}

func TestAReducedPaceIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, pacer := r.store()
	for range 2 { // one that comes soon after a wait halves the pace
		if err := pacer.Wait(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
		if err := pacer.Throttled(t.Context(), "main", time.Now(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := pacer.Wait(t.Context(), "main"); err != nil { // the second wait is over
		t.Fatal(err)
	}
	found := r.examine()
	found.want(t, doctor.Warn, "account", "main budget", "28 of 55 calls a minute", "429", "by itself")
	found.want(t, doctor.OK, "account", "main", "accepts the credentials")
}

func TestRegistrationsThatNobodyTakesAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	b, _ := r.store()
	e := events.Event{
		Version: events.Version, ID: "evt", Kind: events.RegistrationRequested, Mailbox: "mb1", App: "main", Account: "main", Campaign: "camp", Attempt: "att", At: time.Now(),
	}
	if err := b.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r.examine().only(t, doctor.Fail)
	nc, err := nats.Connect(strings.Trim(strings.TrimPrefix(r.more, "nats: {url: "), "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("kindling.register.main.s99.mb2", []byte("{}"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	r.examine().want(t, doctor.Fail, "nats", "registrations", "1 registrations", "kindling.register.main.s99.>", "nats stream purge REGISTER")
}
