package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// What arrives again, too late or for nobody is acknowledged, and nothing happens. (Every interleaving of duplicates,
// crashes and failures of the handlers themselves is in handlers/crash_test.go.)
func TestWhatIsOverHasNoEffect(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.run(t)
	done := func(t *testing.T, redeemed, posted int32) {
		t.Helper()
		p.empty(t, "CODE")
		p.empty(t, "REGISTER")
		if r, w := p.redeemed.Swap(0), p.posted.Swap(0); r != redeemed || w != posted {
			t.Errorf("%d redeems and %d posts, want %d and %d", r, w, redeemed, posted)
		}
		if letters := deadLetters(t, p.Bus); len(letters) != 0 {
			t.Errorf("dead letters: %+v", letters)
		}
	}
	registered := func(t *testing.T, id string) {
		t.Helper()
		eventually(t, id+" is registered", func() bool {
			reg, _, err := p.Registrations().Load(t.Context(), id)
			return err == nil && reg.Phase == mailbox.Registered
		})
	}
	for name, test := range map[string]func(t *testing.T){ //nolint:paralleltest // they share the counters
		"duplicate with new Msg-Id": func(t *testing.T) {
			t.Helper()
			p.invite(t, "dup", "main")
			e := p.code(t, "dup", "0.code", time.Now())
			p.send(t, e.Subject(), encoded(t, e), "Nats-Msg-Id", "one")
			p.send(t, e.Subject(), encoded(t, e), "Nats-Msg-Id", "two")
			registered(t, "dup")
			p.empty(t, "CODE")
			p.send(t, e.Subject(), encoded(t, e), "Nats-Msg-Id", "three") // when all is over
			done(t, 1, 1)
		},
		"duplicate after dedup window": func(t *testing.T) {
			t.Helper()
			p.invite(t, "window", "main")
			e := p.code(t, "window", "0.code", time.Now())
			if err := p.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			registered(t, "window")
			p.empty(t, "CODE")
			for range 3 { // without an id, the server recognises none of them, as after the window
				p.send(t, e.Subject(), encoded(t, e))
			}
			done(t, 1, 1)
		},
		"older revision": func(t *testing.T) {
			t.Helper()
			p.invite(t, "older", "main")
			now, saved := time.Now(), tokens()
			saved.Attempt = "newer"
			g := mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "newer", EventID: "newer", CodeAt: now, Since: now, Tokens: &saved}
			if _, err := p.Grants(p.grants).Save(t.Context(), "older", g, 0); err != nil {
				t.Fatal(err)
			}
			if err := p.Publish(t.Context(), p.code(t, "older", "0.code", now.Add(-time.Minute))); err != nil {
				t.Fatal(err)
			}
			done(t, 0, 0)
		},
		"already connected": func(t *testing.T) {
			t.Helper()
			p.invite(t, "connected", "main")
			p.grant(t, "connected")
			if _, err := p.Registrations().Save(t.Context(), "connected", mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", WarmyID: "7"}, 0); err != nil {
				t.Fatal(err)
			}
			if err := p.Publish(t.Context(), proven("connected")); err != nil {
				t.Fatal(err)
			}
			done(t, 0, 0)
		},
		"erased mailbox": func(t *testing.T) {
			t.Helper()
			inv := mailbox.Invitation{ID: "erased", App: "main", Account: "main", ErasedAt: time.Now()}
			if _, err := p.Invitations(p.people).Save(t.Context(), "erased", inv, 0); err != nil {
				t.Fatal(err)
			}
			p.grant(t, "erased")
			if err := p.Publish(t.Context(), p.code(t, "erased", "0.code", time.Now()), proven("erased")); err != nil {
				t.Fatal(err)
			}
			done(t, 0, 0)
		},
		"code > 10 min (→ re-invite)": func(t *testing.T) {
			t.Helper()
			p.invite(t, "late", "main")
			if err := p.Publish(t.Context(), p.code(t, "late", "0.code", time.Now().Add(-11*time.Minute))); err != nil {
				t.Fatal(err)
			}
			done(t, 0, 0)
			g, _, err := p.Grants(p.grants).Load(t.Context(), "late")
			if err != nil || g.Phase != mailbox.GrantNeedsConsent || g.Reason != mailbox.CodeExpired {
				t.Errorf("the mailbox does not ask for a new link: %+v, %v", g, err)
			}
		},
		"dead letter replayed twice": func(t *testing.T) {
			t.Helper()
			p.invite(t, "replayed", "main")
			p.grant(t, "replayed")
			e := proven("replayed")
			letter, err := events.EncodeDeadLetter(events.DeadLetter{
				Version: 1, Event: []byte(encoded(t, e)), Mailbox: e.Mailbox, App: e.App, Account: e.Account, Stage: events.Register, Subject: e.Subject(),
			})
			if err != nil {
				t.Fatal(err)
			}
			ack, err := p.js.Publish(t.Context(), "kindling.dead.register.permanent.replayed", letter)
			if err != nil {
				t.Fatal(err)
			}
			replay := func() error { return p.DeadLetters().Replay(t.Context(), ack.Sequence) }
			if first, second := replay(), replay(); first != nil || !errors.Is(second, bus.ErrNoDeadLetter) {
				t.Errorf("replays: %v, %v", first, second)
			}
			// The same event, replayed from a second letter by another operator:
			if err := p.Publish(t.Context(), e.Replayed(ack.Sequence+100, time.Now())); err != nil {
				t.Fatal(err)
			}
			registered(t, "replayed")
			done(t, 0, 1)
		},
	} {
		t.Run(name, test)
	}
	p.flows(t)
}

