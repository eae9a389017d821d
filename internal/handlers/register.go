package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// RegisterMailbox handles RegistrationRequested and ReconnectRequested: it posts the mailbox to Warmy once. What Warmy has
// already is posted again for a newer consent, and when an operator asks for it (docs/adr/0025).
//
// Warmy's POST is not known to be idempotent. So the intent is saved first; an outcome that is not known for certain
// is Unclear and goes to the listing, never to a second POST.
type RegisterMailbox struct {
	Invitations    Reader[mailbox.Invitation]
	Grants         Reader[mailbox.Grant]
	Registrations  Records[mailbox.Registration]
	Identities     Records[mailbox.Identity] // under mailbox.IdentityKey
	Apps           Credentials
	Warmy          Registrar
	Listing        Lister        // asked before a POST that follows a restored backup
	Margin         time.Duration // the least life the access token must have before the wait for a turn, or a refresh comes first
	ReconcileAfter time.Duration // how long Warmy gets before its listing is asked about an unclear POST
	Activate       []string      // the accounts whose new mailboxes are to be started
	Owner          string        // this process, for its leases
	Now            func() time.Time
}

// justRotated is the age below which tokens count as fresh even if they live shorter than the margin: some tenants
// issue tokens of 10 minutes, and refreshing them again would never end.
const justRotated = time.Minute

// Handle registers e's mailbox.
func (h RegisterMailbox) Handle(ctx context.Context, e events.Event) ([]events.Event, error) {
	looked := h.Now()
	inv, live, err := invited(ctx, h.Invitations, e)
	if err != nil || !live {
		return nil, err
	}
	grant, stored, err := h.Grants.Load(ctx, e.Mailbox)
	if err != nil {
		return nil, fmt.Errorf("load grant: %w", err)
	}
	if stored == 0 {
		return nil, grantNotVisible()
	}
	stands, err := h.claims().load(ctx, e, grant)
	if err != nil {
		return nil, err
	}
	stands.looked = looked
	reg, revision := stands.reg, stands.revision
	if e.Kind == events.ReconnectRequested {
		e = asked(e, grant, reg)
	}
	switch {
	case grant.Tokens == nil, grant.Tokens.Attempt != e.Attempt:
		return nil, nil // revoked or renewed: another event speaks for this mailbox
	case e.Proof == nil && reg.Phase != mailbox.Registered:
		return nil, nil // never proven: another event speaks for this mailbox
	case reg.Blocks(e):
		return nil, mailbox.Blocked(reg.Again.OtherID)
	}
	claimed, verdict := reg.Claim(e, h.Owner, h.Now())
	switch verdict {
	case mailbox.Done:
		return activation(h.Activate).due(e, reg, h.Now()), nil
	case mailbox.Wait:
		if reg.Asks(e) {
			return h.await(e, reg.Work())
		}
		return nil, waitFor(reg.Work().Lease, h.Now())
	case mailbox.Resume:
		return h.reconcile(e, h.ReconcileAfter), nil
	case mailbox.Refuse:
		follow := h.reconcile(e, h.ReconcileAfter)
		if claimed.Asks(e) {
			if reg.GivenUpSince(later(e.At, e.Renewed)) {
				return nil, givenUp()
			}
			follow = append(follow, e.Later(h.Now().Add(h.ReconcileAfter))) // the listing settles an earlier POST, not what e asks for
		}
		_, err := h.Registrations.Save(ctx, e.Mailbox, claimed, revision)
		return follow, saved("unclear registration", err)
	case mailbox.Proceed:
	}
	switch {
	case claimed.Work().Refused == e.ID:
		return h.renew(e, grant.Tokens), nil // it was cut off before it had said so
	case e.Kind == events.ReconnectRequested && !grant.Tokens.SavedAt.After(e.Refused):
		return h.prepare(ctx, e, reg, revision, grant.Tokens.SavedAt) // Warmy cannot use them: are they good at all?
	case !h.fresh(e, grant.Tokens):
		return h.prepare(ctx, e, reg, revision, grant.Tokens.SavedAt)
	case e.Proof == nil:
		return h.prepare(ctx, e, reg, revision, time.Time{})
	}
	if e.Restored && reg.Phase != mailbox.Registered {
		if adopted, err := h.adopt(ctx, e, inv, claimed, stands); adopted.Phase == mailbox.Registered || err != nil {
			return activation(h.Activate).due(e, adopted, h.Now()), err
		}
	}
	hold, err := h.claims().claim(ctx, e, stands)
	if err != nil {
		return nil, err
	}
	follow, err := h.post(ctx, e, inv, *grant.Tokens, claimed, hold)
	switch {
	case errors.Is(err, errUnwanted):
		return nil, nil
	case errors.Is(err, errStale):
		if reg, revision, err = h.Registrations.Load(ctx, e.Mailbox); err != nil {
			return nil, fmt.Errorf("reload registration: %w", err)
		}
		return h.prepare(ctx, e, reg, revision, grant.Tokens.SavedAt)
	}
	return follow, err
}

