package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// pond is a fleet of token-workers that keep grants alive on a real server; Microsoft is in memory and takes 200 ms.
type pond struct {
	server *embed.Server
	bus    *bus.Bus
	policy mailbox.KeepAlive
	pace   int // per minute; 0: none

	mu       sync.Mutex
	calls    map[string][]time.Time // by the refresh token, which names the mailbox
	dead     map[string]bool
	outcomes map[string]int
	worst    int // calls at once
	at       int
}

func newPond(t *testing.T, policy mailbox.KeepAlive) *pond {
	t.Helper()
	s := bustest.Server(t)
	return &pond{
		server: s, bus: bustest.Connect(t, s), policy: policy, calls: map[string][]time.Time{}, dead: map[string]bool{}, outcomes: map[string]int{},
	}
}

// Refresh keeps the refresh token, as Microsoft may.
func (p *pond) Refresh(ctx context.Context, _ string, t mailbox.Tokens) (mailbox.Tokens, error) {
	id := t.Refresh.Reveal()
	p.mu.Lock()
	p.calls[id] = append(p.calls[id], time.Now())
	dead := p.dead[id]
	p.at++
	p.worst = max(p.worst, p.at)
	p.mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	leg.Asked(ctx, false)
	p.mu.Lock()
	p.at--
	p.mu.Unlock()
	if dead {
		return mailbox.Tokens{}, &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS50173", Reason: mailbox.Revoked}
	}
	return mailbox.Tokens{Access: secret.New("a"), Expiry: time.Now().Add(time.Hour)}, nil
}

func (*pond) Redeem(context.Context, string, mailbox.Consent) (mailbox.Tokens, error) {
	return mailbox.Tokens{}, &fault.Fault{Class: fault.Permanent, Code: "no_codes_here"}
}

func (*pond) Prove(context.Context, string, mailbox.Tokens, string) (events.Proof, error) {
	return events.Proof{TenantID: "tid", ObjectID: "oid"}, nil
}

func (p *pond) count(outcome string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcomes[outcome]++
}

func (p *pond) asked(id string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.calls[id]...)
}

func (p *pond) kill(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.dead[id] = true
	}
}

// stock stores n registered mailboxes whose tokens are of that age.
func (p *pond) stock(t *testing.T, prefix string, n int, age time.Duration) (ids []string) {
	t.Helper()
	now := time.Now().UTC()
	for i := range n {
		id := fmt.Sprintf("%s%d", prefix, i)
		save(t, p.bus.Invitations(markBox{}), id, mailbox.Invitation{
			ID: id, Campaign: "campus", App: "main", Account: "main", Address: id + "-owner", InvitedAt: now, LinkExpiresAt: now.Add(time.Hour),
		})
		save(t, p.bus.Grants(markBox{}), id, mailbox.Grant{
			Phase: mailbox.GrantSaved, Attempt: "att", Since: now, CodeAt: now,
			Tokens: &mailbox.Tokens{
				Access: secret.New("a"), Refresh: secret.New(id), Expiry: now.Add(time.Hour - age), Attempt: "att", SavedAt: now.Add(-age),
			},
		})
		save(t, p.bus.Registrations(), id, mailbox.Registration{Phase: mailbox.Registered, Attempt: "att", WarmyID: "w-" + id, Since: now})
		ids = append(ids, id)
	}
	return ids
}

func (p *pond) erase(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		inv := load(t, p.bus.Invitations(markBox{}), id)
		inv.ErasedAt = time.Now().UTC()
		save(t, p.bus.Invitations(markBox{}), id, inv)
	}
}

func (p *pond) status(t *testing.T, id string) mailbox.Status {
	t.Helper()
	return mailbox.View(mailbox.Facts{
		Invitation: load(t, p.bus.Invitations(markBox{}), id), Grant: load(t, p.bus.Grants(nil), id), Registration: load(t, p.bus.Registrations(), id),
	}, time.Now())
}

