package doctor_test

import (
	"context"
	"testing"
	"time"

	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/doctor"
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

func TestAClockThatWouldSpoilThePaceIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.examine().want(t, doctor.OK, "account", "main clock", "agrees")
	r.doctor.Now = func() time.Time { return time.Now().Add(-5 * time.Second) }
	r.examine().want(t, doctor.Warn, "account", "main clock", "differ by", "NTP")
}
