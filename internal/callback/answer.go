package callback

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// answered is Microsoft's answer, in the browser that asked for it.
type answered struct {
	params params
	ticket ticket
	cookie *http.Cookie // lives a little longer, for repetitions
	now    time.Time
}

// answer takes Microsoft's answer. The order of the checks matters: the browser is known before anything else that it
// says is looked at, and nothing before the claim has an effect.
func (e *edge) answer(r *http.Request) reply {
	p, problem := read(r)
	switch {
	case problem != "":
		return refusal(problem)
	case !statePattern.MatchString(p.state):
		return refusal("malformed")
	}
	if answered, ours := e.adminAnswer(r, p); ours {
		return answered
	}
	stateHash, now := mailbox.Hash(p.state), e.Now()
	t, cookie, err := e.ticket(r, stateHash)
	if err != nil || subtle.ConstantTimeCompare([]byte(t.stateHash), []byte(stateHash)) != 1 {
		return refusal("other_browser")
	}
	a := answered{params: p, ticket: t, cookie: cookie, now: now}
	if problem := e.misfit(a, r.PathValue("app")); problem != "" {
		return refusal(problem).about(t.mailbox).again(t.link)
	}
	// What is begun must be finished, whether or not the browser still waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTime)
	defer cancel()
	if p.hasFailure {
		return e.refused(ctx, a)
	}
	if !shapedCode(p.code) {
		return refusal("malformed").about(t.mailbox).again(t.link)
	}
	return e.accept(ctx, a)
}

// read returns the parameters of an answer in either response mode.
func read(r *http.Request) (params, string) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		body, problem := form(r)
		switch {
		case problem != "":
			return params{}, problem
		case raw != "":
			return params{}, "malformed" // two places could disagree
		}
		raw = body
	}
	p, ok := parseParams(raw)
	if !ok {
		return params{}, "malformed"
	}
	return p, ""
}

// misfit says what is wrong with an answer that came to the right browser.
func (e *edge) misfit(a answered, app string) string {
	t, p := a.ticket, a.params
	switch {
	case a.now.After(t.expires.Add(skew)), t.issued.After(a.now.Add(2 * skew)):
		return "other_browser"
	case t.app != app:
		return "other_browser"
	case p.hasIssuer && !e.Apps[app].issuerFits(p.issuer):
		return "other_browser"
	case p.hasCode && p.hasFailure:
		return "malformed"
	}
	return ""
}

// refused records that Microsoft sent no code, and why.
func (e *edge) refused(ctx context.Context, a answered) reply {
	t := a.ticket
	f := e.Refusal(readable(a.params.failure, 64), readable(a.params.description, maxDescription))
	// The claim must know a reason: without one it would look like an answer with a code.
	reason := orDefault(f.Reason, mailbox.SignInFailed)
	if _, gone := e.invited(ctx, t); gone != nil {
		return *gone
	}
	_, verdict, err := e.conclude(ctx, t, func(c mailbox.Claim) (mailbox.Claim, mailbox.Attempt, mailbox.Answer) {
		return c.Refuse(t.stateHash, reason, a.now)
	})
	if refusal := standing(t, verdict, err); refusal != nil {
		return *refusal
	}
	e.reportRefusal(ctx, t, f)
	return e.thanks(a, reason)
}

// reportRefusal raises the alarm where the fault is ours: every owner will meet it.
func (e *edge) reportRefusal(ctx context.Context, t ticket, f *fault.Fault) {
	level := slog.LevelInfo
	if f.Class != fault.NeedsConsent && f.Forecast == fault.ByConfig {
		level = slog.LevelError
	}
	e.Log.LogAttrs(ctx, level, "microsoft sent no code", slog.String("mailbox", t.mailbox), slog.String("app", t.app),
		slog.String("fault", f.Code), slog.String("cause", f.Cause), slog.String("remedy", f.Remedy))
}

// accept claims the code, seals it, and thanks only when the event is stored.
func (e *edge) accept(ctx context.Context, a answered) reply {
	t := a.ticket
	inv, gone := e.invited(ctx, t)
	if gone != nil {
		return *gone
	}
	codeHash := mailbox.Hash(a.params.code)
	attempt, verdict, err := e.conclude(ctx, t, func(c mailbox.Claim) (mailbox.Claim, mailbox.Attempt, mailbox.Answer) {
		return c.Code(t.stateHash, codeHash, a.now)
	})
	if refusal := standing(t, verdict, err); refusal != nil {
		return *refusal
	}
	if a.now.After(attempt.AnsweredAt.Add(mailbox.CodeLife)) {
		return e.thanks(a, "repeated") // too late to be of use, and published long ago
	}
	if err := e.handOver(ctx, a, inv, attempt); err != nil {
		if verdict == mailbox.Accepted {
			err = errors.Join(err, e.release(ctx, t))
		}
		return unavailable(err).about(t.mailbox).again(t.link)
	}
	if verdict == mailbox.Repeated {
		return e.thanks(a, "repeated")
	}
	return e.thanks(a, "accepted")
}

