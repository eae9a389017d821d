package microsoft_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/microsoft"
	"kindling/internal/sim/msid"
)

// mismatched asks who consented where address was invited, and wants the fault of it.
func mismatched(t *testing.T, err error, code string) *handlers.MismatchError {
	t.Helper()
	wants(t, err, fault.Permanent, code, "")
	other, ok := errors.AsType[*handlers.MismatchError](err)
	if !ok {
		t.Fatalf("%v does not say who consented", err)
	}
	return other
}

func TestAMismatchSaysWhoConsentedAndShowsItNowhere(t *testing.T) {
	t.Parallel()
	boss := func(changes ...any) map[string]any {
		return with(with(goodProfile(), "mail", "Boss@contoso.example", "userPrincipalName", "boss@contoso.example"), changes...)
	}
	aliases := []string{"SMTP:Boss@contoso.example", "smtp:JANE@contoso.example"}
	for name, c := range map[string]struct {
		profile       map[string]any
		code, address string
		alias         bool
		says          string
	}{
		"another account":              {boss(), handlers.CodeMismatch, "Boss@contoso.example", false, "b•••@contoso.example consented"},
		"an alias":                     {boss("proxyAddresses", aliases), handlers.CodeAlias, "Boss@contoso.example", true, "is an alias of b•••@contoso.example"},
		"an alias of another protocol": {boss("proxyAddresses", []string{"sip:" + address, "x500:" + address}), handlers.CodeMismatch, "Boss@contoso.example", false, "consented"},
		"an alias that is only longer": {boss("proxyAddresses", []string{"smtp:x" + address, "smtp:" + address + ".evil.example"}), handlers.CodeMismatch, "Boss@contoso.example", false, "consented"},
		"no mail":                      {boss("mail", nil), handlers.CodeMismatch, "boss@contoso.example", false, "consented"},
		"a guest with the right mail":  {with(goodProfile(), "userPrincipalName", "jane_contoso.example#EXT#@fabrikam.example"), handlers.CodeMismatch, "Jane@Contoso.example", false, "is a guest"},
		"a guest's alias":              {boss("proxyAddresses", aliases, "userPrincipalName", "boss_contoso.example#ext#@fabrikam.example"), handlers.CodeMismatch, "Boss@contoso.example", false, "is a guest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			server.onGraph(answerJSON(http.StatusOK, c.profile))
			_, err := server.client(t).Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address)
			other := mismatched(t, err, c.code)
			if want := (events.Proof{TenantID: tenantID, ObjectID: objectID}); other.Account.Proof != want ||
				other.Account.Address.Reveal() != c.address || other.Account.Alias != c.alias {
				t.Errorf("account %+v, %q", other.Account, other.Account.Address.Reveal())
			}
			shown := strings.ToLower(fmt.Sprintf("%v %+v %#v %s", err, err, *other, other.Fault.Remedy))
			if !strings.Contains(other.Fault.Cause, c.says) || strings.Contains(shown, "boss@") || strings.Contains(shown, address) {
				t.Errorf("cause %q, shown %s", other.Fault.Cause, shown)
			}
		})
	}
}

// What cannot be said to be one account must never be accepted by an operator.
func TestAProofThatContradictsItselfNamesNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ claims, profile map[string]any }{
		"another nonce":  {map[string]any{"nonce": "other"}, goodProfile()},
		"another object": {nil, with(goodProfile(), "id", tenantID)},
	} {
		server := newFake(t)
		server.onGraph(answerJSON(http.StatusOK, c.profile))
		_, err := server.client(t).Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, c.claims)), address)
		wants(t, err, fault.Permanent, handlers.CodeMismatch, "")
		if _, named := errors.AsType[*handlers.MismatchError](err); named {
			t.Errorf("%s: an account is named", name)
		}
	}
}

