package microsoft_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
)

// meaning is what a group of codes must lead to; the groups are those of Microsoft's error reference.
type meaning struct {
	name   string
	codes  []int
	err    string // the error that usually comes with them
	class  fault.Class
	reason string // with NeedsConsent, on the code lane
	kept   string // the same on the refresh lane; "revoked" destroys the tokens, any other keeps them
	actor  string // who can put it right
	after  time.Duration
}

func meanings() []meaning {
	const (
		down, consent, passing, wait = fault.LegDown, fault.NeedsConsent, fault.Transient, fault.RetryAfter
		grant, client, request       = "invalid_grant", "invalid_client", "invalid_request"
		failed, expired, admins      = mailbox.SignInFailed, mailbox.CodeExpired, mailbox.AdminRequired
		revoked                      = mailbox.Revoked
		nobody, owner, admin, us     = "time", "owner", "tenant_admin", "operator"
	)
	return []meaning{
		// the app registration: nothing of this app can succeed
		{"wrong secret", []int{7000215, 70002}, client, down, "", "", us, 0},
		{"expired secret", []int{7000222}, client, down, "", "", us, 0},
		{"secret missing", []int{7000218}, client, down, "", "", us, 0},
		{"secret not wanted", []int{700025}, client, down, "", "", us, 0},
		{"assertion rejected", []int{700027, 50012, 700030, 700021, 700023, 700024}, client, down, "", "", us, 0},
		{"app not found", []int{700016, 700011}, "unauthorized_client", down, "", "", us, 0},
		{"app disabled", []int{70001, 7000112}, "unauthorized_client", down, "", "", us, 0},
		{"tenant not found", []int{90002}, request, down, "", "", us, 0},
		{"not multi-tenant", []int{50194}, request, down, "", "", us, 0},
		{"account types", []int{9002331, 9002332}, request, down, "", "", us, 0},
		{"redirect URI", []int{50011, 900971, 70004}, request, down, "", "", us, 0},
		{"scopes", []int{70011, 28002, 28003, 700022}, "invalid_scope", down, "", "", us, 0},
		{"permission not listed", []int{65005, 650057}, "invalid_resource", down, "", "", us, 0},
		{"other cloud", []int{90038, 900439, 900432, 900382}, request, down, "", "", us, 0},

		// the request
		{"malformed", []int{900144, 90014, 90004, 90023, 900561}, request, fault.Permanent, "", "", us, 0},
		{"malformed, perhaps a cut code", []int{9002313}, request, consent, failed, failed, owner, 0},

		// the code or the grant
		{"PKCE", []int{501481, 50147, 501491}, grant, consent, failed, failed, owner, 0},
		{"another sign-in's redirect URI", []int{500112}, grant, consent, failed, failed, us, 0},
		{"another tenant's", []int{700005, 7000012}, grant, consent, failed, failed, us, 0},
		{"spent", []int{54005}, grant, consent, expired, revoked, owner, 0},
		{"expired", []int{70008}, grant, consent, expired, revoked, owner, 0},
		{"not valid", []int{70000}, grant, consent, expired, revoked, owner, 0},
		{"idle", []int{700082}, grant, consent, expired, revoked, owner, 0},
		{"single-page app", []int{700084}, grant, consent, failed, revoked, us, 0},
		{"sign-in frequency", []int{70043}, grant, consent, failed, revoked, admin, 0},
		{"revoked", []int{50173, 50089, 50132, 50133}, grant, consent, failed, revoked, owner, 0},

		// the owner
		{"no consent", []int{65001}, grant, consent, failed, failed, owner, 0},
		{"declined", []int{65004}, "access_denied", consent, mailbox.Declined, mailbox.Declined, owner, 0},
		{"second factor", []int{50076, 50079, 50072, 50074, 50078, 50158}, "interaction_required", consent, failed, failed, owner, 0},
		{"wrong account", []int{50020, 50034, 51004, 16000, 500208, 50014}, grant, consent, failed, failed, owner, 0},
		{"sign-in failed", []int{50126, 50055, 50058, 50056, 50085, 50125, 50135, 50139, 50144, 50197}, grant, consent, failed, failed, owner, 0},

		// the admin of the owner's tenant
		{"admin consent", []int{90094, 90095}, grant, consent, admins, admins, admin, 0},
		{"not subscribed", []int{650052, 650056, 500011}, "invalid_resource", consent, admins, admins, admin, 0},
		{"conditional access", []int{53003, 53000, 53001, 53002, 53004, 53010, 53011, 530032, 530034, 530035}, grant, consent, admins, admins, admin, 0},
		{"device", []int{50005, 50097, 50129, 50131, 50155, 50187}, "interaction_required", consent, admins, admins, admin, 0},
		{"across tenants", []int{500021, 500022, 500212, 500213}, "access_denied", consent, admins, admins, admin, 0},
		{"not assigned", []int{50105}, grant, consent, admins, admins, admin, 0},
		{"account disabled", []int{50057}, grant, consent, admins, admins, admin, 0},
		{"account locked", []int{50053}, grant, wait, "", "", admin, 10 * time.Minute},

		// time
		{"loop", []int{50196}, grant, wait, "", "", nobody, 5 * time.Minute},
		{"tenant blocked", []int{90055}, grant, wait, "", "", nobody, 10 * time.Minute},
		{"passing", []int{90033, 90006, 90012, 90024, 90090, 40010, 50033, 50087, 50088, 50166, 70012, 80005}, "temporarily_unavailable", passing, "", "", nobody, 0},
		{"issuance", []int{50000}, "server_error", passing, "", "", nobody, 0},
	}
}

