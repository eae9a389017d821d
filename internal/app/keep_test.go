package app

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
)

// keeper is token-worker with a simulated Microsoft that takes each refresh token once.
type keeper struct {
	host   Host
	sim    *msid.Server
	bus    *bus.Bus
	people *seal.Box
	grants bus.Records[mailbox.Grant]
}

const keptApp = "5a4db0c5-0000-4000-8000-6b6565706572"

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{sim: msid.New(msid.Config{
		Seed: 1, Switches: msid.Switches{Refresh: "single_use"},
		Apps: []msid.App{{ClientID: keptApp, Secrets: []string{"good"}, RedirectURIs: []string{"https://connect.example/oauth-callback/main"}}},
	})}
	listener := httptest.NewServer(k.sim)
	t.Cleanup(listener.Close)
	data := Data(t.TempDir())
	if err := data.Prepare(); err != nil {
		t.Fatal(err)
	}
	k.host = NewHost(config.Config{
		Keys: config.Keys{Dir: data.Keys()},
		Apps: []config.App{{
			Name: "main", Cloud: "public", Tenant: "organizations", ClientID: keptApp, ClientSecrets: config.Inline(secret.New("good")),
			RedirectURI: "https://connect.example/oauth-callback/main", Authority: listener.URL, GraphURL: listener.URL, AllowCustomAuthority: true,
			Scopes: []string{"openid", "offline_access", "User.Read", "Mail.Send", "Mail.ReadWrite", "Mail.Read"},
		}},
		Policy: config.Policy{
			RefreshMargin: 10 * time.Minute, RetryBase: 10 * time.Millisecond, RetryCap: time.Second, MaxAttempts: 5, HoldFor: time.Second,
			Refresh: "keepalive", KeepAliveAfter: 25 * 24 * time.Hour, RefreshesPerMinute: 600,
		},
	}, slog.New(slog.DiscardHandler))
	k.host.NATS.InProcess, k.host.NATS.Unsynced = newStore(t).Server, true
	k.open(t)
	return k
}