// A personal account can bear the address of a mailbox at work.
func TestAPersonalAccountCountsOnlyWherePersonalAccountsAreWanted(t *testing.T) {
	t.Parallel()
	for tenant, proven := range map[string]bool{"organizations": false, tenantID: false, "contoso.example": false, "common": true, "consumers": true} {
		server := newFake(t)
		server.onGraph(answerJSON(http.StatusOK, map[string]any{"id": objectID, "mail": nil, "userPrincipalName": address}))
		client := server.client(t, func(a *microsoft.App) { a.Tenant = tenant })
		token := idToken(t, server.URL, map[string]any{"tid": msid.PersonalTenant, "iss": server.URL + "/" + msid.PersonalTenant + "/v2.0"})
		proof, err := client.Prove(t.Context(), "main", tokensWith(token), address)
		if proven {
			if err != nil || proof.TenantID != msid.PersonalTenant {
				t.Errorf("%s: Prove() = %+v, %v", tenant, proof, err)
			}
			continue
		}
		if other := mismatched(t, err, handlers.CodeMismatch); !strings.Contains(other.Fault.Cause, "personal account") || other.Account.ObjectID != objectID {
			t.Errorf("%s: %+v", tenant, other)
		}
	}
}

// The identity entries of the bad-input catalogue, against the simulated directory. Where the invited address is not
// the account's own, the answer is a mismatch, whatever the account is; handlers destroy the tokens then.
func TestOnlyTheInvitedAccountIsProvenToBeIt(t *testing.T) {
	t.Parallel()
	const invited = "jane@contoso.example"
	users := []msid.User{
		{Address: "team@contoso.example", PrincipalName: "jane.doe@contoso.example"},
		{Address: "upn@contoso.example", PrincipalName: "renamed@contoso.example", Mail: invited},
		{Address: "mailless@contoso.example", NoMail: true},
		{Address: "signin@contoso.example", PrincipalName: invited, NoMail: true},
		{Address: "main@contoso.example", Aliases: []string{"Jane@Contoso.example"}},
	}
	for name, c := range map[string]struct {
		consents string
		code     string // of the fault; empty: proven
	}{
		"the invited one":                  {invited, ""},
		"other letter case":                {"JANE@Contoso.example", ""},
		"renamed UPN with the same mail":   {"upn@contoso.example", ""},
		"null mail and the right UPN":      {"signin@contoso.example", ""},
		"other user, same tenant":          {"boss@contoso.example", handlers.CodeMismatch},
		"other tenant":                     {"jane@fabrikam.example", handlers.CodeMismatch},
		"alias":                            {"main@contoso.example", handlers.CodeAlias},
		"shared mailbox's delegate":        {"team@contoso.example", handlers.CodeMismatch},
		"link forwarded to a colleague":    {"colleague@contoso.example", handlers.CodeMismatch},
		"member of a distribution list":    {"member@contoso.example", handlers.CodeMismatch},
		"null mail and other UPN":          {"mailless@contoso.example", handlers.CodeMismatch},
		"look-alike IDN":                   {"jane@xn--cntoso-e9b.example", handlers.CodeMismatch},
		"look-alike letter":                {"jan\u0435@contoso.example", handlers.CodeMismatch},
		"longer domain":                    {"jane@contoso.example.evil.example", handlers.CodeMismatch},
		"address in the name of a subdir.": {"jane+jane@contoso.example", handlers.CodeMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := simulateUsers(t, users)
			tokens, err := s.client.Redeem(t.Context(), "main", s.consentOf(c.consents))
			if err != nil {
				t.Fatal(err)
			}
			proof, err := s.client.Prove(t.Context(), "main", tokens, invited)
			if c.code == "" {
				if err != nil || proof.ObjectID == "" {
					t.Errorf("Prove() = %+v, %v", proof, err)
				}
				return
			}
			if other := mismatched(t, err, c.code); other.Account.Alias != (c.code == handlers.CodeAlias) || other.Account.ObjectID == "" {
				t.Errorf("account %+v", other.Account)
			}
		})
	}
}