func (h RegisterMailbox) claims() claims {
	return claims{h.Invitations, h.Registrations, h.Identities, h.Now}
}

// What the wait for a call's turn may have changed. Nothing was posted then, and no intent is left.
var (
	errUnwanted = errors.New("the mailbox is not to be posted any more, or not with these tokens")
	errStale    = errors.New("the access token does not live long enough any more, or was replaced by a refresh")
)

// lookAgain is how old the facts may be when a call's turn has come. The POST itself may take longer.
const lookAgain = time.Second

// still tells, when the call's turn has come, whether it is still to be made: at a low pace, or when Warmy had everybody
// wait, that can be many minutes after it was decided.
func (h RegisterMailbox) still(ctx context.Context, e events.Event, t *mailbox.Tokens, looked time.Time) error {
	if now := h.Now(); now.Sub(looked).Abs() < lookAgain && t.Fresh(now, h.needs(t)) {
		return nil
	}
	_, live, err := invited(ctx, h.Invitations, e)
	if err != nil {
		return err
	}
	grant, stored, err := h.Grants.Load(ctx, e.Mailbox)
	switch now := grant.Tokens; {
	case err != nil:
		return fmt.Errorf("reload grant: %w", err)
	case live && stored == 0:
		return grantNotVisible()
	case !live, now == nil, now.Attempt != t.Attempt: // another event speaks for this mailbox
		return errUnwanted
	case now.Rotation != t.Rotation, !t.Fresh(h.Now(), h.needs(t)):
		return errStale
	}
	return nil
}

// postNeeds is how long the access token must live when it is posted: Warmy has to use it first.
const postNeeds = 10 * time.Minute

// needs is how long the access token must live when it is posted. Tokens that never live long need half their life, or they
// would be refreshed without end; none needs more than Margin, because a refresh would leave it as it is.
func (h RegisterMailbox) needs(t *mailbox.Tokens) time.Duration {
	half := t.Expiry.Sub(t.SavedAt) / 2
	return min(h.Margin, max(mailbox.PostLease, min(postNeeds, half)))
}

// adopt asks Warmy's listing first. An event that was made anew from the facts may follow a restored backup: then the
// facts know less than Warmy.
func (h RegisterMailbox) adopt(
	ctx context.Context, e events.Event, inv mailbox.Invitation, reg mailbox.Registration, stands standing,
) (mailbox.Registration, error) {
	seen, err := h.Listing.Look(ctx, e.Account, inv.Address, h.Now())
	if err != nil {
		return reg, fmt.Errorf("look at Warmy's listing: %w", err)
	}
	if !seen.Found {
		return reg, nil
	}
	if err := h.claims().close(ctx, e, stands); err != nil {
		return reg, err
	}
	reg = reg.Created(seen.ID, true, h.Now())
	_, err = h.Registrations.Save(ctx, e.Mailbox, reg, stands.revision)
	return reg, saved("adopted registration", err)
}

// asked completes an operator's request with what the facts say: the console knows neither tokens nor their proof. An
// event without an attempt speaks for no mailbox.
func asked(e events.Event, grant mailbox.Grant, reg mailbox.Registration) events.Event {
	e.Attempt, e.Proof = "", nil
	if grant.Tokens == nil || reg.Phase != mailbox.Registered {
		return e
	}
	e.Attempt = grant.Tokens.Attempt
	for _, r := range []mailbox.Registration{reg, reg.Work()} {
		if r.Attempt == e.Attempt && r.Proof != nil {
			e.Proof = r.Proof
		}
	}
	return e
}

// prepare asks for tokens that live long enough, and are proven. What is registered remembers that it is to be posted
// again: the event that comes back may look like one that was answered long ago. Tokens saved at refused are refreshed,
// however long they live by token-worker's clock, which may be another's. If they were refreshed for e already, the next
// refresh waits, because nothing counts them.
func (h RegisterMailbox) prepare(
	ctx context.Context, e events.Event, reg mailbox.Registration, revision uint64, refused time.Time,
) ([]events.Event, error) {
	if wanted, ok := reg.Wants(e, h.Now()); ok {
		if _, err := h.Registrations.Save(ctx, e.Mailbox, wanted, revision); err != nil {
			return nil, saved("wanted registration", err)
		}
	}
	next := e.Follow(events.RefreshRequested, h.Now())
	if next.Refused = refused; !refused.IsZero() && renewedFor(e, refused) {
		next = next.Later(h.Now().Add(justRotated))
	}
	return []events.Event{next}, nil
}

