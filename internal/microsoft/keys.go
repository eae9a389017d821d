package microsoft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kindling/internal/fault"
)

const (
	// keysRest is the time in which keysFetches good fetches of keys are enough: an id_token with an invented key id must not
	// make us hammer Microsoft. Two, so that a rotation just after the first fetch costs no wait.
	keysRest    = time.Minute
	keysFetches = 2
	// keysLife is how long fetched keys serve without a look at whether Microsoft took one back (it asks for a day).
	keysLife = 24 * time.Hour
)

// keyring is the keys with which one authority signs id_tokens. They are fetched when a key id is unknown or all are old,
// once for all callers that wait, and not more often than keysRest and keysFetches allow.
//
// The library's own key set fetches anew for every token that does not verify, without a bound.
type keyring struct {
	address  string
	client   *http.Client
	timeout  time.Duration
	now      func() time.Time
	observer Observer

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched []time.Time   // the last good fetches, oldest first
	flight  chan struct{} // closed when the fetch under way has ended; nil: none is
	err     error         // how the last fetch ended
}

// VerifySignature returns what jwt signs. An error that is a Fault says that the keys could not be had; any other, that
// the signature proves nothing.
func (k *keyring) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("not a token with one signature")
	}
	key, err := k.key(ctx, signed.Signatures[0].Header.KeyID)
	if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, errors.New("the signature is wrong")
	}
	return payload, nil
}

// key returns the key of an id, from memory if it may.
func (k *keyring) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	if id == "" {
		return nil, errors.New("the token names no key")
	}
	k.mu.Lock()
	have := k.find(id)
	wait := k.rest()
	switch {
	case have != nil:
		if k.old() {
			k.fly(ctx) // nobody waits for it: if a key was taken back, the next token sees it
		}
		k.mu.Unlock()
		return have, nil
	case wait > 0 && k.flight == nil:
		k.mu.Unlock()
		return nil, keysResting(wait)
	}
	flight := k.fly(ctx)
	k.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
		return nil, keysMissing(ctx)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if fresh := k.find(id); fresh != nil {
		return fresh, nil
	}
	if k.err != nil {
		return nil, keysMissing(ctx)
	}
	return nil, errors.New("no key of this id is Microsoft's")
}

func (k *keyring) find(id string) *jose.JSONWebKey {
	for i := range k.keys {
		if k.keys[i].KeyID == id {
			return &k.keys[i]
		}
	}
	return nil
}

// old reports whether it is time to see whether a key was taken back.
func (k *keyring) old() bool {
	n := len(k.fetched)
	return n == 0 || k.now().Sub(k.fetched[n-1]) > keysLife
}

// rest is how long no more keys may be fetched for an unknown id.
func (k *keyring) rest() time.Duration {
	if len(k.fetched) < keysFetches {
		return 0
	}
	return max(0, k.fetched[0].Add(keysRest).Sub(k.now()))
}

// fly returns the fetch under way, or starts one. It does not end with the caller who started it: others wait, too.
func (k *keyring) fly(ctx context.Context) chan struct{} {
	if k.flight == nil {
		k.flight = make(chan struct{})
		go k.fetch(context.WithoutCancel(ctx))
	}
	return k.flight
}

func (k *keyring) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	began := time.Now()
	keys, err := k.ask(ctx)
	outcome := OutcomeOK
	if err != nil {
		outcome = OutcomeOutage
	}
	k.observer.Answered(CallKeys, outcome, time.Since(began))
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err = err; err == nil {
		k.keys = keys
		k.fetched = append(k.fetched, k.now())
		k.fetched = k.fetched[max(0, len(k.fetched)-keysFetches):]
	}
	close(k.flight)
	k.flight = nil
}

// ask fetches the keys. Keys of kinds that this build cannot use are left out.
func (k *keyring) ask(ctx context.Context) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("address of the keys: %w", err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	return parseKeys(body)
}

func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(trimBOM(body), &set); err != nil {
		return nil, errors.New("the keys cannot be read")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key that can be used")
	}
	return keys, nil
}

func keysMissing(ctx context.Context) *fault.Fault {
	f := &fault.Fault{
		Class: fault.Transient, Code: "microsoft_keys_missing", Forecast: fault.ByTime,
		Cause:  "Microsoft's signing keys could not be fetched",
		Remedy: "none: it is tried again, and the tokens are kept; check that the login host's discovery address is reachable",
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		f.Err = context.Canceled
	}
	return f
}

// keysResting is for a key id that was unknown when the keys were fetched a moment ago.
func keysResting(wait time.Duration) *fault.Fault {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "microsoft_keys_resting", Forecast: fault.ByTime, After: wait,
		Cause:  "the id_token names a signing key that Microsoft did not have a moment ago",
		Remedy: "none: the keys are fetched again in a minute, and the tokens are kept; look for a proxy in between if it lasts",
	}
}