func TestTheTaxonomyIsWhatTheReferenceSays(t *testing.T) {
	t.Parallel()
	want := map[int]string{} // code → who acts
	for _, m := range meanings() {
		for _, code := range m.codes {
			want[code] = m.actor
		}
	}
	words, have := map[string]bool{}, map[int]string{}
	for _, e := range microsoft.Taxonomy() {
		for _, code := range e.Codes {
			if have[code] != "" {
				t.Errorf("AADSTS%d stands twice", code)
			}
			have[code] = e.Actor
		}
		if e.Cause == "" || e.Remedy == "" || words[e.Cause] {
			t.Errorf("%v: the cause %q is no news, or the remedy %q is missing", e.Codes, e.Cause, e.Remedy)
		}
		words[e.Cause] = true
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("who acts, by code (-reference +taxonomy):\n%s", diff)
	}
	for _, code := range msid.Codes() {
		if _, ok := have[code]; !ok && code != 70003 && code != 70005 { // what these two say, their error says
			t.Errorf("the simulator sends AADSTS%d, which has no row", code)
		}
	}
}

func errorAnswer(name string, code int) http.HandlerFunc {
	return answerJSON(http.StatusBadRequest, map[string]any{
		"error": name, "error_codes": []int{code}, "error_description": fmt.Sprintf("AADSTS%d: with %s in it", code, canary),
		"trace_id": tenantID, "correlation_id": objectID,
	})
}

func TestEveryCodeOfTheTableHasItsMeaningOnBothLanes(t *testing.T) {
	t.Parallel()
	for _, m := range meanings() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			client := server.client(t)
			for _, code := range m.codes {
				server.onToken(errorAnswer(m.err, code))
				label := fmt.Sprintf("AADSTS%d", code)
				if f := wants(t, redeem(t.Context(), client), m.class, label, m.reason); f.After != m.after {
					t.Errorf("%s: After = %s, want %s", label, f.After, m.after)
				}
				_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
				wants(t, err, m.class, label, m.kept)
			}
			if got, want := int(server.hits.Load()), 2*len(m.codes); got != want {
				t.Errorf("%d requests for %d exchanges", got, want)
			}
		})
	}
}

