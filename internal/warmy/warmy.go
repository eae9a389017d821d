// Package warmy speaks to Warmy's API: it registers mailboxes, finds them again, lists tariff plans and starts warm-ups.
//
// It promises that every call is paced, is made once, follows no redirect, keeps no cookie, and ends within its deadline
// and its size; and that the outcome of a POST is told apart with care: created, certainly without effect, or
// unclear. Only the first two may be acted upon. No text of Warmy's enters an error, because Warmy echoes what it is sent.
package warmy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/secret"
)

// Auth is how an account signs its calls.
type Auth string

// The two ways that Warmy documents.
const (
	Bearer  Auth = "bearer"  // an API key
	Session Auth = "session" // the guide's headers uid, client and access-token, which rotates
)

// Account is one Warmy workspace.
type Account struct {
	Name           string
	BaseURL        string
	Auth           Auth // empty: Bearer
	APIKey         secret.Text
	UID            secret.Text
	Client         secret.Text
	AccessToken    secret.Text
	Email          secret.Text // with Password, signs in when there is no session, or it has ended and AccessToken is spent
	Password       secret.Text
	HolderUID      string
	CallsPerMinute int // for the Pacer
}

// Pacer lets a call begin when the account's shared budget has room for it.
type Pacer interface {
	// Wait returns when one call may be made, or an error if that is not before ctx ends.
	Wait(ctx context.Context, account string) error
	// Throttled says that Warmy answered 429 to a call that left at sent, and for how long it wants no call: from all who share
	// the budget.
	Throttled(ctx context.Context, account string, sent time.Time, wait time.Duration) error
}

// unpaced lets every call begin at once.
type unpaced struct{}

func (unpaced) Wait(context.Context, string) error { return nil }

func (unpaced) Throttled(context.Context, string, time.Time, time.Duration) error { return nil }

// Config is what a Client is made of.
type Config struct {
	Accounts  []Account
	Transport http.RoundTripper // nil: Transport()
	Pace      Pacer             // nil: no call waits
	Sessions  Sessions          // nil: they are this client's own, as befits a single process that does not last
	Timeout   time.Duration     // of a call, waiting for the Pacer not included; 0: 15 s
	Now       func() time.Time  // nil: time.Now
}

// Client makes calls for a set of accounts. It is safe for concurrent use.
type Client struct {
	accounts  map[string]*workspace
	transport http.RoundTripper
	pace      Pacer
	sessions  Sessions
	timeout   time.Duration
	now       func() time.Time
}

var _ handlers.Registrar = (*Client)(nil)

// New returns a Client for the accounts in c.
func New(c Config) *Client {
	client := &Client{
		accounts: make(map[string]*workspace, len(c.Accounts)), pace: c.Pace, timeout: c.Timeout, now: c.Now,
		transport: c.Transport, sessions: c.Sessions,
	}
	if client.transport == nil {
		client.transport = Transport()
	}
	if client.pace == nil {
		client.pace = unpaced{}
	}
	if client.sessions == nil {
		client.sessions = &localSessions{}
	}
	for _, account := range c.Accounts {
		account.BaseURL = strings.TrimRight(account.BaseURL, "/")
		client.accounts[account.Name] = newWorkspace(account)
	}
	if client.timeout <= 0 {
		client.timeout = callDeadline
	}
	if client.now == nil {
		client.now = time.Now
	}
	return client
}

// ReplaceKey gives an account another API key from now on. It is safe while calls are made. The error is that no account has
// this name.
func (c *Client) ReplaceKey(account string, key secret.Text) error {
	w, err := c.account(account)
	if err != nil {
		return err
	}
	w.key.Store(&key)
	return nil
}

// ReplaceLogin gives an account another token or password to begin its next session with; the session that it has goes on.
// It is safe while calls are made. The error is that no account has this name.
func (c *Client) ReplaceLogin(account string, token, password secret.Text) error {
	w, err := c.account(account)
	if err != nil {
		return err
	}
	w.login.Store(&login{token: token, password: password})
	return nil
}

// RefusedCredentials reports whether a fault's code means that Warmy refused an account's credentials. Others may do better.
func RefusedCredentials(code string) bool {
	return slices.Contains([]string{codeUnauthorized, codeForbidden, codeSignIn, codeSessionEnded}, code)
}

func (c *Client) account(name string) (*workspace, error) {
	if w, ok := c.accounts[name]; ok {
		return w, nil
	}
	return nil, &fault.Fault{
		Class: fault.LegDown, Code: "account_unknown", Forecast: fault.ByConfig,
		Cause: "no Warmy account of this name is configured here", Remedy: "add the account to the configuration of this process",
	}
}