// invited returns the invitation that the attempt belongs to, or says why it takes no answer any more.
func (e *edge) invited(ctx context.Context, t ticket) (mailbox.Invitation, *reply) {
	refuse := func(r reply) (mailbox.Invitation, *reply) { r = r.about(t.mailbox); return mailbox.Invitation{}, &r }
	inv, revision, err := e.Invitations.Load(ctx, t.mailbox)
	switch {
	case err != nil:
		return refuse(unavailable(fmt.Errorf("load invitation: %w", err)).again(t.link))
	case revision == 0, !inv.ErasedAt.IsZero():
		return refuse(refusal("erased"))
	case inv.LinkGeneration != t.generation:
		return refuse(refusal("replaced"))
	}
	connected, err := e.connected(ctx, inv, t.attempt)
	switch {
	case err != nil:
		return refuse(unavailable(err).again(t.link))
	case connected:
		return refuse(refusal("connected").with(http.StatusGone))
	}
	return inv, nil
}

// conclude changes the claim by compare-and-set, until it knows what the answer means.
func (e *edge) conclude(
	ctx context.Context, t ticket, change func(mailbox.Claim) (mailbox.Claim, mailbox.Attempt, mailbox.Answer),
) (mailbox.Attempt, mailbox.Answer, error) {
	for range casTries {
		claim, revision, err := e.Claims.Load(ctx, t.mailbox)
		if err != nil {
			return mailbox.Attempt{}, mailbox.Unknown, fmt.Errorf("load claim: %w", err)
		}
		changed, attempt, verdict := change(claim)
		if verdict != mailbox.Accepted {
			return attempt, verdict, nil
		}
		_, err = e.Claims.Save(ctx, t.mailbox, changed, revision)
		if !errors.Is(err, handlers.ErrConflict) {
			return attempt, verdict, wrapped("save claim", err)
		}
	}
	return mailbox.Attempt{}, mailbox.Unknown, errBusy
}

// standing says what to answer when the claim did not take the answer; nil when it did, now or before.
func standing(t ticket, verdict mailbox.Answer, err error) *reply {
	refuse := func(r reply) *reply { r = r.about(t.mailbox).again(t.link); return &r }
	switch {
	case err != nil:
		return refuse(unavailable(err))
	case verdict == mailbox.Conflict:
		return refuse(refusal("conflict"))
	case verdict == mailbox.Expired, verdict == mailbox.Unknown:
		return refuse(refusal("attempt_expired"))
	}
	return nil
}

// handOver seals the consent and publishes it. A repeated answer gives the same event id, so that it is recognised.
func (e *edge) handOver(ctx context.Context, a answered, inv mailbox.Invitation, attempt mailbox.Attempt) error {
	t, consent := a.ticket, a.ticket.consent
	consent.Code = secret.New(a.params.code)
	plain, err := consent.Marshal()
	if err != nil {
		return err
	}
	event := events.New(events.CodeReceived, mailbox.CodeSeed(t.mailbox, t.attempt, attempt.CodeHash), attempt.AnsweredAt)
	event.Mailbox, event.App, event.Account, event.Campaign, event.Attempt = t.mailbox, t.app, inv.Account, inv.Campaign, t.attempt
	event.Deadline = event.At.Add(mailbox.CodeLife)
	if event.Sealed, err = e.Codes.Seal(plain, mailbox.SealedCodeContext(t.mailbox, t.attempt)); err != nil {
		return fmt.Errorf("seal code: %w", err)
	}
	return wrapped("publish code", e.Publisher.Publish(ctx, event))
}

// release takes the claim's answer back, so that the same code may be presented again: nobody was told that it
// arrived. If this fails too, a repetition is still published, because the claim then knows the code.
func (e *edge) release(ctx context.Context, t ticket) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	for range casTries {
		claim, revision, err := e.Claims.Load(ctx, t.mailbox)
		if err != nil {
			return fmt.Errorf("load claim to release: %w", err)
		}
		_, err = e.Claims.Save(ctx, t.mailbox, claim.Release(t.stateHash), revision)
		if !errors.Is(err, handlers.ErrConflict) {
			return wrapped("release claim", err)
		}
	}
	return errBusy
}

// thanks leads to the clean page, out of the address that holds the code.
func (e *edge) thanks(a answered, outcome string) reply {
	path, err := e.donePath(a.ticket, a.now)
	if err != nil {
		return unavailable(err).about(a.ticket.mailbox)
	}
	return reply{
		status: http.StatusSeeOther, location: path, cookies: []*http.Cookie{a.cookie}, outcome: outcome, mailbox: a.ticket.mailbox,
	}
}
