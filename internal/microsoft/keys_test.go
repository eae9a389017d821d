package microsoft_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kindling/internal/fault"
	"kindling/internal/secret"
)

// published answers with the public keys of the given ids, all of them the tests' signer's.
func published(ids ...string) http.HandlerFunc {
	keys := []any{map[string]any{"kty": "OKP", "alg": "ML-DSA-65", "kid": "of tomorrow"}, "no key"}
	for _, id := range ids {
		keys = append(keys, jose.JSONWebKey{Key: &signer().PublicKey, KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	return answerJSON(http.StatusOK, map[string]any{"keys": keys})
}

func signedBy(t *testing.T, id string, login string) secret.Text {
	t.Helper()
	return sign(t, jose.RS256, jose.JSONWebKey{Key: signer(), KeyID: id}, goodClaims(login))
}

func TestInventedKeyIDsDoNotMakeUsHammerMicrosoft(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	var now atomic.Int64
	now.Store(clock().UnixNano())
	client := server.clientAt(t, func() time.Time { return time.Unix(0, now.Load()) })
	forged := func(i int) error {
		_, err := client.Prove(t.Context(), "main", tokensWith(signedBy(t, fmt.Sprint("forged", i), server.URL)), address)
		return err
	}
	wants(t, forged(0), fault.Permanent, "identity_unproven", "") // fetched, and Microsoft has no such key
	wants(t, forged(1), fault.Permanent, "identity_unproven", "") // fetched again
	for i := range 200 {
		f := wants(t, forged(i), fault.RetryAfter, "microsoft_keys_resting", "")
		if f.After <= 0 || f.After > time.Minute {
			t.Fatalf("to be asked again after %s", f.After)
		}
	}
	if got := server.fetch.Load(); got != 2 {
		t.Errorf("202 invented key ids cost %d fetches, want 2", got)
	}
	if _, err := client.Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address); err != nil {
		t.Errorf("meanwhile an honest token: %v", err)
	}
	now.Add(int64(time.Minute))
	wants(t, forged(7), fault.Permanent, "identity_unproven", "")
	if got := server.fetch.Load(); got != 3 {
		t.Errorf("a minute later: %d fetches, want 3", got)
	}
}

func TestManyUnknownKeysAtOnceShareOneFetch(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	begun, release := make(chan struct{}), make(chan struct{})
	good := *server.keys.Load()
	server.onKeys(func(w http.ResponseWriter, r *http.Request) {
		close(begun) // twice would panic
		<-release
		good(w, r)
	})
	token := tokensWith(idToken(t, server.URL, nil))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := client.Prove(t.Context(), "main", token, address); err != nil {
				t.Error(err)
			}
		})
	}
	<-begun
	close(release)
	all.Wait()
	if got := server.fetch.Load(); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

func TestARotatedKeyIsFoundWithOneMoreFetch(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for i, id := range []string{"k1", "k2"} {
		server.onKeys(published("k0", id))
		if _, err := client.Prove(t.Context(), "main", tokensWith(signedBy(t, id, server.URL)), address); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if got := int(server.fetch.Load()); got != i+1 {
			t.Errorf("%s: %d fetches", id, got)
		}
	}
}

// A known key with a wrong signature proves nothing, and no newer keys would change that.
func TestAWrongSignatureFetchesNothing(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	if _, err := client.Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address); err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"k1", ""} {
		forged := sign(t, jose.RS256, jose.JSONWebKey{Key: stranger, KeyID: id}, goodClaims(server.URL))
		_, err := client.Prove(t.Context(), "main", tokensWith(forged), address)
		wants(t, err, fault.Permanent, "identity_unproven", "")
	}
	if got := server.fetch.Load(); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

func TestAKeyThatMicrosoftTookBackIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	var now atomic.Int64
	now.Store(clock().UnixNano())
	client := server.clientAt(t, func() time.Time { return time.Unix(0, now.Load()) })
	prove := func() error {
		_, err := client.Prove(t.Context(), "main", tokensWith(signedBy(t, "k1", server.URL)), address)
		return err
	}
	if err := prove(); err != nil {
		t.Fatal(err)
	}
	server.onKeys(answerText(http.StatusInternalServerError, ""))
	now.Add(int64(25 * time.Hour))
	if err := prove(); err != nil {
		t.Errorf("while the keys cannot be had: %v", err)
	}
	server.onKeys(published("k2"))
	deadline := time.Now().Add(10 * time.Second)
	for fault.Of(prove()).Code != "identity_unproven" { // nobody waits for the look that forgets it
		if time.Now().After(deadline) {
			t.Fatal("the key still proves")
		}
	}
}
