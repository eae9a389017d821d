package callback

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// adminAnswered is Microsoft's answer to a request for admin consent, in the browser that asked for it.
type adminAnswered struct {
	params params
	ticket adminTicket
	cookie *http.Cookie // lives a little longer, for repetitions
	now    time.Time
}

// adminAnswer takes the answer to a request for admin consent, which comes to the same address as the owners' codes: no
// further one has to be registered at Microsoft. What tells the two apart is the cookie, which is bound to the state, and
// nothing that stands in the answer. It leaves an answer alone for which this browser has no such cookie.
//
// The checks come in the order of those on a code. What the answer says of its tenant is never looked at.
func (e *edge) adminAnswer(r *http.Request, p params) (reply, bool) {
	stateHash := mailbox.Hash(p.state)
	t, cookie, ours := e.adminTicket(r, stateHash)
	if !ours {
		return reply{}, false
	}
	if subtle.ConstantTimeCompare([]byte(t.StateHash), []byte(stateHash)) != 1 {
		return refusal("other_browser"), true
	}
	a := adminAnswered{params: p, ticket: t, cookie: cookie, now: e.Now()}
	if problem := e.adminMisfit(a, r); problem != "" {
		return refusal(problem).againAt("/admin-consent/" + t.Link), true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTime)
	defer cancel()
	return e.adminConclude(ctx, a), true
}

// adminMisfit says what is wrong with an answer that came to the right browser.
func (e *edge) adminMisfit(a adminAnswered, r *http.Request) string {
	t, p, app := a.ticket, a.params, r.PathValue("app")
	switch {
	case a.now.After(t.Expires.Add(skew)), t.Issued.After(a.now.Add(2 * skew)), t.App != app:
		return "other_browser"
	case p.hasIssuer && !e.Apps[app].issuerFits(p.issuer):
		return "other_browser"
	case r.Method != http.MethodGet, p.hasCode:
		return "malformed" // Microsoft answers this by a redirect, and never with a code
	case !p.hasFailure && !strings.EqualFold(p.adminConsent, "true"):
		return "malformed" // with an error, admin_consent only says which question it answers
	}
	return ""
}

// adminConclude writes down what the admin answered. A repeated answer changes nothing.
func (e *edge) adminConclude(ctx context.Context, a adminAnswered) reply {
	if !a.params.hasFailure {
		_, unsaved := e.adminSave(ctx, a.ticket, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) {
			return c.Grant(a.ticket.StateHash, a.now)
		})
		if unsaved != nil {
			return *unsaved
		}
		return e.adminThanks(a, mailbox.AdminGranted, "")
	}
	f := e.Refusal(readable(a.params.failure, 64), readable(a.params.description, maxDescription))
	reason := adminReason(f)
	verdict, unsaved := e.adminSave(ctx, a.ticket, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) {
		return c.Refuse(a.ticket.StateHash, reason, a.now)
	})
	if unsaved != nil {
		return *unsaved
	}
	if verdict == mailbox.Accepted {
		e.reportAdminRefusal(ctx, a.ticket, f)
	}
	return e.adminThanks(a, mailbox.AdminRefused, reason)
}

// adminReason says why there is no consent: the admin declined, somebody else tried, or the sign-in failed.
func adminReason(f *fault.Fault) string {
	switch f.Reason {
	case mailbox.Declined:
		return mailbox.Declined
	case mailbox.AdminRequired:
		return mailbox.NotAdmin
	}
	return mailbox.SignInFailed
}

func (e *edge) reportAdminRefusal(ctx context.Context, t adminTicket, f *fault.Fault) {
	level := slog.LevelInfo
	if f.Class != fault.NeedsConsent && f.Forecast == fault.ByConfig {
		level = slog.LevelError
	}
	e.Log.LogAttrs(ctx, level, "microsoft reported no admin consent", slog.String("app", t.App), slog.String("tenant", t.Tenant),
		slog.String("fault", f.Code), slog.String("cause", f.Cause), slog.String("remedy", f.Remedy))
}

// adminSave changes what is known of the tenant's admin, by compare-and-set, or says what to answer because it is not.
func (e *edge) adminSave(
	ctx context.Context, t adminTicket, change func(mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer),
) (mailbox.Answer, *reply) {
	refuse := func(r reply) (mailbox.Answer, *reply) {
		r = r.againAt("/admin-consent/" + t.Link)
		return mailbox.Unknown, &r
	}
	key := mailbox.TenantKey(t.App, t.Tenant)
	for range casTries {
		fact, revision, err := e.AdminConsents.Load(ctx, key)
		if err != nil {
			return refuse(unavailable(fmt.Errorf("load admin consent: %w", err)))
		}
		changed, verdict := change(fact)
		switch verdict {
		case mailbox.Repeated:
			return verdict, nil
		case mailbox.Accepted:
		default:
			return refuse(refusal("conflict"))
		}
		changed.App, changed.Tenant = t.App, t.Tenant
		_, err = e.AdminConsents.Save(ctx, key, changed, revision)
		switch {
		case err == nil:
			return verdict, nil
		case !errors.Is(err, handlers.ErrConflict):
			return refuse(unavailable(fmt.Errorf("save admin consent: %w", err)))
		}
	}
	return refuse(unavailable(errBusy))
}

// adminThanks leads to a clean page, out of the address that holds the answer.
func (e *edge) adminThanks(a adminAnswered, state mailbox.AdminState, reason string) reply {
	t := a.ticket
	path, err := e.adminDonePath(adminReceipt{App: t.App, Tenant: t.Tenant, State: state, Reason: reason, Link: t.Link, At: a.now.UTC()})
	if err != nil {
		return unavailable(err)
	}
	return reply{status: http.StatusSeeOther, location: path, cookies: []*http.Cookie{a.cookie}, outcome: "admin_" + string(state)}
}
