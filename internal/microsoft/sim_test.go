package microsoft_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

const (
	simVerifier = "0123456789012345678901234567890123456789012"
	simRedirect = "https://connect.example/oauth-callback/main"
	simScope    = "openid profile offline_access User.Read Mail.Send Mail.ReadWrite"
)

// simulated is a simulated Microsoft and a client of it.
type simulated struct {
	*msid.Server
	client *microsoft.Client
}

func simulate(t *testing.T, alg string, switches msid.Switches) simulated {
	t.Helper()
	return simulateWithin(t, patience, alg, switches)
}

// simulateWithin is simulate with a deadline for the client's calls.
func simulateWithin(t *testing.T, deadline time.Duration, alg string, switches msid.Switches) simulated {
	t.Helper()
	return simulateWith(t, msid.Config{SigningAlg: alg, Switches: switches}, deadline)
}

func simulateUsers(t *testing.T, users []msid.User) simulated {
	t.Helper()
	return simulateWith(t, msid.Config{SigningAlg: "ES256", Users: users}, time.Minute) // nothing hangs here
}

func simulateWith(t *testing.T, cfg msid.Config, timeout time.Duration) simulated {
	t.Helper()
	server := msid.New(msid.Config{
		SigningAlg: cfg.SigningAlg, Seed: 1, Switches: cfg.Switches, Users: cfg.Users,
		Apps: []msid.App{{ClientID: clientID, Secrets: []string{"good"}, ExpiredSecrets: []string{"old"}, RedirectURIs: []string{simRedirect}}},
	})
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	transport := microsoft.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	app := microsoft.App{
		Name: "main", Tenant: "organizations", ClientID: clientID, Secrets: []secret.Text{secret.New("old"), secret.New("good")},
		RedirectURI: simRedirect, Scopes: []string{"openid", "User.Read", "Mail.Send", "Mail.ReadWrite"},
		LoginURL: listener.URL, GraphURL: listener.URL,
	}
	client := microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Transport: transport, Timeout: timeout})
	return simulated{server, client}
}

// consentOf returns what the edge would hand over after the owner consented.
func (s simulated) consentOf(owner string) mailbox.Consent {
	sum := sha256.Sum256([]byte(simVerifier))
	codes := s.IssueCodes(msid.NewCode{
		ClientID: clientID, Tenant: "organizations", RedirectURI: simRedirect, Scope: simScope, Nonce: nonce,
		Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Addresses: []string{owner},
	})
	return mailbox.Consent{
		Code: secret.New(codes[0]), Verifier: secret.New(simVerifier), Nonce: secret.New(nonce), Tenant: "organizations", RedirectURI: simRedirect,
	}
}

func TestACodeBecomesProvenTokensThatCanBeRenewed(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "ES256"} {
		s := simulate(t, alg, msid.Switches{PrefixScopes: alg == "RS256"})
		tokens, err := s.client.Redeem(t.Context(), "main", s.consentOf(address))
		if err != nil {
			t.Fatal(err)
		}
		proof, err := s.client.Prove(t.Context(), "main", tokens, address)
		if err != nil || proof.TenantID == "" || proof.ObjectID == "" {
			t.Fatalf("Prove() = %+v, %v", proof, err)
		}
		if tokens.Whose != proof {
			t.Errorf("before the proof they are %+v's, then %+v's", tokens.Whose, proof)
		}
		renewed, err := s.client.Refresh(t.Context(), "main", tokens)
		if err != nil || renewed.Access.Equal(tokens.Access) {
			t.Fatalf("Refresh() = %+v, %v", renewed, err)
		}
		tokens.Access = renewed.Access
		again, err := s.client.Prove(t.Context(), "main", tokens, address)
		if err != nil || again != proof {
			t.Errorf("Prove() = %+v, %v, want %+v", again, err, proof)
		}
		_, err = s.client.Prove(t.Context(), "main", tokens, "boss@contoso.example")
		wants(t, err, fault.Permanent, handlers.CodeMismatch, "")
	}
}