// What speaks against an app holds its leg; but what is said of one tenant must not stop everybody, be it named by the row
// or met at the shared address, where other mailboxes are answered well.
func TestOneTenantsFaultDoesNotHoldTheApp(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for code, class := range map[int]fault.Class{
		7000112: fault.Permanent, 700016: fault.Permanent, 90002: fault.Permanent, 65005: fault.Permanent, 7000222: fault.LegDown, 50011: fault.LegDown,
	} {
		server.onToken(answerJSON(http.StatusOK, goodGrant()))
		if err := redeem(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		server.onToken(errorAnswer("invalid_request", code))
		f := wants(t, redeem(t.Context(), client), class, fmt.Sprintf("AADSTS%d", code), "")
		if f.Forecast != fault.ByConfig {
			t.Errorf("AADSTS%d: forecast %s", code, f.Forecast)
		}
	}
	now := clock()
	patient := server.clientAt(t, func() time.Time { return now })
	server.onToken(answerJSON(http.StatusOK, goodGrant()))
	if err := redeem(t.Context(), patient); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	server.onToken(errorAnswer("unauthorized_client", 700016))
	wants(t, redeem(t.Context(), patient), fault.LegDown, "AADSTS700016", "")
}

func TestARowsOwnWrongTenantBuriesThatRowAlone(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	own := consent()
	own.Tenant = "nowhere.example"
	for code, class := range map[int]fault.Class{90002: fault.Permanent, 700016: fault.Permanent, 7000215: fault.LegDown} {
		server.onToken(errorAnswer("invalid_request", code))
		_, err := client.Redeem(t.Context(), "main", own)
		wants(t, err, class, fmt.Sprintf("AADSTS%d", code), "")
	}
}

func TestWithoutAKnownNumberTheErrorDecides(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for name, want := range map[string]struct {
		class  fault.Class
		code   string
		reason string
	}{
		"invalid_client":          {fault.LegDown, "", ""},
		"unauthorized_client":     {fault.LegDown, "", ""},
		"unsupported_grant_type":  {fault.LegDown, "", ""},
		"invalid_resource":        {fault.LegDown, "", ""},
		"invalid_scope":           {fault.LegDown, "", ""},
		"invalid_request":         {fault.Permanent, "", ""},
		"invalid_grant":           {fault.NeedsConsent, "", mailbox.CodeExpired},
		"interaction_required":    {fault.NeedsConsent, "", mailbox.SignInFailed},
		"consent_required":        {fault.NeedsConsent, "", mailbox.SignInFailed},
		"login_required":          {fault.NeedsConsent, "", mailbox.SignInFailed},
		"temporarily_unavailable": {fault.RetryAfter, "", ""},
		"server_error":            {fault.Transient, "", ""},
		"something_new":           {fault.Transient, "microsoft_unknown_error", ""},
	} {
		code := want.code
		if code == "" {
			code = name
		}
		server.onToken(errorAnswer(name, 99999999))
		wants(t, redeem(t.Context(), client), want.class, code, want.reason)
	}
}

func TestASuberrorRefinesInvalidGrant(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for sub, reason := range map[string]string{
		"bad_token": mailbox.CodeExpired, "token_expired": mailbox.CodeExpired, "basic_action": mailbox.SignInFailed,
		"consent_required": mailbox.SignInFailed, "user_password_expired": mailbox.SignInFailed, "message_only": mailbox.AdminRequired,
		"additional_action": mailbox.AdminRequired, "protection_policy_required": mailbox.AdminRequired, "client_mismatch": mailbox.AdminRequired,
		"device_authentication_failed": mailbox.AdminRequired, "": mailbox.CodeExpired, "brand_new": mailbox.CodeExpired,
	} {
		server.onToken(answerJSON(http.StatusBadRequest, map[string]any{"error": "invalid_grant", "suberror": sub}))
		wants(t, redeem(t.Context(), client), fault.NeedsConsent, "invalid_grant", reason)
		kept := reason
		switch {
		case sub == "bad_token" || sub == "token_expired":
			kept = mailbox.Revoked
		case reason == mailbox.CodeExpired:
			kept = mailbox.SignInFailed
		}
		_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
		wants(t, err, fault.NeedsConsent, "invalid_grant", kept)
	}
}

// What is not proven dead is kept: the word invalid_grant alone also stands for policies, which pass.
func TestOnlyAProvenDeathIsCalledRevoked(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for body, want := range map[string]string{
		`{"error":"invalid_grant"}`:                                                 mailbox.SignInFailed,
		`{"error":"invalid_grant","error_codes":[99999999]}`:                        mailbox.SignInFailed,
		`{"error":"invalid_grant","error_codes":[99999999],"suberror":"bad_token"}`: mailbox.Revoked,
		`{"error":"invalid_grant","error_codes":[50076],"suberror":"basic_action"}`: mailbox.SignInFailed,
		`{"error":"invalid_grant","error_codes":[50076],"suberror":"bad_token"}`:    mailbox.Revoked,
		`{"error":"invalid_grant","error_codes":[50173]}`:                           mailbox.Revoked,
		`{"error":"invalid_grant","suberror":"message_only"}`:                       mailbox.AdminRequired,
		`{"error":"interaction_required"}`:                                          mailbox.SignInFailed,
		`{"error":"consent_required","error_codes":[65001]}`:                        mailbox.SignInFailed,
	} {
		server.onToken(answerText(http.StatusBadRequest, body))
		_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
		if f := fault.Of(err); f.Class != fault.NeedsConsent || f.Reason != want {
			t.Errorf("%s: %s %q, want %q", body, f.Class, f.Reason, want)
		}
	}
}

func TestAnOddErrorAnswerIsStillClassified(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for _, c := range []struct {
		name, body string
		status     int
		class      fault.Class
		code       string
		reason     string
	}{
		{"error is not a text", `{"error":{"code":"invalid_grant"}}`, 400, fault.Transient, "microsoft_unknown_error", ""},
		{"error_codes is a number", `{"error":"invalid_grant","error_codes":50196}`, 400, fault.RetryAfter, "AADSTS50196", ""},
		{"error_codes are texts", `{"error":"invalid_grant","error_codes":["50196"]}`, 400, fault.RetryAfter, "AADSTS50196", ""},
		{"error_codes is a text", `{"error":"invalid_grant","error_codes":"none"}`, 400, fault.NeedsConsent, "invalid_grant", mailbox.CodeExpired},
		{"the number is in the description only", `{"error":"invalid_grant","error_description":"AADSTS54005: used"}`, 400, fault.NeedsConsent, "AADSTS54005", mailbox.CodeExpired},
		{"secrets in the description", `{"error":"invalid_grant","error_description":"` + canary + `","trace_id":"` + canary + `"}`, 400, fault.NeedsConsent, "invalid_grant", mailbox.CodeExpired},
		{"error and tokens together", `{"error":"invalid_grant","access_token":"` + canary + `","refresh_token":"` + canary + `"}`, 200, fault.NeedsConsent, "invalid_grant", mailbox.CodeExpired},
		{"a passing error keeps a grant alive whatever its number", `{"error":"temporarily_unavailable","error_codes":[50173]}`, 400, fault.RetryAfter, "temporarily_unavailable", ""},
		{"BOM", "\xef\xbb\xbf" + `{"error":"invalid_grant"}`, 400, fault.NeedsConsent, "invalid_grant", mailbox.CodeExpired},
		{"HTML", "<html>" + canary, 403, fault.Transient, "microsoft_unknown_error", ""},
		{"a server's fault beats its body", `{"error":"invalid_grant","error_codes":[54005]}`, 503, fault.Transient, "microsoft_5xx", ""},
	} {
		server.onToken(answerText(c.status, c.body))
		t.Log(c.name)
		wants(t, redeem(t.Context(), client), c.class, c.code, c.reason)
	}
}

func TestARefusalAtTheSignInPageAlwaysHasAReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ code, description, label, reason string }{
		{"access_denied", "AADSTS65004: User declined to consent", "AADSTS65004", mailbox.Declined},
		{"access_denied", "", "access_denied", mailbox.Declined},
		{"consent_required", "", "consent_required", mailbox.Declined},
		{"access_denied", "AADSTS90094: admin", "AADSTS90094", mailbox.AdminRequired},
		{"access_denied", "AADSTS53003: blocked", "AADSTS53003", mailbox.AdminRequired},
		{"login_required", "AADSTS50058", "AADSTS50058", mailbox.SignInFailed},
		{"interaction_required", "", "interaction_required", mailbox.SignInFailed},
		{"server_error", "", "server_error", mailbox.SignInFailed},
		{"temporarily_unavailable", "", "temporarily_unavailable", mailbox.SignInFailed},
		{"invalid_request", "", "invalid_request", mailbox.SignInFailed},
		{"unauthorized_client", "AADSTS700016: not found", "AADSTS700016", mailbox.SignInFailed},
		{"invalid_client", "AADSTS7000215: forged", "AADSTS7000215", mailbox.SignInFailed},
		{"<script>", "AADSTS" + canary, "authorize_unknown_error", mailbox.SignInFailed},
	} {
		wants(t, microsoft.Refusal(c.code, c.description), fault.NeedsConsent, c.label, c.reason)
	}
}
