package warmy

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"kindling/internal/secret"
)

// workspace is an account and its session. In session mode calls go one after the other: the token rotates with
// the answers, and an answer that overtakes another would leave an outdated one behind.
type workspace struct {
	Account
	key    atomic.Pointer[secret.Text] // the API key now; the Account's own is that of the beginning
	turn   chan struct{}               // of capacity 1; held during a call in session mode
	token  secret.Text                 // the session's latest access-token; this and the next two are guarded by turn
	client secret.Text
	uid    secret.Text
}

func newWorkspace(a Account) *workspace {
	w := &workspace{Account: a, turn: make(chan struct{}, 1), token: a.AccessToken, client: a.Client, uid: a.UID}
	w.key.Store(&a.APIKey)
	return w
}

// enter waits for the workspace's turn and returns what gives it back. With an API key nobody waits.
func (w *workspace) enter(ctx context.Context) (leave func(), err error) {
	if w.Auth != Session {
		return func() {}, nil
	}
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sign adds the account's headers.
func (w *workspace) sign(header http.Header) {
	header.Set("holder-uid", w.HolderUID)
	if w.Auth != Session {
		header.Set("Authorization", "Bearer "+w.key.Load().Reveal())
		return
	}
	header.Set("access-token", w.token.Reveal())
	header.Set("client", w.client.Reveal())
	header.Set("uid", w.uid.Reveal())
}

// follow keeps a rotated access-token. A blank one means that the old one stays (devise_token_auth sends a single
// space for requests that come close together).
func (w *workspace) follow(header http.Header) {
	if token := strings.TrimSpace(header.Get("access-token")); w.Auth == Session && token != "" {
		w.token = secret.New(token)
	}
}

// canSignIn tells whether a new session can be had without an operator.
func (w *workspace) canSignIn() bool {
	return w.Auth == Session && !w.Email.Empty() && !w.Password.Empty()
}

// signIn opens a session. Each one is a new client at Warmy, which keeps ten per user and evicts the oldest: so it
// happens only when there is none, or the one there was has ended.
func (c *Client) signIn(ctx context.Context, w *workspace) error {
	if err := c.wait(ctx, w.Name); err != nil {
		return err
	}
	w.token, w.client, w.uid = secret.Text{}, secret.Text{}, secret.Text{}
	got := c.send(ctx, w, call{
		method: http.MethodPost, path: "/api/v1/auth/sign_in", limit: maxAnswer,
		body: map[string]string{"email": w.Email.Reveal(), "password": w.Password.Reveal()},
	})
	switch f := failed(got, c.now()); {
	case f != nil && f.Code == "warmy_401", f == nil && w.token.Empty():
		return down("warmy_sign_in", "Warmy does not accept the account's e-mail and password", "correct both, or better: use an API key (auth: bearer)")
	case f != nil:
		return repeatable(f)
	}
	w.client, w.uid = secret.New(got.header.Get("client")), secret.New(got.header.Get("uid"))
	return nil
}

// ended tells whether an answer says that the session is over. The call had no effect then.
func (a answer) ended() bool { return a.status == http.StatusUnauthorized }

// inSession makes one call, after signing in if there is no session, and once more if the session had ended.
func (c *Client) inSession(ctx context.Context, w *workspace, q call) (answer, error) {
	fresh := w.canSignIn() && w.token.Empty()
	if fresh {
		if err := c.signIn(ctx, w); err != nil {
			return answer{}, err
		}
	}
	if err := c.wait(ctx, w.Name); err != nil {
		return answer{}, err
	}
	if q.intend != nil {
		if err := q.intend(ctx); err != nil {
			return answer{}, err
		}
		q.intend = nil
	}
	got := c.send(ctx, w, q)
	if !got.ended() || !w.canSignIn() || fresh {
		return got, nil
	}
	w.token = secret.Text{}
	return c.inSession(ctx, w, q)
}
