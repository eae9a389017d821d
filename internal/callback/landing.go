package callback

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// casTries bounds how often a claim is read again because another request changed it meanwhile: more often than the
// mailbox.MaxLiveAttempts that can be answered at once.
const casTries = 16

var errBusy = errors.New("the claim kept changing")

// visit is a link that opens.
type visit struct {
	link       string
	invitation mailbox.Invitation
	app        App
}

// landing shows what the link is about. It has no effect: mail scanners and previews open links too.
func (e *edge) landing(r *http.Request) reply {
	v, refused := e.visit(r)
	if refused != nil {
		return *refused
	}
	return reply{status: http.StatusOK, outcome: "shown", mailbox: v.invitation.ID, page: e.landingPage(v)}
}

// start begins an attempt and sends the browser to Microsoft. Nothing that the request says, but its link, is used.
func (e *edge) start(r *http.Request) reply {
	if r.ContentLength != 0 {
		if _, problem := form(r); problem != "" {
			return refusal(problem)
		}
	}
	v, refused := e.visit(r)
	if refused != nil {
		if refused.outcome == "connected" {
			return refused.with(http.StatusGone)
		}
		return *refused
	}
	began, err := e.begin(r.Context(), v)
	switch {
	case errors.Is(err, mailbox.ErrTooManyAttempts):
		refused := refusal("too_many_attempts").about(v.invitation.ID)
		refused.retry = time.Minute
		return refused
	case err != nil:
		return unavailable(err).about(v.invitation.ID).again(v.link)
	}
	return began
}

// begin makes the attempt's secrets, records the attempt, and hands what finishes it to the browser alone.
func (e *edge) begin(ctx context.Context, v visit) (reply, error) {
	random, err := e.random(4)
	if err != nil {
		return reply{}, err
	}
	now, inv := e.Now(), v.invitation
	state, nonce, verifier := secret.New(encode(random[0])), secret.New(encode(random[1])), secret.New(encode(random[2]))
	t := ticket{
		attempt: attemptID(random[3]), mailbox: inv.ID, app: inv.App, stateHash: mailbox.Hash(state.Reveal()), link: v.link,
		generation: inv.LinkGeneration, issued: now.UTC(), expires: now.Add(e.AttemptLife).UTC(),
		consent: mailbox.Consent{Nonce: nonce, Verifier: verifier, Tenant: orDefault(inv.Tenant, v.app.Tenant), RedirectURI: v.app.RedirectURI},
	}
	cookie, err := e.cookie(t)
	if err != nil {
		return reply{}, err
	}
	if err := e.startAttempt(ctx, t, now); err != nil {
		return reply{}, err
	}
	target := v.app.AuthorizeURL(AuthorizeParams{
		State: state, Nonce: nonce, Verifier: verifier, LoginHint: inv.Address, Prompt: e.Prompt,
		ResponseMode: e.ResponseMode, Tenant: t.consent.Tenant,
	})
	return reply{
		status: http.StatusSeeOther, location: target, cookies: []*http.Cookie{cookie}, outcome: "started", mailbox: inv.ID,
	}, nil
}

// startAttempt adds the attempt to the mailbox's claim.
func (e *edge) startAttempt(ctx context.Context, t ticket, now time.Time) error {
	attempt := mailbox.Attempt{
		ID: t.attempt, StateHash: t.stateHash, Generation: t.generation, StartedAt: t.issued, ExpiresAt: t.expires,
	}
	for range casTries {
		claim, revision, err := e.Claims.Load(ctx, t.mailbox)
		if err != nil {
			return fmt.Errorf("load claim: %w", err)
		}
		started, err := claim.Start(attempt, now)
		if err != nil {
			return err
		}
		_, err = e.Claims.Save(ctx, t.mailbox, started, revision)
		if !errors.Is(err, handlers.ErrConflict) {
			return wrapped("save claim", err)
		}
	}
	return errBusy
}