// worker starts a token-worker's refresh lane and its walk, on a connection of its own. stop ends it in good order; die
// cuts its connection and everything that it is at.
func (p *pond) worker(t *testing.T, name string, policy mailbox.KeepAlive) (stop, die func()) {
	t.Helper()
	b, err := bus.Connect(context.Background(), bus.Config{InProcess: p.server, Name: name, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	microsoft := &mortal{pond: p}
	keep := handlers.KeepGrant{
		Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Microsoft: microsoft, Policy: policy,
		Pace: b.RefreshPacer(map[string]int{"main": p.pace}), Count: p.count, Now: time.Now,
	}
	requested := handlers.RefreshGrant{
		Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Microsoft: microsoft, Margin: time.Minute, Count: p.count, Now: time.Now,
	}
	restore := bus.RestoreConfig{
		Owner: name, Half: handlers.RestoreGrants{
			Invitations: b.Invitations(markBox{}), Claims: b.Claims(), Grants: b.Grants(markBox{}), Registrations: b.Registrations(),
			Stored: b.Presence(), Still: 15 * time.Minute, Now: time.Now,
		},
		Timers: handlers.IdleTimers{
			Invitations: b.Invitations(markBox{}), Grants: b.Grants(markBox{}), Policy: policy, Apps: []string{"main"}, Now: time.Now,
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = b.Serve(ctx, bus.ServeConfig{}, bus.Lane{
			Lane: events.Refresh, Leg: "main", Window: 8, Policy: bus.Policy{Attempts: 10, MaxAge: 7 * 24 * time.Hour, Base: time.Second, Cap: time.Minute, Crashes: 5},
			Handler: handlers.Lane{Usual: requested, Kind: events.GrantIdle, Other: keep},
		})
	})
	running.Go(func() { _ = b.RestoreGrants(ctx, restore) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); running.Wait(); b.Close() }) }
	t.Cleanup(stop)
	return stop, func() { once.Do(func() { microsoft.die(); b.Close(); cancel(); running.Wait() }) }
}

// mortal is Microsoft as a worker sees it that may die: what it was told before is lost with it.
type mortal struct {
	*pond

	busy atomic.Int64
	gone atomic.Bool
}

// die comes while a call is under way: its answer is lost.
func (m *mortal) die() {
	for m.busy.Load() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	m.gone.Store(true)
}

func (m *mortal) Refresh(ctx context.Context, app string, t mailbox.Tokens) (mailbox.Tokens, error) {
	m.busy.Add(1)
	defer m.busy.Add(-1)
	fresh, err := m.pond.Refresh(ctx, app, t)
	if m.gone.Load() {
		return mailbox.Tokens{}, &fault.Fault{Class: fault.Transient, Code: "killed"}
	}
	return fresh, err
}

// TestEachGrantIsRefreshedOncePerPeriodByAnyNumberOfWorkers lets two workers, of which one dies, keep some hundred grants
// alive for several periods.
func TestEachGrantIsRefreshedOncePerPeriodByAnyNumberOfWorkers(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		const period = time.Hour
		policy := mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: period}
		p := newPond(t, policy)
		ids := p.stock(t, "mb", 250, 0)
		began := time.Now()
		p.worker(t, "token-worker", policy)
		_, die := p.worker(t, "token-worker", policy)
		revoked, erased := ids[:20], ids[20:30]
		time.Sleep(3*period/2 - time.Since(began)) // each was asked for once
		p.kill(revoked...)
		p.erase(t, erased...)
		time.Sleep(period / 2)
		die()
		time.Sleep(3*period + period/2 - time.Since(began))
		extra := 0
		for i, id := range ids {
			want := policy.Due(id, mailbox.Tokens{SavedAt: began})
			calls, rounds := p.asked(id), 0
			for n, at := range calls {
				if n > 0 && at.Sub(calls[n-1]) < time.Minute {
					extra++ // the worker that died had asked, and its answer died with it
					continue
				}
				rounds++
				if late := at.Sub(want); late < 0 || late > 3*time.Minute {
					t.Fatalf("%s is refreshed %v after it was due: %v", id, late, calls)
				}
				want = policy.Due(id, mailbox.Tokens{SavedAt: at.Add(200 * time.Millisecond)})
			}
			switch {
			case i < 20 && (rounds != 2 || p.status(t, id).Reason != mailbox.Revoked || p.status(t, id).WarmyID == ""):
				t.Errorf("revoked %s: %d rounds, %+v", id, rounds, p.status(t, id))
			case i >= 20 && i < 30 && rounds != 1:
				t.Errorf("erased %s: %d rounds", id, rounds)
			case i >= 30 && want.Before(time.Now().Add(-3*time.Minute)):
				t.Errorf("%s is overdue since %v: %v", id, want, calls)
			}
		}
		if extra == 0 || extra > 8 { // what the worker was at when it died
			t.Errorf("%d calls were made twice", extra)
		}
		if p.worst > 8 {
			t.Errorf("%d calls at once: a herd", p.worst)
		}
		t.Logf("outcomes %v, %d wasted, at most %d at once, took %v", p.outcomes, extra, p.worst, time.Since(began))
	})
}