func (k *keeper) open(t *testing.T) {
	t.Helper()
	cfg := k.host.NATS
	cfg.Name, cfg.Log = "test", k.host.Log
	var err error
	if k.bus, err = bus.Connect(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.bus.Close)
	if _, err := k.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := seal.OpenGrants(k.host.Config.Keys.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.people, err = seal.OpenPeople(k.host.Config.Keys.Dir); err != nil {
		t.Fatal(err)
	}
	k.grants = k.bus.Grants(box)
}

// stock stores a registered mailbox whose tokens were redeemed at the simulator and have been idle for a month.
func (k *keeper) stock(t *testing.T, id string) mailbox.Invitation {
	t.Helper()
	p, err := readProof(k.host.Config.Apps[0], config.TokenWorker)
	if err != nil {
		t.Fatal(err)
	}
	apps, err := microsoftApps(k.host.Config, map[string]proof{"main": p})
	if err != nil {
		t.Fatal(err)
	}
	transport := microsoft.Transport()
	defer transport.CloseIdleConnections()
	codes := k.sim.IssueCodes(msid.NewCode{
		ClientID: keptApp, Tenant: "organizations", RedirectURI: "https://connect.example/oauth-callback/main",
		Scope: "openid offline_access User.Read Mail.Send Mail.ReadWrite Mail.Read", Addresses: []string{id + "@contoso.example"},
	})
	tokens, err := microsoft.New(microsoft.Config{Apps: apps, Transport: transport}).Redeem(t.Context(), "main", mailbox.Consent{
		Code: secret.New(codes[0]), RedirectURI: "https://connect.example/oauth-callback/main", Tenant: "organizations",
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	inv := mailbox.Invitation{
		ID: id, Campaign: "camp", App: "main", Account: "main", Address: id + "@contoso.example", InvitedAt: now, LinkExpiresAt: now.Add(time.Hour),
	}
	tokens.Attempt, tokens.SavedAt = "att", now.Add(-30*24*time.Hour)
	put(t, k.bus.Invitations(k.people), id, inv)
	put(t, k.grants, id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "att", CodeAt: now, Since: now, Tokens: &tokens})
	put(t, k.bus.Registrations(), id, mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", WarmyID: "w-" + id, Since: now})
	return inv
}

func put[T any](t *testing.T, records bus.Records[T], id string, fact T) {
	t.Helper()
	_, revision, err := records.Load(t.Context(), id)
	if err == nil {
		_, err = records.Save(t.Context(), id, fact, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (k *keeper) wake(t *testing.T, inv mailbox.Invitation) {
	t.Helper()
	if err := k.bus.Publish(t.Context(), mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "att"}, time.Now().Add(-time.Second))); err != nil {
		t.Fatal(err)
	}
}

// await wakes a mailbox until its grant is as it should be. Once is not enough: a timer that the handler sets for the
// round before may replace the one that wakes it.
func (k *keeper) await(t *testing.T, inv mailbox.Invitation, what string, ok func(mailbox.Grant) bool) mailbox.Grant {
	t.Helper()
	deadline, tick, again := time.NewTimer(60*time.Second), time.NewTicker(20*time.Millisecond), time.NewTicker(3*time.Second)
	defer deadline.Stop()
	defer tick.Stop()
	defer again.Stop()
	k.wake(t, inv)
	for {
		grant, _, err := k.grants.Load(t.Context(), inv.ID)
		if err == nil && ok(grant) {
			return grant
		}
		select {
		case <-tick.C:
		case <-again.C:
			k.wake(t, inv)
		case <-deadline.C:
			t.Fatalf("%s is not %s: %+v, %v", inv.ID, what, grant, err)
		}
	}
}

func TestTokenWorkerKeepsGrantsAliveAndSeesThoseThatDied(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	kept, revoked := k.stock(t, "kept"), k.stock(t, "revoked")
	k.sim.EndGrants(revoked.Address, 50173)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- TokenWorker(ctx, k.host) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for round := 1; round <= 3; round++ { // each with the refresh token of the one before, or the simulator would refuse it
		grant := k.await(t, kept, "refreshed", func(g mailbox.Grant) bool { return g.Tokens != nil && g.Tokens.Rotation == round })
		tokens := *grant.Tokens
		tokens.SavedAt = tokens.SavedAt.Add(-30 * 24 * time.Hour)
		grant.Tokens = &tokens
		if round < 3 {
			put(t, k.grants, kept.ID, grant)
		}
	}
	k.await(t, revoked, "revoked", func(g mailbox.Grant) bool { return g.Phase == mailbox.GrantNeedsConsent && g.Reason == mailbox.Revoked })
	for id, want := range map[mailbox.ID]mailbox.State{kept.ID: mailbox.StateRegistered, revoked.ID: mailbox.StateNeedsConsent} {
		if s := k.status(t, id); s.State != want || s.WarmyID != "w-"+id {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if done, dead := k.counted(t, handlers.RefreshDone), k.counted(t, handlers.RefreshRevoked); done != 3 || dead != 1 {
		t.Errorf("counted %v refreshed, %v revoked", done, dead)
	}
}

// counted is what kindling_refreshes_total says of an outcome.
func (k *keeper) counted(t *testing.T, outcome string) float64 {
	t.Helper()
	families, err := k.host.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "kindling_refreshes_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("%s is not counted", outcome)
	return 0
}

func (k *keeper) status(t *testing.T, id mailbox.ID) mailbox.Status {
	t.Helper()
	var f mailbox.Facts
	var err error
	if f.Invitation, _, err = k.bus.Invitations(k.people).Load(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if f.Grant, _, err = k.grants.Load(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if f.Registration, _, err = k.bus.Registrations().Load(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return mailbox.View(f, time.Now())
}