// visit finds the invitation behind the request's link, or says why there is nothing to do.
func (e *edge) visit(r *http.Request) (visit, *reply) {
	refuse := func(a reply) (visit, *reply) { return visit{}, &a }
	link := unwrapped(r.PathValue("link"))
	id, ok := e.ParseLink(link)
	if !ok {
		return refuse(refusal("not_found"))
	}
	ctx := r.Context()
	inv, revision, err := e.Invitations.Load(ctx, id)
	if err != nil {
		return refuse(unavailable(fmt.Errorf("load invitation: %w", err)).about(id))
	}
	app, known := e.Apps[inv.App]
	switch {
	case revision == 0 || !known:
		return refuse(refusal("not_found"))
	case !inv.ErasedAt.IsZero():
		return refuse(refusal("erased").about(id))
	case !genuine(link, inv):
		return refuse(refusal("replaced").about(id))
	}
	connected, err := e.connected(ctx, inv, "")
	switch {
	case err != nil:
		return refuse(unavailable(err).about(id))
	case connected:
		return refuse(refusal("connected").about(id))
	case inv.LinkExpired(e.Now()):
		return refuse(refusal("link_expired").about(id).contact(app))
	}
	return visit{link: link, invitation: inv, app: app}, nil
}

// unwrapped takes off one mark that mail programs like to include in a link.
func unwrapped(link string) string {
	if link != "" && strings.ContainsRune(".,)>", rune(link[len(link)-1])) {
		return link[:len(link)-1]
	}
	return link
}

// genuine compares the link's token with the newest one of the invitation. Whoever comes this far knows the 120-bit id, so the answer
// to a forged token tells nothing that could be guessed: an older token gets the same.
func genuine(link string, inv mailbox.Invitation) bool {
	return subtle.ConstantTimeCompare([]byte(mailbox.Hash(link)), []byte(inv.LinkHash)) == 1
}

// connected reports whether a consent is already stored that came from the newest link, or a newer attempt than it. The given
// attempt does not count: it may well come twice. Nor do tokens that Microsoft withholds until the owner comes again.
func (e *edge) connected(ctx context.Context, inv mailbox.Invitation, except string) (bool, error) {
	grant, err := e.grant(ctx, inv.ID)
	if err != nil || grant.Tokens == nil || grant.Withheld() || (except != "" && grant.Tokens.Attempt == except) {
		return false, err
	}
	claim, _, err := e.Claims.Load(ctx, inv.ID)
	if err != nil {
		return false, fmt.Errorf("load claim: %w", err)
	}
	i := slices.IndexFunc(claim.Attempts, func(a mailbox.Attempt) bool { return a.ID == grant.Tokens.Attempt })
	return i < 0 || claim.Attempts[i].Generation >= inv.LinkGeneration, nil
}

// grant reads the grant as the edge may know it: where the tokens are kept from it, its phase tells that there are some.
func (e *edge) grant(ctx context.Context, id mailbox.ID) (mailbox.Grant, error) {
	grant, _, err := e.Grants.Load(ctx, id)
	if err != nil {
		return mailbox.Grant{}, fmt.Errorf("load grant: %w", err)
	}
	if grant.Phase == mailbox.GrantSaved && grant.Tokens == nil {
		grant.Tokens = &mailbox.Tokens{Attempt: grant.Attempt, SavedAt: grant.Since}
	}
	return grant, nil
}

// random returns n times 256 bits.
func (e *edge) random(n int) ([][]byte, error) {
	values := make([][]byte, n)
	for i := range values {
		values[i] = make([]byte, 32)
		if _, err := io.ReadFull(e.Rand, values[i]); err != nil {
			return nil, fmt.Errorf("random bytes: %w", err)
		}
	}
	return values, nil
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// attemptID makes an id that may stand in a subject (events.IsToken).
func attemptID(raw []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:15]))
}

func wrapped(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