// TestATimerOfAnEarlierPolicyMovesOrEnds changes the policy while mailboxes have timers.
func TestATimerOfAnEarlierPolicyMovesOrEnds(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		monthly := mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: 25 * 24 * time.Hour}
		always := mailbox.KeepAlive{Mode: mailbox.RefreshAlways, Margin: 10 * time.Minute}
		p := newPond(t, monthly)
		ids := p.stock(t, "mb", 30, 0)
		stop, _ := p.worker(t, "token-worker", monthly)
		time.Sleep(5 * time.Minute)
		stop()
		waiting(t, p.bus, "TIMERS_TOKEN", len(ids))

		stop, _ = p.worker(t, "token-worker", always)
		time.Sleep(2 * time.Hour)
		stop()
		for _, id := range ids {
			if n := len(p.asked(id)); n < 2 || n > 3 || !load(t, p.bus.Grants(markBox{}), id).Tokens.Fresh(time.Now(), time.Minute) {
				t.Errorf("%s was refreshed %d times in two hours", id, n)
			}
		}
		waiting(t, p.bus, "TIMERS_TOKEN", len(ids))

		calls := p.outcomes[handlers.RefreshDone]
		p.worker(t, "token-worker", mailbox.KeepAlive{Mode: mailbox.RefreshOff})
		time.Sleep(90 * time.Minute)
		waiting(t, p.bus, "TIMERS_TOKEN", 0)
		if p.outcomes[handlers.RefreshDone] != calls || p.outcomes[handlers.RefreshEnded] != len(ids) {
			t.Errorf("switched off: %v", p.outcomes)
		}
	})
}

// TestOverdueGrantsAreRefreshedAtTheirPace meets a fleet whose grants were idle before there was a policy.
func TestOverdueGrantsAreRefreshedAtTheirPace(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		policy := mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: time.Hour} // overdue ones come within six minutes
		p := newPond(t, policy)
		p.pace = 10
		ids := p.stock(t, "mb", 60, 60*24*time.Hour)
		p.worker(t, "token-worker", policy)
		p.worker(t, "token-worker", policy)
		time.Sleep(30 * time.Minute)
		var all []time.Time
		for _, id := range ids {
			calls := p.asked(id)
			if len(calls) != 1 {
				t.Errorf("%s was refreshed %d times", id, len(calls))
			}
			all = append(all, calls...)
		}
		slices.SortFunc(all, time.Time.Compare)
		for i := range all {
			if i >= 12 && all[i].Sub(all[i-12]) < time.Minute { // ten, and what clocks and slots may add at the ends
				t.Fatalf("%v and twelve later %v", all[i-12], all[i])
			}
		}
		if p.outcomes[handlers.RefreshNoTurn] == 0 {
			t.Errorf("nobody had to come again: %v", p.outcomes)
		}
		t.Logf("outcomes %v in %v", p.outcomes, all[len(all)-1].Sub(all[0]))
	})
}