// renewedFor reports whether tokens saved at the given time were refreshed because e could not use the ones before. Both times
// are token-worker's.
func renewedFor(e events.Event, saved time.Time) bool {
	return e.Kind == events.RegistrationRequested && !e.Refused.IsZero() && saved.After(e.Refused)
}

// renew asks for a refresh of tokens that Warmy cannot use, however long they live.
func (h RegisterMailbox) renew(e events.Event, t *mailbox.Tokens) []events.Event {
	next := e.Follow(events.RefreshRequested, h.Now())
	next.Refused = t.SavedAt
	return []events.Event{next}
}

func (h RegisterMailbox) fresh(e events.Event, t *mailbox.Tokens) bool {
	now := h.Now()
	rotated := now.Sub(t.SavedAt) < justRotated && t.Fresh(now, mailbox.PostLease)
	return t.Fresh(now, h.Margin) || rotated || renewedFor(e, t.SavedAt) && t.Fresh(now, h.needs(t))
}

// post makes the one call; its intent is saved when its turn has come. Before that nothing has happened, whatever fails.
func (h RegisterMailbox) post(
	ctx context.Context, e events.Event, inv mailbox.Invitation, t mailbox.Tokens, reg mailbox.Registration, hold *claim,
) ([]events.Event, error) {
	clientID, clientSecret, err := h.Apps.Credentials(e.App)
	if err != nil {
		return nil, fmt.Errorf("credentials of the app: %w", err)
	}
	intended, begun := false, false // whether the intent of what may be sent now is saved, and whether any ever was
	id, err := h.Warmy.Create(ctx, e.Account, NewMailbox{
		Address: inv.Address, FromName: fromName(inv), ClientID: clientID, ClientSecret: clientSecret,
		Access: t.Access, Refresh: t.Refresh, TariffPlanTypeID: inv.TariffPlanTypeID, SpeedMode: inv.SpeedMode,
		Intend: func(ctx context.Context) (err error) {
			intended = false // what was sent before certainly had no effect
			if err := h.still(ctx, e, &t, hold.looked); err != nil {
				return err
			}
			reg, err = hold.intend(ctx, reg.Leased(h.Now()))
			intended, begun = err == nil, begun || err == nil
			return err
		},
	})
	revision := hold.revision
	switch {
	case err == nil:
		return h.answered(ctx, e, reg, revision, id, func(r mailbox.Registration) mailbox.Registration { return r.Created(id, false, h.Now()) })
	case !intended:
		if begun {
			if err := h.takeBack(ctx, e, reg, revision); err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("post: %w", err)
	}
	f := outcome(err)
	if id != "" && f.Class == fault.Unclear {
		return h.answered(ctx, e, reg, revision, id, func(r mailbox.Registration) mailbox.Registration { return r.AnsweredElsewhere(id, f, h.Now()) })
	}
	if unusable, ok := reg.Unusable(e.ID); ok && f.Code == CodeUnusable {
		_, err := h.Registrations.Save(ctx, e.Mailbox, unusable.NotPosted(f, h.Now()), revision)
		return h.renew(e, &t), saved("refused registration", err)
	}
	return h.fail(ctx, e, reg, revision, f)
}

// takeBack records that nothing was posted under an intent that is saved: the call was not sent a second time.
func (h RegisterMailbox) takeBack(ctx context.Context, e events.Event, reg mailbox.Registration, revision uint64) error {
	mine := reg.Work()
	_, _, _, err := saveMerged(ctx, h.Registrations, e.Mailbox, reg.NotPosted(notSent(), h.Now()), revision, upon(reg, func(current mailbox.Registration) (mailbox.Registration, bool) {
		w := current.Work()
		ours := w.Phase == mailbox.Posting && w.Owner == mine.Owner && w.Attempt == mine.Attempt && w.Posts == mine.Posts
		return current.NotPosted(notSent(), h.Now()), ours
	}))
	return saved("intent taken back", err)
}

func notSent() *fault.Fault {
	return &fault.Fault{
		Class: fault.Transient, Code: "post_not_sent", Forecast: fault.ByTime,
		Cause:  "the POST was not sent again: what it was to say had changed, or could not be read, when its turn came",
		Remedy: "none: it goes on by itself",
	}
}

// fromName is what Warmy, which demands a name, shows as the sender's: the imported one, or what stands before the @.
func fromName(inv mailbox.Invitation) string {
	local, _, _ := strings.Cut(inv.Address, "@")
	return cmp.Or(inv.FromName, local)
}

// outcome is the fault of a POST. An error without a class leaves open whether the POST went out, so it is Unclear.
func outcome(err error) *fault.Fault {
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f
	}
	return &fault.Fault{
		Class: fault.Unclear, Code: "unclassified", Forecast: fault.ByTime, Err: err,
		Cause:  "the POST ended in an error of no known class",
		Remedy: "none: Warmy's listing settles it; report the worker's log if it happens twice",
	}
}

