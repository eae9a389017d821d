package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/warmyapi"
)

// warmyHost is the host of a warmy-worker whose account has no mailbox at Warmy. asked is closed when the worker first calls there.
func warmyHost(t *testing.T) (h Host, asked <-chan struct{}) {
	t.Helper()
	called := make(chan struct{})
	first := sync.OnceFunc(func() { close(called) })
	sim := warmyapi.New(warmyapi.Config{HolderUID: "holder", APIKeys: []string{"key"}, Switches: warmyapi.Switches{CallsPerMinute: -1}})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first()
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	data := Data(t.TempDir())
	if err := data.Prepare(); err != nil {
		t.Fatal(err)
	}
	h = NewHost(config.Config{
		Keys: config.Keys{Dir: data.Keys()},
		Accounts: []config.Account{{
			Name: "main", BaseURL: api.URL, Auth: config.AuthBearer, APIKey: config.Inline(secret.New("key")), HolderUID: "holder", AllowCustomHost: true,
		}},
		Policy: config.Policy{
			ReconcileAfter: time.Minute, RefreshMargin: time.Minute, RetryBase: time.Second, RetryCap: time.Second, MaxAttempts: 5, HoldFor: time.Second,
		},
	}, slog.New(slog.DiscardHandler))
	h.NATS.InProcess, h.NATS.Unsynced = newStore(t).Server, true
	return h, called
}

// unclear stores a mailbox whose POST has had no clear answer for an hour, and has Warmy's listing settle it.
func unclear(t *testing.T, h Host, id mailbox.ID) *bus.Bus {
	t.Helper()
	cfg := h.NATS
	cfg.Name, cfg.Log = "test", h.Log
	b, err := bus.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	people, err := seal.OpenPeople(h.Config.Keys.Dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Add(-time.Hour)
	if _, err := b.Invitations(people).Save(t.Context(), id, mailbox.Invitation{
		ID: id, App: "main", Account: "main", Campaign: "c", Address: "jane@contoso.example", TariffPlanTypeID: 1, InvitedAt: at,
		LinkExpiresAt: at.Add(24 * time.Hour),
	}, 0); err != nil {
		t.Fatal(err)
	}
	posted := mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "att", Posts: 1, Since: at}
	if _, err := b.Registrations().Save(t.Context(), id, posted, 0); err != nil {
		t.Fatal(err)
	}
	e := events.New(events.RegistrationUnclear, "unclear", at)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = id, "main", "main", "c", "att"
	if err := b.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheListingThatSettlesBeganByTheServersClock has a machine whose clock stands still. So what its worker takes for the
// server's time is that of its start, and no other clock shows it.
func TestTheListingThatSettlesBeganByTheServersClock(t *testing.T) {
	t.Parallel()
	h, asked := warmyHost(t)
	still := time.Now()
	h.NATS.Clock = func() time.Time { return still }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- WarmyWorker(ctx, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("warmy-worker ended with %v", err)
		}
	})
	within(t, "the worker calls Warmy", func() bool {
		select {
		case <-asked:
			return true
		default:
			return false
		}
	})
	started, id := time.Now(), "mbx-unclear"
	b := unclear(t, h, id)
	var reg mailbox.Registration
	within(t, "the absence is noted", func() bool {
		var err error
		reg, _, err = b.Registrations().Load(t.Context(), id)
		return err == nil && reg.Absences == 1
	})
	if !reg.AbsentAt.Before(started) {
		t.Errorf("the listing began at %v, and the worker's clock stopped before %v", reg.AbsentAt, started)
	}
}
