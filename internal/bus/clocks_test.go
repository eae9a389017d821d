package bus_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

// slowWarmy is a Warmy whose POSTs are answered by nothing and take effect 90 s later.
type slowWarmy struct {
	mu    sync.Mutex
	posts []time.Time
}

const takesEffect = 90 * time.Second

func (y *slowWarmy) Create(ctx context.Context, _ string, m handlers.NewMailbox) (string, error) {
	if err := m.Intend(ctx); err != nil {
		return "", err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.posts = append(y.posts, time.Now())
	return "", &fault.Fault{Class: fault.Unclear, Code: "warmy_timeout"}
}

func (y *slowWarmy) List(context.Context, string, string, int) (warmy.Page, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	p := warmy.Page{Items: []warmy.Item{{ID: "w0", Email: "other@example.com"}}, Current: 1, Total: 1, Last: true}
	if len(y.posts) > 0 && time.Since(y.posts[0]) >= takesEffect {
		p.Items = append(p.Items, warmy.Item{ID: "w1", Email: "owner@example.com"})
	}
	p.Count = len(p.Items)
	return p, nil
}

func (y *slowWarmy) Find(ctx context.Context, account, _ string) (string, bool, error) {
	p, err := y.List(ctx, account, "", 1)
	return "w1", len(p.Items) > 1, err
}

func (*slowWarmy) Credentials(string) (string, secret.Text, error) {
	return "client", secret.New("s"), nil
}

// TestTheWaitsForWarmyHoldBetweenClocksThatDiffer posts with one worker and settles with another, whose clocks are 10 minutes
// apart. The second has a listing that is older than the POST.
func TestTheWaitsForWarmyHoldBetweenClocksThatDiffer(t *testing.T) { //nolint:paralleltest // bubbles
	bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
			bustest.OneBubble(t, func(t *testing.T) { postAndSettle(t, off) }) //nolint:thelper // the test itself
		}
	})
}

func postAndSettle(t *testing.T, off time.Duration) {
	t.Helper()
	const reconcileAfter = time.Minute
	s := bustest.Server(t)
	posting, settling := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(off) }), bustest.Connect(t, s)
	y := &slowWarmy{}
	id, at := mailboxOf(1), time.Now().UTC()
	save(t, posting.Invitations(markBox{}), id, mailbox.Invitation{
		ID: id, App: "main", Account: "main", Campaign: "campus", Address: "owner@example.com", InvitedAt: at, LinkExpiresAt: at.Add(24 * time.Hour),
	})
	save(t, posting.Grants(markBox{}), id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "att", Since: at, Tokens: &mailbox.Tokens{
		Access: secret.New("a"), Refresh: secret.New("r"), Expiry: at.Add(time.Hour), Attempt: "att", SavedAt: at,
	}})
	there, here := clockOf(t, posting), clockOf(t, settling)
	census := warmy.NewCensus(warmy.CensusConfig{Warmy: y, Listed: settling.Listed(), Now: here})
	if seen, err := census.Look(t.Context(), "main", "owner@example.com", at.Add(-time.Hour)); err != nil || seen.Found {
		t.Fatalf("%+v, %v", seen, err)
	}
	time.Sleep(5 * time.Second)
	serve(t, posting, bus.ServeConfig{}, bus.Lane{
		Lane: events.Register, Leg: "main", Window: 8, Policy: quick, Handler: handlers.RegisterMailbox{
			Invitations: posting.Invitations(markBox{}), Grants: posting.Grants(markBox{}), Registrations: posting.Registrations(), Identities: posting.Identities(), Apps: y, Warmy: y,
			Margin: time.Minute, ReconcileAfter: reconcileAfter, Owner: "w1", Now: there,
		},
	})
	serve(t, settling, bus.ServeConfig{}, bus.Lane{
		Lane: events.Reconcile, Leg: "main", Window: 8, Policy: quick, Handler: handlers.ReconcileMailbox{
			Invitations: settling.Invitations(markBox{}), Registrations: settling.Registrations(), Listing: census, Apart: reconcileAfter, Now: here,
		},
	})
	e := event(events.RegistrationRequested, id)
	e.Proof = &events.Proof{TenantID: "tid", ObjectID: "oid"}
	if err := posting.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Minute)
	if reg := load(t, posting.Registrations(), id); reg.WarmyID != "w1" || len(y.posts) != 1 {
		t.Errorf("the poster's clock is off by %v: posted at %v: %+v", off, y.posts, reg)
	}
}

func clockOf(t *testing.T, b *bus.Bus) func() time.Time {
	t.Helper()
	clock, err := b.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return clock
}

// TestAWorkerKeepsTheServersClock has a machine sleep, or its idea of the server's clock be wrong for another reason.
func TestAWorkerKeepsTheServersClock(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		b := bustest.ConnectAt(t, bustest.Server(t), func() time.Time { return time.Now().Add(-10 * time.Minute) })
		clock := clockOf(t, b)
		serve(t, b, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 8, Policy: quick, Handler: fakeHandler{}})
		for range 3 {
			if off := time.Since(clock()).Abs(); off > time.Second {
				t.Errorf("the clock is wrong by %v", off)
			}
			time.Sleep(7 * time.Second)
			bus.Mistake(b, 5*time.Minute)
			time.Sleep(31 * time.Second)
		}
	})
}
