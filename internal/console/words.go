package console

import (
	"kindling/internal/mailbox"
)

// Words is a status as an operator reads it: why the mailbox is not registered, what to do, and what happens by itself.
type Words struct {
	Reason string `json:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	Next   string `json:"next"`
}

// explainStatus words a status. What the failing process found out speaks first.
func explainStatus(s mailbox.Status) Words {
	w := wordsOf(s)
	if s.Finding != nil && (s.State != mailbox.StateRegistered || s.Reason == mailbox.ReconnectFailed || s.Reason == mailbox.ReconnectUnsure) {
		if s.Finding.Cause != "" {
			w.Reason = s.Finding.Cause
		}
		if s.Finding.Remedy != "" {
			w.Remedy = s.Finding.Remedy
		}
	}
	return w
}

func wordsOf(s mailbox.Status) Words {
	const byItself = "goes on by itself"
	switch s.State {
	case mailbox.StateInvited:
		if s.Reason == mailbox.LinkExpired {
			return Words{"the owner has not used the link and it has expired", "issue a new link", "waits for a new link"}
		}
		return Words{
			Reason: "the owner has not used the link yet",
			Remedy: "remind the owner; if nobody of a campaign comes back, compare the app's redirect URI with the one registered in Azure",
			Next:   "waits for the owner",
		}
	case mailbox.StateCodeReceived:
		return Words{Next: byItself + ": token-worker exchanges the code within its ten minutes"}
	case mailbox.StateRedeeming:
		return Words{Next: byItself + ": token-worker is exchanging the code"}
	case mailbox.StateGranted:
		return Words{Next: byItself + ": warmy-worker registers it when its turn and the call budget allow"}
	case mailbox.StateRegistering:
		return Words{Next: byItself + ": warmy-worker is posting it"}
	case mailbox.StateRegistered:
		return registeredWords(s.Reason)
	case mailbox.StateNeedsConsent:
		w := needsConsent(s.Reason)
		if s.Stage != "" {
			w.Next += "; the tokens are kept, and Microsoft is asked for them again every six hours"
		}
		return w
	case mailbox.StateMismatch:
		return Words{
			"somebody else than the invited owner consented; the tokens were destroyed",
			"ask the owner to sign in with the invited address, and issue a new link", "waits for an operator",
		}
	case mailbox.StateUnclear:
		return Words{"Warmy may have the mailbox; the answer was lost", "none: Warmy's listing settles it", byItself}
	case mailbox.StateDead:
		return Words{"the work on it was given up", "see its dead letter", "waits for an operator"}
	case mailbox.StateErased:
		return Words{"it was erased on request", "none", "nothing is left to do"}
	}
	return Words{}
}

func registeredWords(reason string) Words {
	switch reason {
	case mailbox.Reconnecting:
		return Words{Next: "goes on by itself: warmy-worker tells Warmy what to use from now on"}
	case mailbox.ReconnectDue:
		return Words{"the owner consented anew, and Warmy was not told", "reconnect it (kindling mailbox reconnect)", "waits for an operator"}
	case mailbox.ReconnectUnsure:
		return Words{"Warmy has it, and did not say whether it took the new tokens", "look at it in Warmy, then reconnect it if need be", "waits for an operator"}
	case mailbox.ReconnectFailed:
		return Words{"Warmy was not told what to use from now on", "see its dead letter, or reconnect it", "waits for an operator"}
	}
	return Words{Next: "nothing is left to do"}
}

func needsConsent(reason string) Words {
	const waits = "waits for the owner"
	switch reason {
	case mailbox.Declined:
		return Words{"the owner declined", "ask the owner, then hand out the link again", waits}
	case mailbox.CodeExpired:
		return Words{"the authorization code was not exchanged in time", "hand out the link again", waits}
	case mailbox.ConsentLost:
		return Words{"the consent was lost on our side", "apologise and hand out the link again", waits}
	case mailbox.Revoked:
		return Words{"the access was taken back", "ask the owner, then hand out the link again", waits}
	case mailbox.AdminRequired:
		return Words{
			"the tenant wants an admin's consent",
			"hand the tenant's admin its link (kindling tenant link), or let him press 'Grant admin consent' in the Azure portal; then the owner may use theirs again",
			"waits for the tenant's admin",
		}
	case mailbox.LinkExpired:
		return Words{"the link has expired", "issue a new link", "waits for a new link"}
	case mailbox.AccountAccepted:
		return Words{"an operator has accepted the account that consented", "hand out the link again: the owner has to consent once more with that account", waits}
	case mailbox.SignInFailed:
		return Words{
			"the sign-in failed at Microsoft",
			"ask the owner to try the link again; if consent is asked for again and again, check 'Grant admin consent' in the Azure portal and leave edge.start_prompt: consent out", waits,
		}
	}
	return Words{"the owner has to consent again", "hand out the link again", waits}
}
