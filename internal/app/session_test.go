package app

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/fault"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
	"kindling/internal/warmy"
)

// fleet is several processes' Warmy clients in one account's session.
type fleet struct {
	t       *testing.T
	server  *warmyapi.Server
	base    string
	store   *embed.Server
	box     *seal.Box
	clients []*warmy.Client
	clock   *atomic.Int64 // Warmy's, in seconds
}

// newFleet starts a Warmy whose clock goes on by two seconds with each look at it: so of the answers some rotate the
// token, and some are within the five seconds in which they send a blank one.
func newFleet(t *testing.T, account warmy.Account) *fleet {
	t.Helper()
	f := &fleet{t: t, store: bustest.Server(t), clock: &atomic.Int64{}}
	f.clock.Store(time.Now().Unix())
	f.server = warmyapi.New(warmyapi.Config{
		HolderUID: "holder", Logins: []warmyapi.Login{{Email: "op@x.example", Password: "pw"}},
		Switches: warmyapi.Switches{CallsPerMinute: -1, RotateTokens: true},
		Now:      func() time.Time { return time.Unix(f.clock.Add(1), 0) },
	})
	listener := httptest.NewServer(f.server)
	t.Cleanup(listener.Close)
	f.base = listener.URL
	dir := t.TempDir()
	if err := seal.Generate(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.box, err = seal.OpenGrants(dir); err != nil {
		t.Fatal(err)
	}
	account.Name, account.BaseURL, account.Auth, account.HolderUID = "main", f.base, warmy.Session, "holder"
	for range 3 {
		f.clients = append(f.clients, f.client(account))
	}
	return f
}

func (f *fleet) client(account warmy.Account) *warmy.Client {
	transport := warmy.Transport()
	f.t.Cleanup(transport.CloseIdleConnections)
	return warmy.New(warmy.Config{
		Accounts: []warmy.Account{account}, Transport: transport, Timeout: 2 * time.Second,
		Sessions: bustest.Connect(f.t, f.store).Sessions(f.box),
	})
}

func signsIn() warmy.Account {
	return warmy.Account{Email: secret.New("op@x.example"), Password: secret.New("pw")}
}

// work lets every client make n calls at once with the others', and returns the failures.
func (f *fleet) work(n int) (failures []error) {
	f.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, c := range f.clients {
		for range 2 { // a worker's own calls meet, too
			all.Go(func() {
				for range n / 2 {
					if _, err := c.Plans(f.t.Context(), "main"); err != nil {
						mu.Lock()
						failures = append(failures, err)
						mu.Unlock()
					}
				}
			})
		}
	}
	all.Wait()
	return failures
}

// signIn signs somebody else in with the same user, and returns the session's headers.
func (f *fleet) signIn() http.Header {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.base+"/api/v1/auth/sign_in", strings.NewReader(`{"email":"op@x.example","password":"pw"}`))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("holder-uid", "holder")
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatal(resp.StatusCode, err)
	}
	return resp.Header
}

// saw checks how many sign-ins and refusals Warmy counted.
func (f *fleet) saw(when string, signIns, refusals int) {
	f.t.Helper()
	calls := f.server.Summary().Calls
	if calls[warmyapi.OpSignIn]["200"] != signIns || calls[warmyapi.OpPlans]["401"] != refusals {
		f.t.Errorf("%s: calls = %v, want %d sign-ins and %d refusals", when, calls, signIns, refusals)
	}
}

func TestThreeProcessesShareOneSessionThatRotates(t *testing.T) {
	t.Parallel()
	f := newFleet(t, signsIn())
	if failures := f.work(40); len(failures) > 0 {
		t.Error(failures)
	}
	f.saw("at work", 1, 0)

	f.server.SignOutAll()
	if failures := f.work(10); len(failures) > 0 {
		t.Error(failures)
	}
	f.saw("after a sign-out", 2, 1)

	for range 10 { // Warmy keeps ten sessions of a user
		f.signIn()
	}
	if failures := f.work(10); len(failures) > 0 {
		t.Error(failures)
	}
	f.saw("after an eviction", 2+10+1, 2)
}