// TestTheTimerOfAnIdleGrantHidesNoLostEvent has the timer beside a mailbox whose registration is lost.
func TestTheTimerOfAnIdleGrantHidesNoLostEvent(t *testing.T) {
	t.Parallel()
	p := newPond(t, mailbox.KeepAlive{Mode: mailbox.RefreshKeepAlive, After: time.Hour})
	id := p.stock(t, "mb", 1, 0)[0]
	inv := load(t, p.bus.Invitations(markBox{}), id)
	timer := mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: "att"}, time.Now().Add(time.Hour))
	if err := p.bus.Publish(t.Context(), timer); err != nil {
		t.Fatal(err)
	}
	if found, err := p.bus.Presence().Waiting(t.Context(), id); found || err != nil {
		t.Errorf("waiting %v, %v", found, err)
	}
	if err := p.bus.Publish(t.Context(), timer.Follow(events.RefreshRequested, time.Now()).Later(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if found, err := p.bus.Presence().Waiting(t.Context(), id); !found || err != nil {
		t.Errorf("waiting %v, %v", found, err)
	}
}

// TestATimerThatIsSetAgainReplacesTheFirst sets timers of one mailbox within the dedupe window, at other times and for
// other consents.
func TestATimerThatIsSetAgainReplacesTheFirst(t *testing.T) {
	t.Parallel()
	p := newPond(t, mailbox.KeepAlive{})
	inv := mailbox.Invitation{ID: "mb1", App: "main", Account: "main"}
	for i, attempt := range []string{"att1", "att1", "att2"} {
		timer := mailbox.IdleEvent(inv, mailbox.Tokens{Attempt: attempt}, time.Now().Add(time.Duration(3-i)*24*time.Hour))
		if err := p.bus.Publish(t.Context(), timer); err != nil {
			t.Fatal(err)
		}
		waiting(t, p.bus, "TIMERS_TOKEN", 1)
		if got := bus.IdleTimerOf(t.Context(), p.bus, "mb1"); !got.NotBefore.Equal(timer.NotBefore) || got.Attempt != attempt {
			t.Errorf("timer %d: %+v", i, got)
		}
	}
}

// TestAnIdleGrantDoesNotAgeWhileItWaits gives up by age only what has failed for that long.
func TestAnIdleGrantDoesNotAgeWhileItWaits(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	p := bus.Policy{Attempts: 10, MaxAge: week, Base: time.Second, Cap: time.Minute}
	now := time.Now()
	f := &fault.Fault{Class: fault.RetryAfter, Code: "AADSTS50196", After: 5 * time.Minute}
	timer := mailbox.IdleEvent(mailbox.Invitation{ID: "mb1", App: "main", Account: "main"}, mailbox.Tokens{Attempt: "att"}, now.Add(-4*week))
	failing := timer
	failing.Tries = []events.Try{{At: now.Add(-2 * week)}}
	recent := timer
	recent.Tries = []events.Try{{At: now.Add(-time.Hour)}}
	for name, test := range map[string]struct {
		event events.Event
		want  bus.Verdict
	}{
		"its worker was away for weeks": {timer, bus.Retry}, "it has failed for an hour": {recent, bus.Retry},
		"it has failed for weeks":                {failing, bus.Bury},
		"a refresh that was asked for weeks ago": {timer.Follow(events.RefreshRequested, now.Add(-4*week)), bus.Bury},
	} {
		if got := p.Decide(test.event, f, 0, now, 0.5); got.Verdict != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestOneTurnMayAlwaysBeWaitedFor asks for turns at a pace of one a minute.
func TestOneTurnMayAlwaysBeWaitedFor(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		pacer := bustest.New(t).RefreshPacer(map[string]int{"main": 1})
		if turn, err := pacer.Turn(t.Context(), "another"); !turn || err != nil {
			t.Errorf("an app without a pace: %v, %v", turn, err)
		}
		if turn, err := pacer.Turn(t.Context(), "main"); !turn || err != nil {
			t.Fatalf("first: %v, %v", turn, err)
		}
		began, waited := time.Now(), make(chan time.Duration)
		go func() {
			_, _ = pacer.Turn(t.Context(), "main")
			waited <- time.Since(began)
		}()
		time.Sleep(time.Second)
		if turn, err := pacer.Turn(t.Context(), "main"); turn || err != nil {
			t.Errorf("third: %v, %v", turn, err)
		}
		if d := <-waited; d < 59*time.Second || d > 61*time.Second {
			t.Errorf("the second waited %v", d)
		}
	})
}
