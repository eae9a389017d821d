package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// RedeemCode handles CodeReceived: it spends the code once, stores the tokens sealed before anything else can go
// wrong, proves whose mailbox they open, and asks for the registration.
//
// A code is sent again only while no tokens from it are saved: the worst result of that is the loss that has already
// happened. Once tokens are saved it is never sent again, because the server may then revoke them (RFC 6749 § 4.1.2).
type RedeemCode struct {
	Invitations Reader[mailbox.Invitation]
	Grants      Records[mailbox.Grant]
	Codes       Opener
	Microsoft   TokenEndpoint
	Times       *RedeemTimes // what redeems take; nil: nothing is known of it
	Owner       string       // this process, for its leases
	Now         func() time.Time
}

// Handle redeems the code in e.
func (h RedeemCode) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live {
		return nil, err
	}
	grant, revision, err := h.Grants.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load grant: %w", err)
	}
	began := h.Now()
	claimed, verdict := grant.Claim(e, h.Owner, began, h.Times.Need(e.App, began))
	switch verdict {
	case mailbox.Done:
		return nil, nil
	case mailbox.Wait:
		return nil, waitFor(grant.Lease, h.Now())
	case mailbox.Resume:
		return h.prove(ctx, e, inv, grant, revision)
	case mailbox.Refuse:
		if _, err := h.open(e); fault.Of(err).Code == codeNotClaimed {
			return nil, err // no owner's code; one that does not open for another reason is too old all the same
		}
		_, err := h.Grants.Save(ctx, e.Mailbox, claimed, revision)
		return nil, saved("refused grant", err)
	case mailbox.Proceed:
	}
	consent, err := h.open(e)
	if err != nil {
		return nil, err // before the intent: a code that nobody can send is no send
	}
	if revision, err = h.Grants.Save(ctx, e.Mailbox, claimed, revision); err != nil {
		return nil, saved("intent to redeem", err)
	}
	return h.redeem(ctx, e, inv, intent{consent, claimed, revision, began})
}

// intent is what stands on disk before a code is sent.
type intent struct {
	consent  mailbox.Consent
	grant    mailbox.Grant
	revision uint64
	began    time.Time // when it was decided on
}

