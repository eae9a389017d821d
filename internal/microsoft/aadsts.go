package microsoft

import (
	"slices"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// actor is who can put an error right.
type actor string

const (
	nobody   actor = "time"         // it passes
	owner    actor = "owner"        // the mailbox's owner
	admin    actor = "tenant_admin" // an admin of the owner's tenant
	operator actor = "operator"     // whoever runs Kindling and its app registration
)

// row says what one group of AADSTS codes means here (learn.microsoft.com, "Microsoft Entra authentication and
// authorization error codes"). Microsoft asks not to depend on these numbers; so they only refine what status,
// error and suberror say, and an unknown one falls back to its error's default.
type row struct {
	codes  []int
	class  fault.Class
	reason string        // with NeedsConsent
	dead   bool          // with NeedsConsent: a refresh token that gets this answer will never be good again
	after  time.Duration // with RetryAfter: the least wait
	actor  actor
	proof  bool // what the app proved itself with was refused: another client secret may do better
	local  bool // with LegDown: may be the fault of one tenant, and then must not stop everybody
	mixed  bool // two attempts were mixed up, or a code was slipped in: an alarm
	cause  string
	remedy string
}

// forecast says what a replay would need, which follows from who must act.
func (r row) forecast() fault.Forecast {
	switch r.actor {
	case nobody:
		return fault.ByTime
	case operator:
		if r.class == fault.NeedsConsent {
			return fault.ByPerson // after the operator, the owner has to consent again
		}
		return fault.ByConfig
	case owner, admin:
	}
	return fault.ByPerson
}

// lookup finds the row of an AADSTS code.
func lookup(code int) (row, bool) {
	all := table()
	if i := slices.IndexFunc(all, func(r row) bool { return slices.Contains(r.codes, code) }); i >= 0 {
		return all[i], true
	}
	return row{}, false
}

// table is the whole taxonomy. Nothing else in Kindling interprets an AADSTS number.
func table() []row {
	return slices.Concat(appRows(), requestRows(), grantRows(), personRows(), tenantRows(), serviceRows())
}

// appRows are settings of the app registration: nothing of this app can succeed until an operator has been there.
func appRows() []row {
	const down = fault.LegDown
	return []row{
		{
			codes: []int{7000215, 70002}, class: down, actor: operator, proof: true, cause: "the client secret is wrong",
			remedy: "verify the client secret: put its value (not its id) into the app's client_secret_file; the workers see it within seconds",
		},
		{
			codes: []int{7000222}, class: down, actor: operator, proof: true, cause: "the client secret has expired",
			remedy: "make a new client secret in the Azure portal, put it first in client_secret_file, and post the mailboxes at Warmy again with it",
		},
		{
			codes: []int{7000218}, class: down, actor: operator, proof: true, cause: "the request carried no client secret",
			remedy: "set client_secret_file of the app and restart the workers",
		},
		{
			codes: []int{700025}, class: down, actor: operator, cause: "the app is registered as a public client and must not send a secret",
			remedy: "register the redirect URI as type web and switch 'allow public client flows' off in the Azure portal",
		},
		{
			codes: []int{700027, 50012, 700030, 700021, 700023}, class: down, actor: operator, proof: true,
			cause:  "the app's certificate, or what was signed with it, was rejected",
			remedy: "compare the app's client_certificate_file with the certificates in the Azure portal, and upload it there",
		},
		{
			codes: []int{700024}, class: down, actor: operator, proof: true, cause: "what was signed with the app's certificate is not valid at this time",
			remedy: "set this machine's clock",
		},
		{
			codes: []int{700016, 700011}, class: down, actor: operator, local: true, cause: "the app is not known in this directory",
			remedy: "compare client_id and tenant with the Azure portal; in a customer's tenant an admin has to consent to the app first",
		},
		{
			codes: []int{70001, 7000112}, class: down, actor: operator, local: true, cause: "the app is disabled",
			remedy: "enable the app in the Azure portal, or ask the tenant's admin why it was disabled there",
		},
		{
			codes: []int{90002}, class: down, actor: operator, local: true, cause: "the tenant does not exist",
			remedy: "correct the tenant of the app, or the tenant column of this row, and import it again",
		},
		{
			codes: []int{50194}, class: down, actor: operator, local: true, cause: "the app is not multi-tenant, but was used at a shared address",
			remedy: "make the app multi-tenant in the Azure portal (Warmy needs that too), or set its tenant",
		},
		{
			codes: []int{9002331, 9002332}, class: down, actor: operator, local: true, cause: "the app's account types do not fit the tenant it is used at",
			remedy: "set tenant to consumers for an app of personal accounts, to organizations for one of work accounts",
		},
		{
			codes: []int{50011, 900971, 70004}, class: down, actor: operator, cause: "the redirect URI is not the registered one",
			remedy: "register the app's redirect URI in Azure exactly as `kindling config show` prints it, as type web",
		},
		{
			codes: []int{70011, 28002, 28003, 700022}, class: down, actor: operator, cause: "the scopes are invalid, or belong to more than one resource",
			remedy: "ask for Graph permissions only: User.Read Mail.Send Mail.ReadWrite, beside openid profile offline_access",
		},
		{
			codes: []int{65005, 650057}, class: down, actor: operator, local: true, cause: "the app asks for a permission that its registration does not list",
			remedy: "add the permissions under 'API permissions' in the Azure portal; spell offline_access without a resource",
		},
		{
			codes: []int{90038, 900439, 900432, 900382}, class: down, actor: operator, local: true, cause: "the account lives in another Microsoft cloud",
			remedy: "register an app in that cloud and set the app's cloud; Warmy may not reach national clouds at all",
		},
	}
}

// requestRows are requests that Microsoft could not read. They bury one mailbox: a damaged code must not stop an app.
func requestRows() []row {
	return []row{
		{
			codes: []int{9002313}, class: fault.NeedsConsent, reason: mailbox.SignInFailed, actor: owner,
			cause:  "Microsoft could not read the request, probably because the code was cut on its way",
			remedy: "send the owner the link again; if all fail so, report a defect of Kindling",
		},
		{
			codes: []int{900144, 90014, 90004, 90023, 900561}, class: fault.Permanent, actor: operator,
			cause: "Microsoft calls the request malformed", remedy: "check the app's settings; if they are right, report a defect of Kindling",
		},
	}
}

// grantRows are codes and refresh tokens that are no good any more, or not here.
func grantRows() []row {
	const consent = fault.NeedsConsent
	return []row{
		{
			codes: []int{501481, 50147, 501491}, class: consent, reason: mailbox.SignInFailed, actor: owner, mixed: true,
			cause:  "the PKCE verifier does not fit the code: two attempts were mixed up, or a code was slipped in",
			remedy: "send the owner the link again; look into it if it happens twice",
		},
		{
			codes: []int{500112}, class: consent, reason: mailbox.SignInFailed, actor: operator,
			cause:  "the code is redeemed with another redirect URI than its sign-in began with",
			remedy: "compare edge.public_url of all processes, then send the owner a new link",
		},
		{
			codes: []int{700005, 7000012}, class: consent, reason: mailbox.SignInFailed, actor: operator,
			cause: "the code or grant belongs to another tenant", remedy: "correct the tenant of the app or of this row, then send the owner a new link",
		},
		{
			codes: []int{54005}, class: consent, reason: mailbox.CodeExpired, actor: owner, dead: true,
			cause: "the authorization code was already redeemed", remedy: "send the owner the link again",
		},
		{
			codes: []int{70008}, class: consent, reason: mailbox.CodeExpired, actor: owner, dead: true,
			cause: "the authorization code or refresh token has expired", remedy: "send the owner the link again; look at the code lane's age if this happens often",
		},
		{
			codes: []int{70000}, class: consent, reason: mailbox.CodeExpired, actor: owner, dead: true,
			cause: "the code or grant is not valid (for personal accounts also: expired)", remedy: "send the owner the link again",
		},
		{
			codes: []int{700082}, class: consent, reason: mailbox.CodeExpired, actor: owner, dead: true,
			cause: "the refresh token was not used for 90 days", remedy: "send the owner the link again",
		},
		{
			codes: []int{700084}, class: consent, reason: mailbox.SignInFailed, actor: operator, dead: true,
			cause:  "the refresh token is one of a single-page app, which lives 24 hours",
			remedy: "register the redirect URI as type web in the Azure portal, then send new links",
		},
		{
			codes: []int{70043}, class: consent, reason: mailbox.SignInFailed, actor: admin, dead: true,
			cause:  "the tenant's sign-in frequency ended the grant, and will do so again",
			remedy: "ask the tenant's admin to exempt the app from the sign-in frequency policy, then send a new link",
		},
		{
			codes: []int{50173, 50089, 50132, 50133}, class: consent, reason: mailbox.SignInFailed, actor: owner, dead: true,
			cause: "the grant was revoked, or the password was reset", remedy: "send the owner the link again",
		},
	}
}

// personRows are for the owner to repair.
func personRows() []row {
	const consent = fault.NeedsConsent
	return []row{
		{
			codes: []int{65001}, class: consent, reason: mailbox.SignInFailed, actor: owner,
			cause:  "nobody has consented to the app's permissions, or the consent was taken back",
			remedy: "send the owner the link again; if the tenant blocks user consent, its admin first has to press 'Grant admin consent' in the Azure portal",
		},
		{
			codes: []int{65004}, class: consent, reason: mailbox.Declined, actor: owner,
			cause: "the owner declined", remedy: "ask the owner before sending another link",
		},
		{
			codes: []int{50076, 50079, 50072, 50074, 50078, 50158}, class: consent, reason: mailbox.SignInFailed, actor: owner,
			cause: "the tenant asks for a second factor", remedy: "send the owner the link again: the sign-in page asks for the second factor",
		},
		{
			codes: []int{50020, 50034, 51004, 16000, 500208, 50014}, class: consent, reason: mailbox.SignInFailed, actor: owner,
			cause: "the account is not one of this tenant, or of the wrong type", remedy: "the owner probably chose another account: send the link again; else correct the tenant",
		},
		{
			codes: []int{50126, 50055, 50058, 50056, 50085, 50125, 50135, 50139, 50144, 50197}, class: consent, reason: mailbox.SignInFailed, actor: owner,
			cause: "the sign-in failed: wrong or expired password, or no session", remedy: "send the owner the link again",
		},
	}
}

// tenantRows are for the admin of the owner's tenant.
func tenantRows() []row {
	const consent = fault.NeedsConsent
	return []row{
		{
			codes: []int{90094, 90095}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause:  "the tenant lets only an admin consent",
			remedy: "have the tenant's admin grant consent (the admin consent link, or 'Grant admin consent' in the Azure portal), then send the owner a new link",
		},
		{
			codes: []int{650052, 650056, 500011}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause:  "the tenant has no subscription or no consent for the permissions that the app asks for",
			remedy: "check the app's API permissions, then send the tenant's admin the admin consent link",
		},
		{
			codes: []int{
				53003, 53000, 53001, 53002, 53004, 53010, 53011, 530032, 530034, 530035, // access policies
				50005, 50097, 50129, 50131, 50155, 50187, // what they ask of devices
			}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause: "the tenant's access policy blocks the sign-in", remedy: "ask the tenant's admin to allow the app in Conditional Access, then send a new link",
		},
		{
			codes: []int{500021, 500022, 500212, 500213}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause: "a tenant's policy does not let this account reach the other tenant", remedy: "ask the admins of both tenants to allow the access across tenants, then send a new link",
		},
		{
			codes: []int{50105}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause: "the owner is not assigned to the app", remedy: "ask the tenant's admin to assign the owner to the enterprise application",
		},
		{
			codes: []int{50057}, class: consent, reason: mailbox.AdminRequired, actor: admin,
			cause: "the owner's account is disabled", remedy: "ask the tenant's admin whether the account should exist, then send a new link",
		},
		{
			codes: []int{50053}, class: fault.RetryAfter, after: waitMost, actor: admin,
			cause: "the account is locked for a while, or our address is taken for a malicious one", remedy: "wait; if it lasts, the tenant's admin unlocks the account",
		},
	}
}

// serviceRows pass by themselves. 50196 arrives as invalid_grant and must never count as a dead grant.
func serviceRows() []row {
	return []row{
		{
			codes: []int{50196}, class: fault.RetryAfter, after: 5 * time.Minute, actor: nobody,
			cause: "Microsoft takes our requests for a loop and throttles them", remedy: "none: it waits five minutes; lower the pace if it comes back",
		},
		{
			codes: []int{90055}, class: fault.RetryAfter, after: waitMost, actor: nobody,
			cause: "the tenant is blocked for too many requests", remedy: "none: it waits ten minutes; lower the pace if it comes back",
		},
		{
			codes: []int{90033, 90006, 90012, 90024, 90090, 40010, 50033, 50087, 50088, 50166, 70012, 80005}, class: fault.Transient, actor: nobody,
			cause: "a passing fault of Microsoft's service", remedy: "none: it is tried again",
		},
		{
			codes: []int{50000}, class: fault.Transient, actor: nobody,
			cause: "Microsoft could not issue the token", remedy: "none: it is tried again; ask Microsoft's support if it lasts",
		},
	}
}
