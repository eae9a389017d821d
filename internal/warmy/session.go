package warmy

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/secret"
)

// Sessions keeps one session per account for all processes, and lends it to one of them at a time: its token changes with
// the answers, and an answer that overtakes another would leave an outdated one behind. What is kept is secret.
type Sessions interface {
	// Borrow waits until nobody else has the account's session, and returns what is kept of it, empty for nothing, with the
	// revision to give it back by. After d, at most a minute, it is lent to others.
	Borrow(ctx context.Context, account string, d time.Duration) (kept []byte, revision uint64, err error)
	// Keep stores a new state and begins another loan of d; 0 gives the session back. It is handlers.ErrConflict when the
	// session was lent to somebody else meanwhile.
	Keep(ctx context.Context, account string, revision uint64, state []byte, d time.Duration) (uint64, error)
}

// workspace is an account as a client uses it.
type workspace struct {
	Account
	key   atomic.Pointer[secret.Text] // the API key now; the Account's own is that of the beginning
	login atomic.Pointer[login]       // the same of what a session begins with
	one   chan struct{}               // of capacity 1; held during a call in session mode
	clock atomic.Pointer[Clock]       // of the last answer that told the time
}

// login is what a session can begin with: a token from elsewhere, and a password.
type login struct{ token, password secret.Text }

func newWorkspace(a Account) *workspace {
	w := &workspace{Account: a, one: make(chan struct{}, 1)}
	w.key.Store(&a.APIKey)
	w.login.Store(&login{token: a.AccessToken, password: a.Password})
	return w
}

