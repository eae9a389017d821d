package crowd_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/sim/crowd"
	"kindling/internal/sim/msid"
)

const clientID = "0c01ed67-b2ed-4b4b-93d2-c3e9ebd5f111"

// edge stands in for the product's public side: as small as can be, and as
// strict as the real one where a browser matters.
type edge struct {
	mode, login, self string
	sameSite          http.SameSite
	policy            string // of the start page

	mu        sync.Mutex
	callbacks []url.Values
	refusals  []string
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "same-origin")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /c/{link}", e.landing)
	mux.Handle("POST /c/{link}/start", http.NewCrossOriginProtection().Handler(http.HandlerFunc(e.begin)))
	mux.HandleFunc("/callback", e.callback)
	mux.HandleFunc("GET /done", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<title>Connected</title>"))
	})
	mux.ServeHTTP(w, r)
}

func (e *edge) landing(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", e.policy)
	_, _ = fmt.Fprintf(w, `<title>Connect</title><form method=post action="/c/%s/start"><button>Connect</button></form>`, r.PathValue("link"))
}

func (e *edge) begin(w http.ResponseWriter, r *http.Request) {
	state := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: "__Host-a-" + state[:8], Value: state, Path: "/", Secure: true, HttpOnly: true, SameSite: e.sameSite, MaxAge: 900})
	q := url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "redirect_uri": {e.self + "/callback"}, "scope": {"openid offline_access User.Read"},
		"state": {state}, "response_mode": {e.mode}, "login_hint": {r.PathValue("link") + "@contoso.example"},
	}
	w.Header().Set("Location", e.login+"/organizations/oauth2/v2.0/authorize?"+q.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

func (e *edge) callback(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	state := r.Form.Get("state")
	e.mu.Lock()
	defer e.mu.Unlock()
	if cookie, err := r.Cookie("__Host-a-" + (state + "########")[:8]); err != nil || cookie.Value != state {
		e.refusals = append(e.refusals, r.Method+" without cookie from "+r.Header.Get("Sec-Fetch-Site"))
		http.Error(w, "not this browser", http.StatusForbidden)
		return
	}
	e.callbacks = append(e.callbacks, r.Form)
	w.Header().Set("Location", "/done")
	w.WriteHeader(http.StatusSeeOther)
}

func start(t *testing.T, mode string) (*edge, *msid.Server) {
	t.Helper()
	e := &edge{mode: mode, sameSite: http.SameSiteNoneMode}
	front := httptest.NewServer(e)
	t.Cleanup(front.Close)
	e.self = front.URL
	m := msid.New(msid.Config{SigningAlg: msid.ES256, Apps: []msid.App{{
		ClientID: clientID, Secrets: []string{"s"}, RedirectURIs: []string{e.self + "/callback"},
	}}})
	login := httptest.NewServer(m)
	t.Cleanup(login.Close)
	e.login, e.policy = login.URL, "default-src 'none'; form-action 'self' "+login.URL
	return e, m
}

func TestEachBehaviourEndsWhereABrowserWouldEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		does      crowd.Behaviour
		stage     crowd.Stage
		callbacks int
		code      bool
		owner     string
	}{
		{crowd.Accept, crowd.Returned, 1, true, "ann@contoso.example"},
		{crowd.Decline, crowd.Returned, 1, false, ""},
		{crowd.WrongAccount, crowd.Returned, 1, true, "not.ann@contoso.example"},
		{crowd.SlowCode, crowd.Returned, 1, true, "ann@contoso.example"},
		{crowd.Abandon, crowd.AtMicrosoft, 0, false, ""},
		{crowd.DoubleClick, crowd.Returned, 2, true, "ann@contoso.example"},
	}
	for _, mode := range []string{"query", "form_post"} {
		for _, tt := range tests {
			t.Run(mode+" "+string(tt.does), func(t *testing.T) {
				t.Parallel()
				e, m := start(t, mode)
				out, err := crowd.Crowd{}.Visit(t.Context(), e.self+"/c/ann", "ann@contoso.example", tt.does)
				if err != nil || out.Stage != tt.stage || out.Stage == crowd.Returned && out.Title != "Connected" {
					t.Fatalf("outcome %+v, error %v; refused: %q", out, err, e.refusals)
				}
				if len(e.callbacks) != tt.callbacks {
					t.Fatalf("%d callbacks, want %d", len(e.callbacks), tt.callbacks)
				}
				for _, form := range e.callbacks {
					if form.Has("code") != tt.code || form.Has("error") == tt.code {
						t.Errorf("callback with %v", slices.Sorted(maps.Keys(form)))
					}
				}
				for _, c := range m.Codes("") {
					if c.Address != tt.owner {
						t.Errorf("code for %q, want %q", c.Address, tt.owner)
					}
					if expired := c.Expires.Before(time.Now()); expired != (tt.does == crowd.SlowCode) {
						t.Errorf("expired = %v", expired)
					}
				}
			})
		}
	}
}