func TestWhatMustWaitIsGivenBack(t *testing.T) {
	t.Parallel()
	t.Run("newer major version (rolling upgrade)", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t)
		p.run(t)
		newer := []string{
			`{"v":2,"kind":"mailbox.teleported"}`,
			`{"v":2,"kind":7,"Mailbox":{"id":"mb1"}}`, // other types, other names
		}
		for _, payload := range newer {
			p.send(t, "kindling.register.main.s1.mb1", payload)
		}
		eventually(t, "both are given back", func() bool { return p.counted.of("left") == len(newer) })
		p.flows(t)
		if n, err := bus.Waiting(t.Context(), p.Bus, "REGISTER"); err != nil || n != 2 {
			t.Errorf("%d of 2 are kept, %v", n, err)
		}
		if letters := deadLetters(t, p.Bus); len(letters) != 0 {
			t.Errorf("buried: %+v", letters)
		}
		if n := p.counted.of("left"); n != len(newer) {
			t.Errorf("given back %d times: the delay is not kept", n)
		}
	})
	t.Run("a stored record of a newer version", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t)
		p.run(t)
		p.invite(t, "mb1", "main")
		p.send(t, "$KV.grants.mb1", `{"v":2,"phase":"saved","tokens":"elsewhere"}`)
		if err := p.Publish(t.Context(), proven("mb1")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it waits as a timer", func() bool { return p.counted.of("retry_after") == 1 })
		if letters := deadLetters(t, p.Bus); len(letters) != 0 || p.posted.Load() != 0 {
			t.Errorf("%d posts; buried: %+v", p.posted.Load(), letters)
		}
	})
	t.Run("token before its intent is visible", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t)
		p.policy.Attempts, p.policy.Cap = 100, 100*time.Millisecond
		p.run(t)
		p.invite(t, "mb1", "main")
		if err := p.Publish(t.Context(), proven("mb1")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it was tried", func() bool { return p.counted.of("transient") > 0 })
		if n := p.posted.Load(); n != 0 {
			t.Errorf("%d posts before the grant is visible", n)
		}
		p.grant(t, "mb1")
		eventually(t, "it is registered", func() bool { return p.posted.Load() == 1 })
	})
	// "leader election": the cluster's tests in internal/e2e.
	t.Run("MaxAckPending flood", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t)
		const window, flood = 4, 300
		var now, most, handled atomic.Int32
		release := make(chan struct{})
		h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
			defer now.Add(-1)
			for n := now.Add(1); n > most.Load(); {
				most.Store(n)
			}
			<-release
			handled.Add(1)
			return nil, nil
		}}
		serve(t, p.Bus, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: window, Fleet: window, Policy: quick, Handler: h})
		batch := make([]events.Event, flood)
		for i := range batch {
			batch[i] = event(events.RegistrationRequested, "mb"+strings.Repeat("x", i%60)+string(rune('a'+i%26))+string(rune('a'+i/26)))
		}
		if err := p.Publish(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the window is full", func() bool { return now.Load() == window })
		close(release)
		p.empty(t, "REGISTER")
		if most.Load() > window || handled.Load() != flood {
			t.Errorf("%d handled of %d, %d at once", handled.Load(), flood, most.Load())
		}
	})
}
