package callback

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// done shows how far the mailbox is. It has no effect, so that it may load itself again and again.
func (e *edge) done(r *http.Request) reply {
	receipt, ok := e.openReceipt(r.PathValue("token"))
	now := e.Now()
	switch {
	case !ok:
		return refusal("not_found")
	case now.After(receipt.At.Add(receiptLife)):
		return refusal("receipt_expired")
	}
	facts, err := e.facts(r.Context(), receipt.Mailbox)
	if err != nil {
		later := unavailable(err).about(receipt.Mailbox)
		later.page.Refresh = patience(now.Sub(receipt.At)) // whoever watches must not be left behind by a short outage
		return later
	}
	status := mailbox.View(facts, now)
	p := progress(status, masked(facts.Invitation.Address))
	p.Contact = e.Apps[facts.Invitation.App].Contact
	if p.AgainText != "" && !facts.Invitation.LinkExpired(now) && genuine(receipt.Link, facts.Invitation) {
		p.Again = "/c/" + receipt.Link
	}
	if p.Refresh > 0 {
		p.Refresh = patience(now.Sub(receipt.At))
	}
	return reply{status: http.StatusOK, page: p, outcome: string(status.State), mailbox: receipt.Mailbox}
}

// facts reads all that is known of a mailbox.
func (e *edge) facts(ctx context.Context, id mailbox.ID) (mailbox.Facts, error) {
	var f mailbox.Facts
	var err error
	if f.Invitation, _, err = e.Invitations.Load(ctx, id); err != nil {
		return f, fmt.Errorf("load invitation: %w", err)
	}
	if f.Claim, _, err = e.Claims.Load(ctx, id); err != nil {
		return f, fmt.Errorf("load claim: %w", err)
	}
	if f.Grant, err = e.grant(ctx, id); err != nil {
		return f, err
	}
	if f.Registration, _, err = e.Registrations.Load(ctx, id); err != nil {
		return f, fmt.Errorf("load registration: %w", err)
	}
	return f, nil
}

// patience is how many seconds to wait before looking again: most mailboxes are ready within seconds, and
// what takes longer than half an hour takes an operator.
func patience(age time.Duration) int {
	switch {
	case age < 30*time.Second:
		return 2
	case age < 5*time.Minute:
		return 10
	case age < 30*time.Minute:
		return 60
	}
	return 0
}

// progress puts a status into words for the owner, who is never told of our inner troubles, only what to do.
func progress(s mailbox.Status, address string) *page {
	p := &page{Mailbox: address, Tone: "wait", Refresh: 1}
	switch s.State {
	case mailbox.StateCodeReceived, mailbox.StateRedeeming:
		p.Title, p.Steps = "Thank you", steps(1)
		p.Lines = []string{"Microsoft has told us that you agree. We are checking that everything fits; you can close this page at any time."}
	case mailbox.StateGranted, mailbox.StateRegistering:
		p.Title, p.Steps = "Almost done", steps(2)
		p.Lines = []string{"Your mailbox is being connected. You can close this page at any time."}
	case mailbox.StateRegistered:
		p.Title, p.Steps, p.Tone, p.Refresh = "Your mailbox is connected", steps(3), "good", 0
		p.Lines = []string{"That was all. You can close this page."}
	case mailbox.StateUnclear, mailbox.StateDead:
		p.Title, p.Steps, p.Refresh = "We have your consent", steps(2), 0
		p.Lines = []string{"The last step takes a little longer and happens without you. If anything else is needed, we will tell you."}
	case mailbox.StateMismatch:
		mismatch(p, s.Finding)
	case mailbox.StateNeedsConsent:
		needsConsent(p, s.Reason)
	case mailbox.StateErased:
		p.stop("This invitation has ended", "", "The data about this mailbox have been removed. There is nothing left for you to do.")
	case mailbox.StateInvited:
		p.stop("Not connected yet", "Start again", "We have no answer from Microsoft yet. Please start again.")
	}
	return p
}

// mismatch says that another account consented. An alias may well be the right mailbox under another name: that is for
// the operator to decide, and the owner can do nothing better than wait.
func mismatch(p *page, f *mailbox.Finding) {
	if f != nil && f.Code == handlers.CodeAlias {
		p.stop("We have to check the address", "Use another account",
			"You signed in with an account that has the mailbox above as a further address. Nothing is connected yet, and we have destroyed the access that it gave us.",
			"Whoever sent you the link can see this, and has to accept it; then you will be asked once more. If you have another account for the mailbox above, use that one.")
		return
	}
	p.stop("That was another account", "Use the other account",
		"You signed in with an account that is not the invited mailbox. We have destroyed the access that it gave us.",
		"Please start again, and choose the account of the mailbox above.")
}

// needsConsent says why the owner is needed once more.
func needsConsent(p *page, reason string) {
	switch reason {
	case mailbox.Declined:
		p.stop("You did not agree", "Start again", "Nothing has been connected. If that was a mistake, you can start again.")
	case mailbox.AdminRequired:
		p.stop("Your administrator has to agree first", "Start again",
			"Your organisation allows this access only after an administrator has approved it. Please tell whoever sent you the link; they know what to do.",
			"You can start again as soon as it is approved.")
	case mailbox.CodeExpired, mailbox.ConsentLost:
		p.stop("Please agree once more", "Start again",
			"You did everything right, but your consent was lost on our side before we could use it. We are sorry. It takes one more minute.")
	case mailbox.Revoked:
		p.stop("Please agree once more", "Start again", "The access to this mailbox was taken back. To connect it again, please start again.")
	case mailbox.AccountAccepted:
		p.stop("Please agree once more", "Start again",
			"The account that you signed in with has been accepted for this mailbox. Nothing is connected yet.",
			"Please start again, and choose the same account as before.")
	default:
		p.stop("Signing in did not work", "Start again", "Microsoft could not finish the sign-in. Nothing has been connected. Please start again.")
	}
}

// stop makes p a page that waits for the owner, not for us.
func (p *page) stop(title, again string, lines ...string) {
	p.Tone, p.Title, p.AgainText, p.Lines, p.Refresh = "stop", title, again, lines, 0
}

// steps marks the first n steps as done and the next one as going on.
func steps(n int) []step {
	list := []step{{Text: "Your consent"}, {Text: "Access check"}, {Text: "Connection"}}
	for i := range list {
		switch {
		case i < n:
			list[i].Mark = "done"
		case i == n:
			list[i].Mark = "now"
		default:
			list[i].Mark = "open"
		}
	}
	return list
}