func TestALaxCookieDoesNotSurviveAFormPost(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int{"query": http.StatusOK, "form_post": http.StatusForbidden} {
		e, _ := start(t, mode)
		e.sameSite = http.SameSiteLaxMode
		out, err := crowd.Crowd{}.Visit(t.Context(), e.self+"/c/ann", "ann@contoso.example", crowd.Accept)
		if err != nil || out.Status != want {
			t.Errorf("%s: outcome %+v (%v), want status %d", mode, out, err, want)
		}
	}
}

func TestAFormActionThatForgetsTheSignInBlocksTheStart(t *testing.T) {
	t.Parallel()
	e, m := start(t, "query")
	e.policy = "form-action 'self' https://login.microsoftonline.com"
	_, err := crowd.Crowd{}.Visit(t.Context(), e.self+"/c/ann", "ann@contoso.example", crowd.Accept)
	if !errors.Is(err, crowd.ErrFormAction) {
		t.Errorf("error = %v", err)
	}
	if got := m.Summary().Calls; len(got) != 0 {
		t.Errorf("the sign-in was reached: %v", got)
	}
}

func TestOnlyLoopbackIsVisited(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"http://example.com/c/x", "http://127.0.0.1.example.com/", "http://10.0.0.1/"} {
		if _, err := (crowd.Crowd{}).Visit(t.Context(), link, "ann@contoso.example", crowd.Accept); !errors.Is(err, crowd.ErrForeignHost) {
			t.Errorf("%s: error = %v", link, err)
		}
	}
}

func TestARunVisitsEveryPlanOnce(t *testing.T) {
	t.Parallel()
	e, m := start(t, "form_post")
	var plans []crowd.Plan
	for i := range 40 {
		name := fmt.Sprintf("owner%02d", i)
		plans = append(plans, crowd.Plan{Link: e.self + "/c/" + name, Address: name + "@contoso.example", Behaviour: crowd.Accept})
	}
	var seen []string
	crowd.Crowd{Concurrency: 4}.Run(t.Context(), slices.Values(plans), func(p crowd.Plan, out crowd.Outcome, err error) {
		if err != nil || out.Stage != crowd.Returned || !strings.HasSuffix(out.Path, "/done") {
			t.Errorf("%s: %+v, %v", p.Address, out, err)
		}
		seen = append(seen, p.Address)
	})
	slices.Sort(seen)
	var want []string
	for _, p := range plans {
		want = append(want, p.Address)
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("visits (-want +got):\n%s", diff)
	}
	if got := m.Summary().Codes; got != 40 {
		t.Errorf("%d codes", got)
	}
}

func TestAMixIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	mix := crowd.Mix{Decline: 0.1, WrongAccount: 0.1, Seed: 7}
	count := map[crowd.Behaviour]int{}
	for i := range 2000 {
		address := fmt.Sprintf("o%d@contoso.example", i)
		count[mix.Of(address)]++
		if mix.Of(address) != mix.Of(strings.ToUpper(address)) {
			t.Fatalf("%s depends on letter case", address)
		}
	}
	for does, want := range map[crowd.Behaviour]int{crowd.Decline: 200, crowd.WrongAccount: 200, crowd.Accept: 1600} {
		if got := count[does]; got < want-60 || got > want+60 {
			t.Errorf("%s: %d of 2000, want about %d", does, got, want)
		}
	}
}