func TestALostAnswerLeadsBackToWork(t *testing.T) {
	t.Parallel()
	f := newFleet(t, signsIn())
	if failures := f.work(2); len(failures) > 0 {
		t.Fatal(failures)
	}
	for range 3 { // of the tokens that Warmy made meanwhile nobody heard
		f.clock.Add(60)
		if err := f.server.Fault(trouble.Rule{Kind: trouble.Reset, Op: warmyapi.OpPlans, Commit: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.clients[0].Plans(t.Context(), "main"); err == nil {
			t.Error("the answer was lost, and there is no error")
		}
		f.server.ClearFaults()
	}
	f.clock.Add(60)
	if failures := f.work(10); len(failures) > 0 {
		t.Error(failures)
	}
	if n := f.server.Summary().Calls[warmyapi.OpSignIn]["200"]; n > 2 {
		t.Errorf("%d sign-ins", n)
	}
}

func TestAProcessThatDiesInItsTurnDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, signsIn())
	if failures := f.work(2); len(failures) > 0 {
		t.Fatal(failures)
	}
	if _, _, err := bustest.Connect(t, f.store).Sessions(f.box).Borrow(t.Context(), "main", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if failures := f.work(2); len(failures) > 0 {
		t.Error(failures)
	}
	f.saw("after the death", 1, 0)
}

func TestWithoutASignInAnEndedSessionHoldsTheLegUntilThereIsAFreshToken(t *testing.T) {
	t.Parallel()
	f := newFleet(t, warmy.Account{})
	h := f.signIn()
	account := warmy.Account{
		Name: "main", BaseURL: f.base, Auth: warmy.Session, HolderUID: "holder",
		UID: secret.New(h.Get("uid")), Client: secret.New(h.Get("client")), AccessToken: secret.New(h.Get("access-token")),
	}
	f.clients = nil
	for range 3 {
		f.clients = append(f.clients, f.client(account))
	}
	if failures := f.work(20); len(failures) > 0 {
		t.Error(failures)
	}
	f.saw("at work", 1, 0)
	f.server.SignOutAll()
	failures := f.work(10)
	for _, err := range failures {
		if got := fault.Of(err); got.Class != fault.LegDown || got.Code != "warmy_session_ended" || !warmy.RefusedCredentials(got.Code) {
			t.Errorf("%v", err)
		}
	}
	if len(failures) != 30 {
		t.Errorf("%d failures of 30", len(failures))
	}
	f.saw("after a sign-out", 1, 1) // one question, and not one for each call

	h = f.signIn()
	account.Client, account.AccessToken = secret.New(h.Get("client")), secret.New(h.Get("access-token"))
	f.clients = append(f.clients[:0], f.client(account))
	if failures := f.work(10); len(failures) > 0 {
		t.Error(failures)
	}
}

func TestARefusedSignInIsNotRepeatedByEveryCall(t *testing.T) {
	t.Parallel()
	account := signsIn()
	account.Password = secret.New("wrong")
	f := newFleet(t, account)
	for _, err := range f.work(10) {
		if got := fault.Of(err); got.Class != fault.LegDown || got.Code != "warmy_sign_in" {
			t.Errorf("%v", err)
		}
	}
	if n := f.server.Summary().Calls[warmyapi.OpSignIn]["401"]; n != 1 {
		t.Errorf("%d sign-ins with a wrong password", n)
	}
	if err := f.clients[1].ReplaceLogin("main", secret.Text{}, secret.New("pw")); err != nil { // its file was corrected
		t.Fatal(err)
	}
	if _, err := f.clients[1].Plans(context.WithoutCancel(t.Context()), "main"); err != nil {
		t.Error(err)
	}
	if failures := f.work(10); len(failures) > 0 { // and the others, who know only the wrong one, work in its session
		t.Error(failures)
	}
}
