package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kindling/internal/handlers"
)

// Sessions keeps the session of each Warmy account for all processes, sealed, in the control bucket, and lends it to one of
// them at a time. Who dies with it keeps it for the rest of the loan, and no longer.
type Sessions struct {
	kv  kv
	box Box
	now func() time.Time // the server's
}

// Sessions returns the sessions that are sealed with grants.
func (b *Bus) Sessions(grants Box) *Sessions {
	return &Sessions{kv: kv{b, bucketControl}, box: grants, now: b.clock.now}
}

const sessionPrefix = "session."

func sessionKey(account string) string { return sessionPrefix + account }

// sessionContext binds what is sealed to its account.
func sessionContext(account string) string { return "v1|session|" + account }

// storedSession is a session as the bucket has it.
type storedSession struct {
	Until  time.Time `json:"until,omitzero"` // of the loan; zero: nobody has it
	Sealed []byte    `json:"sealed,omitempty"`
}

const (
	longestLoan = time.Minute
	// askLeast and askMost bound how long a process that waits for a session leaves between two looks.
	askLeast, askMost = 10 * time.Millisecond, 160 * time.Millisecond
)

// Borrow waits until nobody else has the account's session. It returns what is kept, nil for nothing, and the revision with
// which Keep stores. The loan ends after d, at most a minute. What does not open was sealed with a key that is gone, and is
// nothing: a session is had again by a sign-in.
func (s *Sessions) Borrow(ctx context.Context, account string, d time.Duration) (kept []byte, revision uint64, err error) {
	for pause := askLeast; ; pause = min(2*pause, askMost) {
		if err := s.kv.bus.lookAtClock(ctx); err != nil {
			return nil, 0, err
		}
		stored, revision, err := s.read(ctx, account)
		if err != nil {
			return nil, 0, err
		}
		if free := s.free(stored); free {
			revision, err = s.put(ctx, account, revision, stored.Sealed, d)
			if err == nil {
				kept, _ := s.box.Open(stored.Sealed, sessionContext(account))
				return kept, revision, nil
			}
			if !errors.Is(err, handlers.ErrConflict) {
				return nil, 0, err
			}
		}
		rest(ctx, pause/2+rand.N(pause)) //nolint:gosec // no secret
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("wait for the session: %w", context.Cause(ctx))
		}
	}
}

// Keep stores a state, and begins another loan of d; with 0 the session is free for others. It returns
// handlers.ErrConflict when the session was lent to somebody else meanwhile, whose state counts.
func (s *Sessions) Keep(ctx context.Context, account string, revision uint64, state []byte, d time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	sealed, err := s.box.Seal(state, sessionContext(account))
	if err != nil {
		return 0, fmt.Errorf("seal session: %w", err)
	}
	return s.put(ctx, account, revision, sealed, d)
}

func (s *Sessions) read(ctx context.Context, account string) (stored storedSession, revision uint64, err error) {
	data, revision, err := s.kv.get(ctx, sessionKey(account))
	if err != nil {
		return storedSession{}, 0, err
	}
	if len(data) > 0 && json.Unmarshal(data, &stored) != nil {
		stored = storedSession{} // what is unreadable is nobody's
	}
	return stored, revision, nil
}

// free reports whether nobody has the session.
func (s *Sessions) free(stored storedSession) bool {
	return claimed(stored.Until, s.now(), longestLoan) == 0
}

func (s *Sessions) put(ctx context.Context, account string, revision uint64, sealed []byte, d time.Duration) (uint64, error) {
	next := storedSession{Sealed: sealed}
	if d > 0 {
		next.Until = s.now().Add(min(d, longestLoan)).UTC()
	}
	data, err := json.Marshal(next)
	if err != nil {
		return 0, fmt.Errorf("encode session: %w", err)
	}
	return s.kv.put(ctx, sessionKey(account), data, revision)
}
