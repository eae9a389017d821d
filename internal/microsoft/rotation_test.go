package microsoft_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
)

func secrets(texts ...string) microsoft.Credentials {
	var c microsoft.Credentials
	for _, text := range texts {
		c.Secrets = append(c.Secrets, secret.New(text))
	}
	return c
}

func TestReplacedSecretsAreUsedAndTheFirstOfThemCounts(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	var good atomic.Value
	good.Store("b")
	server.onToken(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_secret") != good.Load() {
			errorAnswer("invalid_client", 7000215)(w, r)
			return
		}
		answerJSON(http.StatusOK, goodGrant())(w, r)
	})
	client := server.client(t, func(a *microsoft.App) { a.Secrets = secrets("a", "b").Secrets })
	if err := redeem(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if err := client.Replace("main", secrets("c", "d")); err != nil {
		t.Fatal(err)
	}
	if _, used, err := client.Credentials("main"); err != nil || used.Reveal() != "c" {
		t.Errorf("after the replacement Warmy would be given %q, %v", used.Reveal(), err)
	}
	good.Store("c")
	before := server.hits.Load()
	if err := redeem(t.Context(), client); err != nil || server.hits.Load() != before+1 {
		t.Errorf("%d requests, %v", server.hits.Load()-before, err)
	}
	wants(t, client.Replace("other", secrets("x")), fault.LegDown, "app_unknown", "")
}

// The secret is replaced while Microsoft still thinks about the call with the old one. That call must not stop the app.
func TestACallThatIsRefusedWithReplacedSecretsTriesTheNewOnes(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	var client *microsoft.Client
	server.onToken(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_secret") == "new" {
			answerJSON(http.StatusOK, goodGrant())(w, r)
			return
		}
		if err := client.Replace("main", secrets("new")); err != nil {
			t.Error(err)
		}
		errorAnswer("invalid_client", 7000222)(w, r)
	})
	client = server.client(t, func(a *microsoft.App) { a.Secrets = secrets("old").Secrets })
	if err := redeem(t.Context(), client); err != nil {
		t.Error(err)
	}
	if got := server.hits.Load(); got != 2 {
		t.Errorf("%d requests", got)
	}
	server.onToken(func(w http.ResponseWriter, r *http.Request) {
		if err := client.Replace("main", secrets("newer")); err != nil {
			t.Error(err)
		}
		errorAnswer("invalid_grant", 54005)(w, r)
	})
	wants(t, redeem(t.Context(), client), fault.NeedsConsent, "AADSTS54005", mailbox.CodeExpired)
	if got := server.hits.Load(); got != 3 {
		t.Errorf("%d requests: a spent code was sent again", got)
	}
}

func TestARotationUnderLoadLosesNoRedeemAndNoRefresh(t *testing.T) {
	t.Parallel()
	s := patient(t, msid.App{Secrets: []string{"s0"}}, microsoft.App{Secrets: secrets("s0").Secrets}, time.Now)
	portal := func(expired []string, valid ...string) {
		if !s.SetProofs(clientID, msid.Proofs{Secrets: valid, ExpiredSecrets: expired}) {
			t.Error("the simulator does not know the app")
		}
	}
	const workers, rotations = 4, 15
	var over atomic.Bool
	var done atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := 0; !over.Load(); i++ {
				s.exchangeOnce(t.Context(), t, fmt.Sprintf("w%d-%d@contoso.example", w, i))
				done.Add(1)
			}
		})
	}
	for i := range rotations {
		old, next := fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i+1)
		portal(nil, old, next) // the administrator makes a new one
		if err := s.client.Replace("main", secrets(next, old)); err != nil {
			t.Error(err)
		}
		portal([]string{old}, next) // the old one expires
		for floor := done.Load() + workers/2; done.Load() < floor && !t.Failed(); {
			s.exchangeOnce(t.Context(), t, fmt.Sprintf("r%d-%d@contoso.example", i, done.Add(1)))
		}
	}
	over.Store(true)
	group.Wait()
	if done.Load() < rotations {
		t.Errorf("only %d exchanges in %d rotations", done.Load(), rotations)
	}
}

// exchangeOnce redeems a code and refreshes its grant.
func (s simulated) exchangeOnce(ctx context.Context, t *testing.T, owner string) {
	t.Helper()
	tokens, err := s.client.Redeem(ctx, "main", s.consentOf(owner))
	if err == nil {
		_, err = s.client.Refresh(ctx, "main", tokens)
	}
	if err != nil {
		t.Errorf("%s: %v", owner, err)
	}
}
