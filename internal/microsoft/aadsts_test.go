package microsoft_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

// meaning is what a group of codes must lead to; the groups follow Microsoft's error reference.
type meaning struct {
	name   string
	codes  []int
	err    string // the error that usually comes with them
	class  fault.Class
	reason string // on the code lane
	after  time.Duration
}

func meanings() []meaning {
	const (
		down, consent, passing, wait = fault.LegDown, fault.NeedsConsent, fault.Transient, fault.RetryAfter
		grant, client                = "invalid_grant", "invalid_client"
	)
	return []meaning{
		{"wrong secret", []int{7000215, 70002}, client, down, "", 0},
		{"expired secret", []int{7000222}, client, down, "", 0},
		{"secret missing or not wanted", []int{7000218, 700025}, client, down, "", 0},
		{"assertion rejected", []int{700027, 50012, 700030, 700021, 700023, 700024}, client, down, "", 0},
		{"app not found", []int{700016, 700011}, "unauthorized_client", down, "", 0},
		{"app disabled", []int{70001, 7000112}, "unauthorized_client", down, "", 0},
		{"tenant not found", []int{90002}, "invalid_request", down, "", 0},
		{"not multi-tenant", []int{50194}, "invalid_request", down, "", 0},
		{"account types", []int{9002331, 9002332}, "invalid_request", down, "", 0},
		{"redirect URI", []int{50011, 500112, 900971, 70004}, "invalid_request", down, "", 0},
		{"scopes", []int{70011, 28002, 28003, 700022}, "invalid_scope", down, "", 0},
		{"malformed", []int{900144, 90014, 90004, 90023, 900561}, "invalid_request", fault.Permanent, "", 0},
		{"malformed, perhaps a cut code", []int{9002313}, "invalid_request", consent, mailbox.SignInFailed, 0},
		{"PKCE", []int{501481, 50147, 501491}, grant, consent, mailbox.SignInFailed, 0},
		{"another tenant's", []int{700005, 7000012}, grant, consent, mailbox.SignInFailed, 0},
		{"spent", []int{54005}, grant, consent, mailbox.CodeExpired, 0},
		{"expired", []int{70008, 70000}, grant, consent, mailbox.CodeExpired, 0},
		{"idle", []int{700082}, grant, consent, mailbox.CodeExpired, 0},
		{"single-page app", []int{700084}, grant, consent, mailbox.SignInFailed, 0},
		{"sign-in frequency", []int{70043}, grant, consent, mailbox.SignInFailed, 0},
		{"revoked", []int{50173, 50089, 50132, 50133}, grant, consent, mailbox.SignInFailed, 0},
		{"no consent", []int{65001}, grant, consent, mailbox.SignInFailed, 0},
		{"declined", []int{65004}, "access_denied", consent, mailbox.Declined, 0},
		{"admin consent", []int{90094, 90095}, grant, consent, mailbox.AdminRequired, 0},
		{"not subscribed", []int{650052, 650056, 500011}, "invalid_resource", consent, mailbox.AdminRequired, 0},
		{"permission not listed", []int{65005}, "invalid_resource", down, "", 0},
		{"second factor", []int{50076, 50079, 50072, 50074, 50078, 50158}, "interaction_required", consent, mailbox.SignInFailed, 0},
		{"conditional access", []int{53003, 53000, 53001, 53002, 53004, 53011, 530032, 530035}, grant, consent, mailbox.AdminRequired, 0},
		{"not assigned", []int{50105}, grant, consent, mailbox.AdminRequired, 0},
		{"wrong account", []int{50020, 50034, 51004, 16000, 500208}, grant, consent, mailbox.SignInFailed, 0},
		{"account disabled", []int{50057}, grant, consent, mailbox.AdminRequired, 0},
		{"account locked", []int{50053}, grant, wait, "", 10 * time.Minute},
		{"sign-in failed", []int{50126, 50055, 50058}, grant, consent, mailbox.SignInFailed, 0},
		{"loop", []int{50196}, grant, wait, "", 5 * time.Minute},
		{"tenant blocked", []int{90055}, grant, wait, "", 10 * time.Minute},
		{"passing", []int{90033, 90006, 90012, 90024, 90090, 50033, 50087, 70012, 80005}, "temporarily_unavailable", passing, "", 0},
		{"issuance", []int{50000}, "server_error", passing, "", 0},
		{"other cloud", []int{90038, 900439, 900432, 900382}, "invalid_request", down, "", 0},
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
				reason := m.reason
				if m.class == fault.NeedsConsent && reason != mailbox.AdminRequired {
					reason = mailbox.Revoked
				}
				_, err := client.Refresh(t.Context(), "main", mailbox.Tokens{Refresh: secret.New("refresh-" + canary)})
				wants(t, err, m.class, label, reason)
			}
			if got, want := int(server.hits.Load()), 2*len(m.codes); got != want {
				t.Errorf("%d requests for %d exchanges", got, want)
			}
		})
	}
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
		"additional_action": mailbox.AdminRequired, "protection_policy_required": mailbox.AdminRequired,
	} {
		server.onToken(answerJSON(http.StatusBadRequest, map[string]any{"error": "invalid_grant", "suberror": sub}))
		wants(t, redeem(t.Context(), client), fault.NeedsConsent, "invalid_grant", reason)
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