// redeem sends the code, stores the tokens and proves whose they are.
func (h RedeemCode) redeem(ctx context.Context, e events.Event, inv mailbox.Invitation, i intent) ([]events.Event, error) {
	if stood := h.Now().Round(0).Sub(i.began.Round(0)); stood > intentLife { // by the clock on the wall, as leases are
		return nil, h.fail(ctx, e, i.grant, i.revision, stoodStill())
	}
	tokens, err := h.Microsoft.Redeem(ctx, e.App, i.consent)
	h.observe(e, i.grant, i.began, err)
	if err != nil {
		return nil, h.fail(ctx, e, i.grant, i.revision, fault.Of(err))
	}
	tokens.Nonce = i.consent.Nonce
	grant, revision, err := h.saveTokens(ctx, e.Mailbox, i.grant, i.revision, tokens)
	if errors.Is(err, errSuperseded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return h.prove(ctx, e, inv, grant, revision)
}

// intentLife is how old an intent may be when the code is sent. A worker that stood still for longer (stopped, swapped out,
// its machine suspended, its store's disk stalled) does not know whether its lease still holds when Microsoft answers: another worker may have
// saved the tokens of this very code by then, and the server may revoke them when it comes again.
const intentLife = mailbox.RedeemLease - 25*time.Second // the call may take 15 s, the save some

func stoodStill() *fault.Fault {
	return &fault.Fault{
		Class: fault.RetryAfter, Code: "worker_stood_still", Forecast: fault.ByTime, After: time.Second,
		Cause:  "too much time passed between the worker's intent and the request, so the code was not sent",
		Remedy: "none: it is sent at the next delivery; look for a stalled disk or a suspended machine if this happens often",
	}
}

// observe lets the next claims learn from this send. Only the first send of a code tells when codes die: a later one
// may be refused because an earlier one was taken.
func (h RedeemCode) observe(e events.Event, grant mailbox.Grant, began time.Time, err error) {
	switch {
	case err == nil:
		h.Times.Took(e.App, h.Now(), h.Now().Sub(began))
	case fault.Is(err, fault.NeedsConsent) && fault.Of(err).Reason == mailbox.CodeExpired && grant.Sends == 1 && !e.Deadline.IsZero():
		h.Times.Dead(e.App, h.Now(), e.Deadline.Sub(began))
	}
}

func (h RedeemCode) open(e events.Event) (mailbox.Consent, error) {
	plain, err := h.Codes.Open(e.Sealed, mailbox.SealedCodeContext(e.Mailbox, e.Attempt))
	if err != nil {
		return mailbox.Consent{}, sealBroken(err)
	}
	consent, err := mailbox.ParseConsent(plain)
	if err != nil {
		return mailbox.Consent{}, sealBroken(err)
	}
	seed := mailbox.CodeSeed(e.Mailbox, e.Attempt, mailbox.Hash(consent.Code.Reveal()))
	if e.ID != events.New(events.CodeReceived, seed, e.At).ID {
		return mailbox.Consent{}, notClaimed()
	}
	return consent, nil
}

func notClaimed() error {
	return &fault.Fault{
		Class: fault.Permanent, Code: codeNotClaimed, Forecast: fault.ByPerson,
		Cause:  "the sealed code is not the one that the edge has claimed: the event's id derives from another",
		Remedy: "find out who else publishes codes, then send the owner a new link",
	}
}

func sealBroken(err error) error {
	return &fault.Fault{
		Class: fault.Permanent, Code: "seal_broken", Forecast: fault.ByPerson, Err: err,
		Cause:  "the sealed code does not open with this worker's keys, or was sealed for another mailbox",
		Remedy: "check that edge and token-worker share one codes keyset, then send the owner a new link",
	}
}

// errSuperseded says that a newer consent's tokens are stored already: its event speaks for the mailbox.
var errSuperseded = errors.New("a newer consent's tokens are stored")

// saveTokens does not give up easily: these tokens may be the only valid ones, and the code is spent. It returns the
// grant as it is stored then.
func (h RedeemCode) saveTokens(
	ctx context.Context, id mailbox.ID, claimed mailbox.Grant, revision uint64, t mailbox.Tokens,
) (mailbox.Grant, uint64, error) {
	grant, rev, ours, err := saveMerged(ctx, h.Grants, id, claimed.Save(t, h.Now()), revision, func(current mailbox.Grant) (mailbox.Grant, bool) {
		return current.Merge(claimed, t, h.Now())
	})
	if err == nil && !ours {
		return grant, rev, errSuperseded
	}
	return grant, rev, saved("tokens", err)
}

// fail records why the code was not redeemed. Only what the owner must repair ends here; the rest is the bus's to decide.
func (h RedeemCode) fail(ctx context.Context, e events.Event, grant mailbox.Grant, revision uint64, f *fault.Fault) error {
	_, err := h.Grants.Save(ctx, e.Mailbox, grant.Fail(f, h.Now()), revision)
	if err != nil {
		return saved("failed redeem", err)
	}
	if f.Class == fault.NeedsConsent {
		return nil
	}
	return f
}

// prove ends the redeem. When Microsoft cannot tell now, the refresh lane goes on: it has the patience that a code has
// not, its timers keep no place in the code lane, and its dead letters can be replayed.
func (h RedeemCode) prove(
	ctx context.Context, e events.Event, inv mailbox.Invitation, grant mailbox.Grant, revision uint64,
) ([]events.Event, error) {
	follow, err := identity{h.Grants, h.Microsoft, h.Now}.prove(ctx, e, inv, grant, revision)
	if passing(err) {
		return []events.Event{e.Follow(events.RefreshRequested, h.Now())}, nil
	}
	return follow, err
}

// Bury records that the bus gave e up.
func (h RedeemCode) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	return buryGrant(ctx, h.Grants, e, f, h.Now())
}

func buryGrant(ctx context.Context, grants Records[mailbox.Grant], e events.Event, f *fault.Fault, now time.Time) error {
	if strange(f) {
		return nil
	}
	grant, revision, err := grants.Load(ctx, e.Mailbox)
	if err != nil {
		return fmt.Errorf("load grant: %w", err)
	}
	buried := grant.Bury(e, f, now)
	if buried == grant {
		return nil
	}
	_, err = grants.Save(ctx, e.Mailbox, buried, revision)
	return saved("buried grant", err)
}
