package warmy_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/secret"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
	"kindling/internal/warmy"
)

func simulate(t *testing.T, switches warmyapi.Switches) (*warmyapi.Server, string) {
	t.Helper()
	switches.CallsPerMinute = -1
	server := warmyapi.New(warmyapi.Config{
		HolderUID: "holder", APIKeys: []string{"key-" + canary}, Logins: []warmyapi.Login{{Email: "op@x.example", Password: "pw"}}, Switches: switches,
	})
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return server, listener.URL
}

func TestAMailboxIsCreatedFoundAndActivatedAtTheSimulator(t *testing.T) {
	t.Parallel()
	server, base := simulate(t, warmyapi.Switches{StartPaused: true, PlainText: true, RequireEmail: true})
	c := newClient(t, bearer(base), nil, time.Second)
	if _, found, err := c.Find(t.Context(), "main", address); found || err != nil {
		t.Fatalf("found %t, %v", found, err)
	}
	id, err := c.Create(t.Context(), "main", mailboxOf())
	if err != nil {
		t.Fatal(err)
	}
	listed, found, err := c.Find(t.Context(), "main", address)
	if err != nil || !found || listed != id {
		t.Errorf("Find() = %q, %t, %v, want %q", listed, found, err, id)
	}
	if err := c.Activate(t.Context(), "main", id); err != nil {
		t.Error(err)
	}
	if err := c.Activate(t.Context(), "main", id); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if boxes := server.Mailboxes(address); len(boxes) != 1 || !boxes[0].WarmupActive || boxes[0].SpeedMode != "fast" || boxes[0].FromName != "Jane" {
		t.Errorf("mailboxes = %+v", boxes)
	}
	if plans, err := c.Plans(t.Context(), "main"); err != nil || len(plans) != 2 {
		t.Errorf("Plans() = %v, %v", plans, err)
	}
	if err := c.Ping(t.Context(), "main"); err != nil {
		t.Error(err)
	}
}

func TestAnAddressIsFoundOverManyPages(t *testing.T) {
	t.Parallel()
	_, base := simulate(t, warmyapi.Switches{})
	c := newClient(t, bearer(base), nil, time.Second)
	want := ""
	for i := range 250 {
		m := mailboxOf()
		m.Address = fmt.Sprintf("%d-jane@contoso.example", i)
		if i == 249 {
			m.Address = "jane@contoso.example" // every other address contains it
		}
		id, err := c.Create(t.Context(), "main", m)
		if err != nil {
			t.Fatal(err)
		}
		want = id
	}
	if id, found, err := c.Find(t.Context(), "main", "Jane@contoso.example"); err != nil || !found || id != want {
		t.Errorf("Find() = %q, %t, %v, want %q", id, found, err, want)
	}
}

func TestADuplicateIsUnclearAndTheListingHasItsID(t *testing.T) {
	t.Parallel()
	_, base := simulate(t, warmyapi.Switches{Duplicate: warmyapi.DuplicateRefused})
	c := newClient(t, bearer(base), nil, time.Second)
	id, err := c.Create(t.Context(), "main", mailboxOf())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, create(t.Context(), c), fault.Unclear, "warmy_taken")
	if listed, found, err := c.Find(t.Context(), "main", address); err != nil || !found || listed != id {
		t.Errorf("Find() = %q, %t, %v", listed, found, err)
	}
}

func TestOneCreateIsOneArrivalWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	server, base := simulate(t, warmyapi.Switches{})
	c, looking := newClient(t, bearer(base), nil, 300*time.Millisecond), newClient(t, bearer(base), nil, patient)
	for i, rule := range []trouble.Rule{
		{Kind: trouble.ServerError},
		{Kind: trouble.BadGateway},
		{Kind: trouble.Reset},
		{Kind: trouble.Drip},
		{Kind: trouble.Truncate},
		{Kind: trouble.Huge, Size: 1 << 20},
		{Kind: trouble.Bomb, Size: 1 << 20},
		warmyapi.WithoutID(), warmyapi.LostAnswer(),
	} {
		for _, commit := range []bool{false, true} {
			m := mailboxOf()
			m.Address = fmt.Sprintf("m%d-%t@contoso.example", i, commit)
			server.ClearFaults()
			rule.Op, rule.Commit = warmyapi.OpCreate, commit
			if err := server.Fault(rule); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Create(t.Context(), "main", m); !fault.Is(err, fault.Unclear) {
				t.Errorf("%s: %v", rule.Kind, err)
			}
			if n := len(server.Posts(m.Address)); n > 1 {
				t.Errorf("%s: the mailbox arrived %d times", rule.Kind, n)
			}
			_, found, err := looking.Find(t.Context(), "main", m.Address)
			if err != nil || found != (len(server.Mailboxes(m.Address)) == 1) {
				t.Errorf("%s: found %t, %v", rule.Kind, found, err)
			}
		}
	}
	if twice := server.CreatedTwice(); len(twice) > 0 {
		t.Errorf("created twice: %v", twice)
	}
}

func TestASessionSignsInAndAgainWhenItHasEnded(t *testing.T) {
	t.Parallel()
	server, base := simulate(t, warmyapi.Switches{RotateTokens: true})
	account := warmy.Account{
		Name: "main", BaseURL: base, Auth: warmy.Session, HolderUID: "holder", Email: secret.New("op@x.example"), Password: secret.New("pw"),
	}
	pace := &pacer{}
	c := newClient(t, account, pace, time.Second)
	for range 3 {
		if err := create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	server.SignOutAll()
	if err := c.Ping(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	calls := server.Summary().Calls
	if calls[warmyapi.OpSignIn]["200"] != 2 || pace.count() != 7 {
		t.Errorf("calls = %v, %d paced, want 2 sign-ins and 7 paced", calls, pace.count())
	}
	account.Password = secret.New("wrong-" + canary)
	wants(t, create(t.Context(), newClient(t, account, nil, time.Second)), fault.LegDown, "warmy_sign_in")
	if err := server.Fault(trouble.Rule{Kind: trouble.Hang, Op: warmyapi.OpSignIn}); err != nil {
		t.Fatal(err)
	}
	wants(t, create(t.Context(), newClient(t, account, nil, 100*time.Millisecond)), fault.Transient, "warmy_timeout")
}