// enter waits until no other call of this process is in the workspace's session, and returns what lets the next one in. First
// come, first served: whom the Pacer would let go before is not known here (docs/adr/0023).
func (w *workspace) enter(ctx context.Context) (leave func(), err error) {
	select {
	case w.one <- struct{}{}:
		return func() { <-w.one }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bearer signs a call with the API key.
func (w *workspace) bearer(header http.Header) {
	header.Set("Authorization", "Bearer "+w.key.Load().Reveal())
}

const (
	// mostConflicts bounds how often a call waits again because its loan was over before it began.
	mostConflicts = 3
	// loanMargin is the part of a loan that is left unused: others count it from a little earlier.
	loanMargin = 10
)

// inSession makes one call in the account's session.
func (c *Client) inSession(ctx context.Context, w *workspace, q call) (answer, error) {
	leave, err := w.enter(ctx)
	if err != nil {
		return answer{}, notSent("the session was busy for too long", err)
	}
	defer leave()
	for range mostConflicts {
		got, lost, err := c.borrowed(ctx, w, &q)
		if !lost {
			return got, err
		}
	}
	return answer{}, notSent("other processes held the session for too long", ctx.Err())
}

// borrowed makes the call while this process has the session. lost tells that it was another's before the call began.
func (c *Client) borrowed(ctx context.Context, w *workspace, q *call) (got answer, lost bool, err error) {
	kept, revision, err := c.sessions.Borrow(ctx, w.Name, c.timeout)
	if err != nil {
		return answer{}, false, awaySession(ctx, "the session was busy for too long, or is out of reach", err)
	}
	l := &loan{client: c, w: w, revision: revision, since: time.Now(), session: openSession(kept, w), within: q.within}
	got, err = l.make(ctx, q)
	// If this fails the loan ends by itself. A token that is lost so is survived once, and then by another sign-in.
	_, _ = c.sessions.Keep(context.WithoutCancel(ctx), w.Name, l.revision, l.session.marshal(), 0)
	return got, l.lost, err
}

// loan is the account's session while this process has it.
type loan struct {
	client   *Client
	w        *workspace
	revision uint64
	since    time.Time // by the clock that runs evenly
	session  sessionState
	within   time.Duration // the deadline of every call in it; 0: the client's
	lost     bool
}

func (l *loan) left() time.Duration {
	return l.client.timeout - l.client.timeout/loanMargin - time.Since(l.since)
}

// keep stores the session and begins the loan again.
func (l *loan) keep(ctx context.Context) error {
	since := time.Now()
	revision, err := l.client.sessions.Keep(ctx, l.w.Name, l.revision, l.session.marshal(), l.client.timeout)
	if err != nil {
		l.lost = isConflict(err)
		return awaySession(ctx, "the session is another process's by now, or is out of reach", err)
	}
	l.revision, l.since = revision, since
	return nil
}

// sessionAgain is how long a call waits whose session could not be read or stored.
const sessionAgain = 5 * time.Second

// awaySession is a call that was not made for want of the session. What the store did not answer counts against no event.
func awaySession(ctx context.Context, cause string, err error) *fault.Fault {
	f := notSent(cause, err)
	if ctx.Err() == nil {
		f.Class, f.After = fault.RetryAfter, sessionAgain
	}
	return f
}

// make makes the call, and once more for each way to begin a session after the one there was has ended.
func (l *loan) make(ctx context.Context, q *call) (answer, error) {
	fresh, err := l.begin(ctx)
	if err != nil {
		return answer{}, err
	}
	if err := prepare(ctx, q, l.ready); err != nil {
		return answer{}, err
	}
	got := l.send(ctx, *q, l.session.sign)
	switch {
	case got.status == 0:
		return got, nil // nobody knows whether the token changed: the old one is good once more
	case got.status != http.StatusUnauthorized:
		l.session.worked()
		return got, nil
	case fresh:
		l.session.deny()
		return answer{}, down(codeUnauthorized, "Warmy does not accept a session that has only just begun", "check holder_uid; or use an API key (auth: bearer)")
	}
	l.session.end() // the call had no effect
	return l.make(ctx, q)
}

// ready waits for the pace, and sees to it that the loan lasts for a call. If the store took too long for that, it waits
// for one more turn.
func (l *loan) ready(ctx context.Context) error {
	late, err := l.paced(ctx)
	if late {
		_, err = l.paced(leg.Begun(ctx))
	}
	return err
}

// paced is ready with one turn; late tells that it is over.
func (l *loan) paced(ctx context.Context) (late bool, err error) {
	if err := l.client.wait(ctx, l.w.Name); err != nil {
		return false, err
	}
	turn := time.Now()
	if l.left() > l.client.timeout*2/3 {
		return false, nil
	}
	err = l.keep(ctx)
	return err == nil && time.Since(turn) > LeavesWithin, err
}

// send makes a request that ends before the loan does, and follows the token.
func (l *loan) send(ctx context.Context, q call, sign func(http.Header)) answer {
	ctx, cancel := context.WithTimeout(ctx, l.left())
	defer cancel()
	q.sign = sign
	got := l.client.send(ctx, l.w, q)
	l.session.follow(got.header)
	return got
}

// begin makes sure that there is a session to try. fresh tells that it was signed in just now.
func (l *loan) begin(ctx context.Context) (fresh bool, err error) {
	switch now := l.client.now(); {
	case l.session.usable(now):
		return false, nil
	case l.session.adopt(l.w):
		return false, nil
	case l.w.Email.Empty() || l.w.login.Load().password.Empty():
		return false, down(codeSessionEnded, "the session has ended at Warmy, and there is nothing to begin another one with",
			"better: use an API key (auth: bearer); or set email and password_file; or put a fresh access-token into access_token_file, with its uid and client")
	default:
		return true, l.signIn(ctx, now)
	}
}

// signIn opens a session. Each one is a new client at Warmy, which keeps ten per user and evicts the oldest, other programs'
// too: so it happens only when the one there was has ended, and ever more rarely while none of them works. That it is
// tried is stored first, so that a process that dies of it does not try without end.
func (l *loan) signIn(ctx context.Context, now time.Time) error {
	if wait := l.session.mayTry(l.w, now); wait > 0 {
		if l.session.Denied {
			return refusedSignIn()
		}
		return l.session.waits(wait)
	}
	if err := l.client.wait(ctx, l.w.Name); err != nil {
		return err
	}
	l.session.trying(l.w, now)
	if err := l.keep(ctx); err != nil {
		return err
	}
	got := l.send(ctx, call{
		method: http.MethodPost, path: "/api/v1/auth/sign_in", limit: maxAnswer, within: l.within,
		body: map[string]string{"email": l.w.Email.Reveal(), "password": l.w.login.Load().password.Reveal()},
	}, func(http.Header) {})
	switch f := failed(got, l.client.now()); {
	case f != nil && f.Code == codeUnauthorized, f == nil && !l.session.begun(got.header):
		l.session.deny()
		return refusedSignIn()
	case f != nil:
		f = asQuestion(f, got.status)
		l.session.end()
		l.session.Held = f.Class == fault.LegDown
		return f
	}
	return nil
}

func refusedSignIn() *fault.Fault {
	return down(codeSignIn, "Warmy does not accept the account's e-mail and password",
		"correct email, password_file and holder_uid, or better: use an API key (auth: bearer)")
}

// localSessions keeps sessions for one process alone; its workspaces take turns already.
type localSessions struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (s *localSessions) Borrow(_ context.Context, account string, _ time.Duration) (kept []byte, revision uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[account], 0, nil
}

func (s *localSessions) Keep(_ context.Context, account string, _ uint64, state []byte, _ time.Duration) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[string][]byte)
	}
	s.kept[account] = state
	return 0, nil
}

var _ Sessions = (*localSessions)(nil)

func isConflict(err error) bool { return errors.Is(err, handlers.ErrConflict) }