// answered saves the id that Warmy has answered with, as record has it, and does not give up easily: no listing may ever show
// it. If the intent was given up meanwhile, because this worker was slow, the id is still the truth about it. Where the
// registration has no room for it, a person is told.
func (h RegisterMailbox) answered(
	ctx context.Context, e events.Event, reg mailbox.Registration, revision uint64, id string, record func(mailbox.Registration) mailbox.Registration,
) ([]events.Event, error) {
	next, ours := reg.Answered(e.Attempt, id, record, h.Now())
	if !ours {
		return nil, mailbox.SecondID(id)
	}
	next, _, ours, err := saveMerged(ctx, h.Registrations, e.Mailbox, next, revision, upon(reg, func(current mailbox.Registration) (mailbox.Registration, bool) {
		return current.Answered(e.Attempt, id, record, h.Now())
	}))
	switch {
	case err != nil:
		return nil, saved("registration", err)
	case !ours:
		return nil, mailbox.SecondID(id)
	case next.Work().Phase == mailbox.Uncertain:
		return h.reconcile(e, h.ReconcileAfter), nil // another id, or address, than it had: the listing shows whether Warmy has it twice
	}
	return activation(h.Activate).due(e, next, h.Now()), nil
}

func (h RegisterMailbox) fail(
	ctx context.Context, e events.Event, reg mailbox.Registration, revision uint64, f *fault.Fault,
) ([]events.Event, error) {
	if f.Class == fault.Unclear {
		_, err := h.Registrations.Save(ctx, e.Mailbox, reg.Unclear(f, h.Now()), revision)
		return h.reconcile(e, f.After), saved("unclear registration", err)
	}
	if _, err := h.Registrations.Save(ctx, e.Mailbox, reg.NotPosted(f, h.Now()), revision); err != nil {
		return nil, saved("refused registration", err)
	}
	return nil, f
}

// await has e wait for the listing that settles an earlier POST. If nothing was heard of it for long, it is asked for again: the
// worker that made the POST unclear for e may have stopped before it had asked, and while e waits nobody else looks after that.
func (h RegisterMailbox) await(e events.Event, unclear mailbox.Registration) ([]events.Event, error) {
	patience := 10 * h.ReconcileAfter
	now := h.Now()
	if now.Before(later(unclear.Since, unclear.AbsentAt).Add(patience)) {
		return nil, waitForListing(h.ReconcileAfter)
	}
	return append(h.reconcile(e, h.ReconcileAfter), e.Later(now.Add(patience))), nil
}

// reconcile asks for the listing, after the time in which a POST may still take effect.
func (h RegisterMailbox) reconcile(e events.Event, after time.Duration) []events.Event {
	if after <= 0 {
		after = h.ReconcileAfter
	}
	now := h.Now()
	return []events.Event{e.Follow(events.RegistrationUnclear, now).Later(now.Add(after))}
}

// Bury records that the bus gave e up, unless a newer consent speaks for the mailbox by now.
func (h RegisterMailbox) Bury(ctx context.Context, e events.Event, f *fault.Fault) error {
	grant, _, err := h.Grants.Load(ctx, e.Mailbox)
	if err != nil {
		return fmt.Errorf("load grant: %w", err)
	}
	stands, err := h.claims().load(ctx, e, grant)
	if err != nil {
		return err
	}
	if e.Kind == events.ReconnectRequested {
		e = asked(e, grant, stands.reg)
	}
	if grant.Tokens == nil || grant.Tokens.Attempt != e.Attempt || f.Code == codeGivenUp {
		return nil
	}
	return h.claims().bury(ctx, e, f, stands)
}

func buryRegistration(
	ctx context.Context, regs Records[mailbox.Registration], e events.Event, f *fault.Fault, now time.Time,
) error {
	if strange(f) {
		return nil
	}
	reg, revision, err := regs.Load(ctx, e.Mailbox)
	if err != nil {
		return fmt.Errorf("load registration: %w", err)
	}
	buried := reg.Bury(e, f, now)
	if buried == reg {
		return nil
	}
	_, err = regs.Save(ctx, e.Mailbox, buried, revision)
	return saved("buried registration", err)
}