func TestAgainstTheSimulatorASpentCodeIsSpentAndARevokedGrantRevoked(t *testing.T) {
	t.Parallel()
	s := simulate(t, "ES256", msid.Switches{})
	consent := s.consentOf(address)
	tokens, err := s.client.Redeem(t.Context(), "main", consent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client.Redeem(t.Context(), "main", consent)
	wants(t, err, fault.NeedsConsent, "AADSTS54005", mailbox.CodeExpired)
	s.EndGrants(address, 50173)
	_, err = s.client.Refresh(t.Context(), "main", tokens)
	wants(t, err, fault.NeedsConsent, "AADSTS50173", mailbox.Revoked)
	_, err = s.client.Prove(t.Context(), "main", tokens, address)
	wants(t, err, fault.Permanent, "graph_401", "")

	wrong := s.consentOf(address)
	wrong.Verifier = secret.New("0123456789012345678901234567890123456789xxx")
	_, err = s.client.Redeem(t.Context(), "main", wrong)
	wants(t, err, fault.NeedsConsent, "AADSTS501481", mailbox.SignInFailed)
}

func TestEveryRowOfTheSimulatorsTableGetsItsClass(t *testing.T) {
	t.Parallel()
	s := simulate(t, "ES256", msid.Switches{})
	for _, m := range meanings() {
		for _, code := range m.codes {
			s.ClearFaults()
			if err := s.Fault(msid.Refusal(msid.OpCode, code)); err != nil {
				t.Fatal(err)
			}
			_, err := s.client.Redeem(t.Context(), "main", s.consentOf(address))
			if f := fault.Of(err); err == nil || f.Class != m.class || f.Reason != m.reason {
				// A status beats the number, and both say here that later may work.
				if f.Code != "microsoft_5xx" && f.Code != "microsoft_429" {
					t.Errorf("AADSTS%d: %v", code, err)
				}
			}
		}
	}
}

func TestOneExchangeIsOneArrivalWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	s := simulateWithin(t, time.Second, "ES256", msid.Switches{})
	for t.Context().Err() == nil { // until the client knows which secret is good
		if _, err := s.client.Redeem(t.Context(), "main", s.consentOf("first@contoso.example")); err == nil {
			break
		}
	}
	for i, kind := range []trouble.Kind{
		trouble.Throttled, trouble.ServerError, trouble.BadGateway, trouble.Reset, trouble.Hang, trouble.Drip,
		trouble.Truncate, trouble.Huge, trouble.Bomb, trouble.Redirect,
	} {
		for _, commit := range []bool{false, true} {
			owner := fmt.Sprintf("m%d-%t@contoso.example", i, commit)
			s.ClearFaults()
			if err := s.Fault(trouble.Rule{Kind: kind, Op: msid.OpCode, Commit: commit, Size: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			_, err := s.client.Redeem(t.Context(), "main", s.consentOf(owner))
			if class := fault.Of(err).Class; err == nil || class == fault.Permanent || class == fault.NeedsConsent {
				t.Errorf("%s: %v", kind, err)
			}
			for _, code := range s.Codes(owner) {
				if len(code.Sends) > 1 {
					t.Errorf("%s: the code arrived %d times", kind, len(code.Sends))
				}
			}
		}
	}
	if followed := s.Summary().Calls["trap"]; len(followed) > 0 {
		t.Errorf("a redirect was followed: %v", followed)
	}
}

func TestTheSimulatorsOddAnswersAreRead(t *testing.T) {
	t.Parallel()
	s := simulate(t, "ES256", msid.Switches{})
	for _, c := range []struct {
		rule trouble.Rule
		code string // of the fault; empty: redeemed and proven
	}{
		{msid.ExpiresIn(`"3599"`), ""},
		{msid.ExpiresIn("3599.7"), ""},
		{msid.ExpiresIn("1099511627776"), ""},
		{msid.ExpiresIn("null"), ""},
		{msid.MissingRefreshToken(), "incomplete_grant_no_refresh_token"},
		{msid.GrantedScope("openid User.Read"), "incomplete_grant_missing_scope"},
		{msid.Claim("nonce", "other"), handlers.CodeMismatch},
		{msid.Claim("oid", tenantID), handlers.CodeMismatch},
		{msid.Claim("aud", "other"), "identity_unproven"},
		{msid.Claim("iss", "https://evil.example"), "identity_unproven"},
		{msid.Claim("tid", "x"), "identity_unproven"},
		{trouble.Rule{Kind: msid.KindSignature, Value: msid.FlawBroken}, "identity_unproven"},
		{trouble.Rule{Kind: msid.KindSignature, Value: msid.FlawNone}, "identity_unproven"},
		{trouble.Rule{Kind: msid.KindSignature, Value: msid.FlawHS256}, "identity_unproven"},
		{trouble.Rule{Kind: msid.KindSignature, Value: msid.FlawUnknownKey}, "identity_unproven"},
	} {
		s.ClearFaults()
		if err := s.Fault(c.rule); err != nil {
			t.Fatal(err)
		}
		tokens, err := s.client.Redeem(t.Context(), "main", s.consentOf(address))
		if err == nil {
			_, err = s.client.Prove(t.Context(), "main", tokens, address)
		}
		if c.code == "" && err != nil || c.code != "" && fault.Of(err).Code != c.code {
			t.Errorf("%s %s%s: %v", c.rule.Kind, c.rule.Value, c.rule.Set, err)
		}
	}
}

func TestAgainstTheSimulatorARotationOfKeysIsFollowed(t *testing.T) {
	t.Parallel()
	s := simulate(t, "ES256", msid.Switches{})
	for range 2 {
		tokens, err := s.client.Redeem(t.Context(), "main", s.consentOf(address))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.Prove(t.Context(), "main", tokens, address); err != nil {
			t.Fatal(err)
		}
		s.RotateKeys(true)
	}
}
