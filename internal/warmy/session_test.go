package warmy_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

// signsIn is an account that begins its sessions itself.
func signsIn(base string) warmy.Account {
	return warmy.Account{
		Name: "main", BaseURL: base, Auth: warmy.Session, HolderUID: "holder",
		Email: secret.New("op@x.example"), Password: secret.New("pw-" + canary),
	}
}

// split answers a sign-in and all other calls differently.
func split(signIn, other http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/sign_in") {
			signIn(w, r)
			return
		}
		other(w, r)
	}
}

func TestASignInThatLeadsToNoSessionIsToldAndNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	const bad = `{"success":false,"errors":["Invalid login credentials pw-` + canary + `"]}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
		then   string // of the next call, which asks nobody
	}{
		"refused":              {say(401, bad), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"200 without a token":  {say(200, "{}"), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"200 with blanks":      {say(200, "{}", "access-token", " ", "client", "c", "uid", "u"), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"200 without a client": {say(200, "{}", "access-token", "t", "uid", "u"), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"a token of 2 KB":      {say(200, "{}", "access-token", strings.Repeat("t", 2048), "client", "c", "uid", "u"), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"a token of two words": {say(200, "{}", "access-token", "a b", "client", "c", "uid", "u"), fault.LegDown, "warmy_sign_in", "warmy_sign_in"},
		"403":                  {say(403, ""), fault.LegDown, "warmy_403", "warmy_sign_in_waits"},
		"404":                  {say(404, ""), fault.LegDown, "warmy_api_changed", "warmy_sign_in_waits"},
		"422":                  {say(422, bad), fault.LegDown, "warmy_api_changed", "warmy_sign_in_waits"},
		"redirect":             {say(307, "", "Location", "/elsewhere"), fault.LegDown, "warmy_redirect", "warmy_sign_in_waits"},
		"429":                  {say(429, "", "Retry-After", "7"), fault.RetryAfter, "warmy_429", "warmy_sign_in_waits"},
		"500":                  {say(500, canary), fault.Transient, "warmy_5xx", "warmy_sign_in_waits"},
		"time-out":             {hang, fault.Transient, "warmy_timeout", "warmy_sign_in_waits"},
		"EOF":                  {cut(""), fault.Transient, "warmy_connection_lost", "warmy_sign_in_waits"},
		"endless":              {endless, fault.Transient, "warmy_unreadable", "warmy_sign_in_waits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, split(c.answer, say(200, `{"data":{"id":1}}`)))
			client := newClient(t, signsIn(f.URL), nil, timeoutFor(c.code))
			wants(t, create(t.Context(), client), c.class, c.code)
			err := create(t.Context(), client)
			if got := fault.Of(err); got.Code != c.then || (got.Class == fault.LegDown) != (c.class == fault.LegDown) || len(f.got()) != 1 || strings.Contains(err.Error(), canary) {
				t.Errorf("then %v after %d calls", err, len(f.got()))
			}
		})
	}
}

func TestASessionThatIsRefusedAtOnceHoldsTheLeg(t *testing.T) {
	t.Parallel()
	f := newFake(t, split(say(200, "{}", "access-token", "t", "client", "c", "uid", "u"), say(401, "")))
	c := newClient(t, signsIn(f.URL), nil, time.Second)
	wants(t, create(t.Context(), c), fault.LegDown, "warmy_401")
	for range 3 {
		wants(t, create(t.Context(), c), fault.LegDown, "warmy_sign_in")
	}
	if n := len(f.got()); n != 2 {
		t.Errorf("%d calls, want one sign-in and one attempt", n)
	}
	if call := f.got()[0]; call.header.Get("access-token") != "" || call.header.Get("Authorization") != "" || call.header.Get("holder-uid") != "holder" {
		t.Errorf("the sign-in is signed: %v", call.header)
	}
}

func TestSignInsGrowRareAndBeginAnewWithAnotherPassword(t *testing.T) {
	t.Parallel()
	f := newFake(t, say(401, ""))
	now := clock()
	c := warmy.New(warmy.Config{Accounts: []warmy.Account{signsIn(f.URL)}, Now: func() time.Time { return now }})
	for range 24 * 60 { // a day, with a probe each minute
		_ = c.Ping(t.Context(), "main")
		now = now.Add(time.Minute)
	}
	tries := len(f.got())
	if tries < 24 || tries > 34 {
		t.Errorf("%d sign-ins in a day", tries)
	}
	if err := c.ReplaceLogin("main", secret.Text{}, secret.New("fresh")); err != nil {
		t.Fatal(err)
	}
	if _ = c.Ping(t.Context(), "main"); len(f.got()) != tries+1 {
		t.Error("another password waits for the old one's refusals")
	}
	if code := fault.Of(c.ReplaceLogin("other", secret.Text{}, secret.Text{})).Code; code != "account_unknown" {
		t.Errorf("an unknown account: %s", code)
	}
}

func TestAnExpiredSessionIsNotTried(t *testing.T) {
	t.Parallel()
	now := clock()
	expires := clock().Add(time.Hour).Unix()
	f := newFake(t, split(
		say(200, "{}", "access-token", "t", "client", "c", "uid", "u", "expiry", encode(t, expires)),
		say(200, "[]", "access-token", " ", "expiry", " ")))
	c := warmy.New(warmy.Config{Accounts: []warmy.Account{signsIn(f.URL)}, Now: func() time.Time { return now }})
	paths := []string{}
	for _, later := range []time.Duration{0, 50 * time.Minute, 20 * time.Minute} {
		now = now.Add(later)
		if err := c.Ping(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
	}
	for _, call := range f.got() {
		paths = append(paths, call.path[strings.LastIndex(call.path, "/")+1:])
	}
	if got := strings.Join(paths, " "); got != "sign_in tariff_plan_types tariff_plan_types sign_in tariff_plan_types" {
		t.Errorf("calls: %s", got)
	}
}

// TestTheIntentIsSavedBeforeEverySend: a session that has ended is begun again, and that may take as long as a lease.
func TestTheIntentIsSavedBeforeEverySend(t *testing.T) {
	t.Parallel()
	var posts, intents int
	f := newFake(t, split(say(200, "{}", "access-token", "t", "client", "c", "uid", "u"), func(w http.ResponseWriter, r *http.Request) {
		posts++
		if intents != posts {
			t.Errorf("POST %d after %d intents", posts, intents)
		}
		if posts == 1 {
			say(401, "")(w, r)
			return
		}
		say(200, `{"data":{"id":1}}`)(w, r)
	}))
	account := signsIn(f.URL)
	account.UID, account.Client, account.AccessToken = secret.New("u"), secret.New("c"), secret.New("ended")
	m := mailboxOf()
	m.Intend = func(context.Context) error {
		intents++
		return nil
	}
	if _, err := newClient(t, account, nil, time.Second).Create(t.Context(), "main", m); err != nil || posts != 2 || intents != 2 {
		t.Errorf("%v after %d posts and %d intents", err, posts, intents)
	}
	posts, intents = 0, 0
	overtaken := failing(fault.Transient, "overtaken", false)
	m.Intend = func(context.Context) error {
		if intents++; intents == 2 {
			return overtaken
		}
		return nil
	}
	if _, err := newClient(t, account, nil, time.Second).Create(t.Context(), "main", m); !errors.Is(err, overtaken) || posts != 1 {
		t.Errorf("%v after %d posts: an intent that cannot be saved ends the call", err, posts)
	}
}

// silentSessions is a store that does not answer.
type silentSessions struct{}

func (silentSessions) Borrow(context.Context, string, time.Duration) ([]byte, uint64, error) {
	return nil, 0, errors.New("the store does not answer")
}

func (silentSessions) Keep(context.Context, string, uint64, []byte, time.Duration) (uint64, error) {
	return 0, errors.New("the store does not answer")
}

func TestASessionThatTheStoreDoesNotGiveCountsAgainstNoEvent(t *testing.T) {
	t.Parallel()
	w := &prompt{}
	c := warmy.New(warmy.Config{Accounts: []warmy.Account{session("http://warmy.example")}, Transport: w, Sessions: silentSessions{}})
	wants(t, create(t.Context(), c), fault.RetryAfter, "warmy_not_sent")
	ended, end := context.WithCancel(t.Context())
	end()
	wants(t, create(ended, c), fault.Transient, "warmy_not_sent")
	if len(w.called) > 0 {
		t.Error("a call was made")
	}
}
