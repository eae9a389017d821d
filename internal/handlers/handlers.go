// Package handlers holds what Kindling does about each event: claim, one effect, conclude, and what follows from it.
//
// A handler is a value: its dependencies and one method that returns what follows and a classified error. It never
// acknowledges, sleeps, retries or logs; the bus does what follows from the class (docs/design.md, "Delivery policy").
// Every handler is safe to run again for the same event, at any point at which it may have been cut off: the intent is
// saved by compare-and-set before the effect, and the outcome before anything is published.
package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// ErrConflict is returned by Records.Save when somebody else saved first. Nothing was saved.
var ErrConflict = errors.New("record was changed by somebody else")

// Records keeps one kind of fact per mailbox.
type Records[T any] interface {
	// Load returns the fact as last saved and its revision; the zero value and 0 when there is none.
	Load(ctx context.Context, id mailbox.ID) (T, uint64, error)
	// Save stores the fact if its revision still is the given one, and returns the new revision.
	// ErrConflict means that it is not. Any other error leaves open whether it was stored.
	Save(ctx context.Context, id mailbox.ID, fact T, revision uint64) (uint64, error)
}

// Reader reads a fact that another process owns.
type Reader[T any] interface {
	Load(ctx context.Context, id mailbox.ID) (T, uint64, error)
}

// Opener opens what was sealed for this process under the given associated data.
type Opener interface {
	Open(sealed []byte, context string) ([]byte, error)
}

// TokenEndpoint is Microsoft as token-worker needs it. Every error is a classified fault.
type TokenEndpoint interface {
	// Redeem exchanges a code for tokens with exactly one request (RFC 6749 § 4.1.3).
	Redeem(ctx context.Context, app string, c mailbox.Consent) (mailbox.Tokens, error)
	// Refresh returns new tokens (RFC 6749 § 6). What the answer leaves out is left zero.
	Refresh(ctx context.Context, app string, t mailbox.Tokens) (mailbox.Tokens, error)
	// Prove tells whose mailbox the tokens open. Unless that is the invited address, it fails with a MismatchError, or
	// with a fault of code CodeMismatch when it cannot be said who consented.
	Prove(ctx context.Context, app string, t mailbox.Tokens, address string) (events.Proof, error)
}

// CodeMismatch is the code of the fault that Prove returns when someone else consented.
const CodeMismatch = "identity_mismatch"

// CodeAlias is CodeMismatch of an account whose alias is the invited address: it may well be the right one.
const CodeAlias = "identity_alias"

// CodeUnusable is the code of the fault that Create returns when Warmy could not use the mailbox's tokens.
const CodeUnusable = "warmy_400_credentials"

// MismatchError is what Prove returns when another account than the invited address's own consented.
type MismatchError struct {
	Fault   *fault.Fault    // of CodeMismatch or CodeAlias
	Account mailbox.Account // who consented, as proven
}

// Error returns the fault's words, which show no whole address.
func (e *MismatchError) Error() string { return e.Fault.Error() }

// Unwrap returns the fault.
func (e *MismatchError) Unwrap() error { return e.Fault }

// Registrar is Warmy as warmy-worker needs it. Every error is a classified fault.
type Registrar interface {
	// Create posts the mailbox with exactly one request and returns Warmy's id. An Unclear fault means that it may exist; the
	// id that comes with one is what Warmy answered with for another address than the mailbox's, where no listing shows it.
	// It calls m.Intend when the account's turn has come and before a byte is sent, and anew before it sends again what
	// certainly had no effect; an error of it ends the call.
	Create(ctx context.Context, account string, m NewMailbox) (id string, err error)
}

// Listing is what Warmy's listing says of one address.
type Listing struct {
	ID    string // Warmy's id, when it is listed
	Found bool
	Began time.Time // when the listing began: it says nothing about what happened later
}

// Lister answers from Warmy's listing. Every error is a classified fault.
type Lister interface {
	// Look reports whether the listing of account shows the whole address. It answers from one that began at since or later,
	// and never from one that is not to be trusted.
	Look(ctx context.Context, account, address string, since time.Time) (Listing, error)
}

// Starter starts warm-ups at Warmy. Every error is a classified fault.
type Starter interface {
	// Activate starts the warm-up of a mailbox. Repeating it is harmless.
	Activate(ctx context.Context, account, warmyID string) error
}

// NewMailbox is what Warmy is told about a mailbox.
type NewMailbox struct {
	Address          string
	FromName         string
	ClientID         string
	ClientSecret     secret.Text
	Access           secret.Text
	Refresh          secret.Text
	TariffPlanTypeID int
	SpeedMode        string

	// Intend saves the intent to post. It comes after the wait for the account's turn, so that a worker that dies while
	// it waits leaves nothing unclear behind; and after each further wait, so that nothing is posted when its lease is over.
	Intend func(ctx context.Context) error
}

// Credentials tells an app's client id and the client secret that Warmy should use.
type Credentials interface {
	Credentials(app string) (clientID string, clientSecret secret.Text, err error)
}

// waitFor is the fault of an event whose mailbox another worker holds.
func waitFor(lease, now time.Time) error {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "held_by_another_worker", Forecast: fault.ByTime,
		Cause:  "another worker is at work on this mailbox",
		Remedy: "none: it goes on when that worker is done, or its lease has run out",
		After:  max(lease.Sub(now), time.Second),
	}
}

// waitForListing is the fault of a request for a POST while an earlier one is unsettled.
func waitForListing(after time.Duration) error {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "earlier_post_unclear", Forecast: fault.ByTime,
		Cause:  "what became of an earlier POST of the mailbox is not known yet",
		Remedy: "none: it goes on when Warmy's listing has settled that POST",
		After:  max(after, time.Second),
	}
}

// codeGivenUp is the code of the fault of givenUp. It says nothing new of the mailbox.
const codeGivenUp = "earlier_post_given_up"

// givenUp is the fault of a request for a POST that has waited for the listing in vain. Without it the two would take turns.
func givenUp() error {
	return &fault.Fault{
		Class: fault.Permanent, Code: codeGivenUp, Forecast: fault.ByConfig,
		Cause:  "what became of an earlier POST of the mailbox is not known, and asking Warmy's listing was given up",
		Remedy: "see what the mailbox's other dead letter asks for and replay that one, then reconnect the mailbox again",
	}
}

// saveMerged saves next, and does not give up easily: after a save that failed it saves what merge makes of what is stored by
// then, if merge has any use for it. What came of a call to the outside is lost with it. It returns the fact as it is stored
// then; ours is false when it is not what next says.
func saveMerged[T comparable](
	ctx context.Context, records Records[T], id mailbox.ID, next T, revision uint64, merge func(current T) (merged T, ok bool),
) (fact T, at uint64, ours bool, err error) {
	at, err = records.Save(ctx, id, next, revision)
	for range saveTries {
		if err == nil || ctx.Err() != nil {
			break
		}
		current, rev, loadErr := records.Load(ctx, id)
		if loadErr != nil {
			err = errors.Join(err, loadErr)
			continue
		}
		merged, ok := merge(current)
		if !ok {
			return current, rev, false, nil
		}
		if next, at, err = merged, rev, nil; merged != current {
			at, err = records.Save(ctx, id, merged, rev)
		}
	}
	return next, at, true, err
}

// saveTries bounds how often saveMerged saves again, at once: each try waits for the server by itself.
const saveTries = 8

// saved turns an error of Records.Save into one that says what was being saved.
func saved(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("save %s: %w", what, err)
}
