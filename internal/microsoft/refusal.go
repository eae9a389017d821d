package microsoft

import (
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// Refusal says what an error at the authorize endpoint means (OpenID Connect Core § 3.1.2.6). It always is of
// class NeedsConsent and has a Reason: the attempt is over, and what a browser brings must neither hold a leg nor
// bury a mailbox. The description is looked at for AADSTS numbers only.
func Refusal(errorCode, description string) *fault.Fault {
	r := refusal{name: errorCode, codes: namedCodes(description)}
	at := row{
		class: fault.NeedsConsent, reason: mailbox.SignInFailed, actor: owner,
		cause: "the sign-in at Microsoft did not succeed", remedy: "the owner may press the button again",
	}
	code := "authorize_unknown_error"
	switch errorCode {
	case "access_denied", "consent_required":
		at.reason, at.cause, at.remedy, code = mailbox.Declined, "the owner declined", "ask the owner before sending another link", errorCode
	case "login_required", "interaction_required":
		code = errorCode
	case "server_error", "temporarily_unavailable":
		at.actor, at.cause, code = nobody, "Microsoft's sign-in page had a passing fault", errorCode
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_resource", "invalid_scope":
		at.actor, at.cause, at.remedy, code = operator, "Microsoft does not accept this app's request",
			"check client id, tenant, redirect URI and scopes of the app, then send the link again", errorCode
	}
	if known, number, ok := r.known(); ok {
		at, code = known, aadsts(number)
	}
	f := at.fault(code, origin{lane: codeLane})
	f.Class, f.After, f.Forecast = fault.NeedsConsent, 0, fault.ByPerson
	if f.Reason == "" || f.Reason == mailbox.CodeExpired {
		f.Reason = mailbox.SignInFailed
	}
	return f
}
