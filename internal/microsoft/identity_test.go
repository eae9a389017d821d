package microsoft_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

func goodClaims(login string) map[string]any {
	return map[string]any{
		"iss": login + "/" + tenantID + "/v2.0", "aud": clientID, "tid": tenantID, "oid": objectID, "sub": "s", "nonce": nonce,
		"iat": clock().Add(-time.Minute).Unix(), "nbf": clock().Add(-time.Minute).Unix(), "exp": clock().Add(time.Hour).Unix(),
		"email": address, "preferred_username": address,
	}
}

// idToken signs good claims, changed by change, as the tests' Microsoft does.
func idToken(t *testing.T, login string, change map[string]any) secret.Text {
	t.Helper()
	claims := goodClaims(login)
	for key, value := range change {
		if value == nil {
			delete(claims, key)
			continue
		}
		claims[key] = value
	}
	return sign(t, jose.RS256, jose.JSONWebKey{Key: signer(), KeyID: "k1"}, claims)
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) secret.Text {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(compact)
}

func tokensWith(idToken secret.Text) mailbox.Tokens {
	return mailbox.Tokens{
		Access: secret.New("access-" + canary), Refresh: secret.New("refresh-" + canary), IDToken: idToken, Nonce: secret.New(nonce),
		Expiry: clock().Add(time.Hour), SavedAt: clock(),
	}
}

func TestTheInvitedOwnerIsProven(t *testing.T) {
	t.Parallel()
	want := events.Proof{TenantID: tenantID, ObjectID: objectID}
	for name, profile := range map[string]map[string]any{
		"by mail in other letters": goodProfile(),
		"by userPrincipalName":     with(goodProfile(), "mail", "other@contoso.example", "userPrincipalName", "JANE@contoso.example"),
		"without mail":             with(goodProfile(), "mail", nil, "userPrincipalName", address),
		"id in other letters":      with(goodProfile(), "id", strings.ToUpper(objectID)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			var asked string
			server.onGraph(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.RawQuery + " " + r.Header.Get("Authorization")
				answerJSON(http.StatusOK, profile)(w, r)
			})
			proof, err := server.client(t).Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address)
			if err != nil || proof != want {
				t.Errorf("Prove() = %+v, %v", proof, err)
			}
			if asked != "$select=id,mail,userPrincipalName,proxyAddresses Bearer access-"+canary {
				t.Errorf("Graph was asked %q", asked)
			}
		})
	}
}

func TestTheKeysAreFetchedOnceForMany(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for range 5 {
		if _, err := client.Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, nil)), address); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.fetch.Load(); got != 1 {
		t.Errorf("keys fetched %d times", got)
	}
}

func TestSomeoneElsesMailboxIsAMismatchThatShowsNoAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims  map[string]any
		profile map[string]any
		says    string
	}{
		"another account":  {nil, with(goodProfile(), "mail", "boss@contoso.example"), "j•••@contoso.example was invited, but b•••@contoso.example consented"},
		"only the claim":   {nil, map[string]any{"id": objectID}, "but ••• consented"},
		"another object":   {nil, with(goodProfile(), "id", tenantID), "two different accounts"},
		"another nonce":    {map[string]any{"nonce": "other"}, goodProfile(), "nonce"},
		"no nonce":         {map[string]any{"nonce": nil}, goodProfile(), "nonce"},
		"a longer address": {nil, with(goodProfile(), "mail", "x"+address), "x•••@contoso.example"},
		"look-alike letters": {
			nil, with(goodProfile(), "mail", "jane@contoso.example\u212a"), "but ••• consented",
		},
		"an address with markup": {nil, with(goodProfile(), "mail", "<b>@<script>"), "but ••• consented"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			server.onGraph(answerJSON(http.StatusOK, c.profile))
			_, err := server.client(t).Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, c.claims)), address)
			f := wants(t, err, fault.Permanent, handlers.CodeMismatch, "")
			if !strings.Contains(f.Cause, c.says) || strings.Contains(f.Cause, "boss@") {
				t.Errorf("cause = %q", f.Cause)
			}
		})
	}
}

func TestAnIDTokenThatProvesNothingIsRefused(t *testing.T) {
	t.Parallel()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	server := newFake(t)
	claims := goodClaims(server.URL)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	for name, token := range map[string]secret.Text{
		"another audience": idToken(t, server.URL, map[string]any{"aud": "other"}),
		"another issuer":   idToken(t, server.URL, map[string]any{"iss": "https://evil.example/" + tenantID + "/v2.0"}),
		"another's issuer": idToken(t, server.URL, map[string]any{"iss": server.URL + "/" + objectID + "/v2.0"}),
		"expired":          idToken(t, server.URL, map[string]any{"exp": clock().Add(-time.Minute).Unix()}),
		"not yet valid":    idToken(t, server.URL, map[string]any{"nbf": clock().Add(time.Hour).Unix()}),
		"no tid":           idToken(t, server.URL, map[string]any{"tid": nil}),
		"tid is no GUID":   idToken(t, server.URL, map[string]any{"tid": "..", "iss": server.URL + "/../v2.0"}),
		"no oid":           idToken(t, server.URL, map[string]any{"oid": nil}),
		"oid is no GUID":   idToken(t, server.URL, map[string]any{"oid": "jane"}),
		"tid in a list":    idToken(t, server.URL, map[string]any{"tid": []string{tenantID}}),
		"aud without ours": idToken(t, server.URL, map[string]any{"aud": []string{"a", "b"}}),
		"no exp":           idToken(t, server.URL, map[string]any{"exp": nil}),
		"only e-mail":      idToken(t, server.URL, map[string]any{"tid": nil, "oid": nil, "sub": nil}),
		"oid is no text":   idToken(t, server.URL, map[string]any{"oid": 5}),
		"wrong signature":  sign(t, jose.RS256, jose.JSONWebKey{Key: stranger, KeyID: "k1"}, claims),
		"unknown key":      sign(t, jose.RS256, jose.JSONWebKey{Key: stranger, KeyID: "k9"}, claims),
		"HS256":            sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), claims),
		"none":             secret.New(none),
		"not a token":      secret.New(canary),
	} {
		t.Log(name)
		_, err := server.client(t).Prove(t.Context(), "main", tokensWith(token), address)
		wants(t, err, fault.Permanent, "identity_unproven", "")
	}
}

// rerouted sends requests for the clouds' own hosts to the tests' Microsoft.
type rerouted struct {
	base http.RoundTripper
	to   string
}

func (r rerouted) RoundTrip(req *http.Request) (*http.Response, error) {
	there, err := url.Parse(r.to)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = there.Scheme, there.Host
	return r.base.RoundTrip(req)
}

// Each cloud signs with an issuer of its own, built from the tenant that the token names; a personal account's tenant is
// always the same.
func TestTheIssuerIsThatOfTheCloudAndTheTenant(t *testing.T) {
	t.Parallel()
	const personal = "9188040d-6c67-4c5b-b112-36a304b66dad"
	server := newFake(t)
	issuers := map[string]string{
		"public": "https://login.microsoftonline.com", "usgov": "https://login.microsoftonline.us",
		"usgov-dod": "https://login.microsoftonline.us", "china": "https://login.partner.microsoftonline.cn",
	}
	for cloud, own := range issuers {
		app := server.app()
		app.Cloud, app.Tenant = cloud, "common" // the address at which personal accounts can consent, too
		app.LoginURL, app.GraphURL, _ = microsoft.Cloud(cloud)
		transport := microsoft.Transport()
		t.Cleanup(transport.CloseIdleConnections)
		client := microsoft.New(microsoft.Config{
			Apps: []microsoft.App{app}, Transport: rerouted{transport, server.URL}, Now: clock, Timeout: patience,
		})
		for _, issuer := range issuers {
			for _, tenant := range []string{tenantID, personal} {
				token := idToken(t, issuer, map[string]any{"tid": tenant, "iss": issuer + "/" + tenant + "/v2.0"})
				proof, err := client.Prove(t.Context(), "main", tokensWith(token), address)
				if issuer == own {
					if err != nil || proof.TenantID != tenant {
						t.Errorf("%s: %+v, %v", cloud, proof, err)
					}
					continue
				}
				wants(t, err, fault.Permanent, "identity_unproven", "")
			}
		}
		for what, iss := range map[string]string{
			"version 1": "https://sts.windows.net/" + tenantID + "/", "no version": own + "/" + tenantID, "the alias": own + "/organizations/v2.0",
			"the template": own + "/{tenantid}/v2.0", "a longer one": own + "/" + tenantID + "/v2.0/", "another's": own + "/" + personal + "/v2.0",
		} {
			_, err := client.Prove(t.Context(), "main", tokensWith(idToken(t, own, map[string]any{"iss": iss})), address)
			if fault.Of(err).Code != "identity_unproven" {
				t.Errorf("%s, %s: %v", cloud, what, err)
			}
		}
	}
}

func TestAMissingIDTokenIsRefusedOnlyIfItWasAskedFor(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	_, err := server.client(t).Prove(t.Context(), "main", tokensWith(secret.Text{}), address)
	wants(t, err, fault.Permanent, "incomplete_grant_no_id_token", "")

	guide := server.client(t, func(a *microsoft.App) {
		a.Scopes, a.Tenant = []string{"https://graph.microsoft.com/.default"}, tenantID
	})
	proof, err := guide.Prove(t.Context(), "main", tokensWith(secret.Text{}), address)
	if want := (events.Proof{TenantID: tenantID, ObjectID: objectID}); err != nil || proof != want {
		t.Errorf("Prove() = %+v, %v", proof, err)
	}
}

func TestAPersonalAccountsShortIDIsItsObjectID(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	oid := "00000000-0000-0000-48d3-1887fe7c1d3a"
	server.onGraph(answerJSON(http.StatusOK, map[string]any{"id": "48D31887FE7C1D3A", "mail": nil, "userPrincipalName": address}))
	proof, err := server.client(t).Prove(t.Context(), "main", tokensWith(idToken(t, server.URL, map[string]any{"oid": oid})), address)
	if err != nil || proof.ObjectID != oid {
		t.Errorf("Prove() = %+v, %v", proof, err)
	}
}

func TestGraphsTroubleKeepsTheTokensForLater(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
		breaks bool
	}{
		"500":     {answerText(500, ""), fault.Transient, "graph_5xx", true},
		"503":     {answerText(503, "", "Retry-After", "9"), fault.Transient, "graph_5xx", true},
		"429":     {answerText(429, "", "Retry-After", "9"), fault.RetryAfter, "graph_429", false},
		"hang":    {hang, fault.Transient, "graph_timeout", true},
		"EOF":     {cut(""), fault.Transient, "graph_connection_lost", true},
		"HTML":    {answerText(200, "<html>"), fault.Transient, "graph_unreadable", false},
		"no id":   {answerText(200, `{"mail":"jane@contoso.example"}`), fault.Transient, "graph_unreadable", false},
		"418":     {answerText(418, ""), fault.Transient, "graph_unknown_error", false},
		"302":     {answerText(302, "", "Location", "/v1.0/me"), fault.LegDown, "graph_redirect", false},
		"401":     {answerText(401, canary), fault.Permanent, "graph_401", false},
		"403":     {answerText(403, canary), fault.Permanent, "graph_403", false},
		"404":     {answerText(404, canary), fault.Permanent, "graph_404", false},
		"endless": {endless, fault.Transient, "graph_unreadable", false},
		"endless error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			endless(w, r)
		}, fault.Transient, "graph_5xx", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			tokens := tokensWith(idToken(t, server.URL, nil))
			client := server.client(t)
			if name == "hang" {
				client = impatient(t, server)
			}
			primed(t, client, tokens)
			server.onGraph(c.answer)
			ctx, seen := leg.Watch(t.Context())
			_, err := client.Prove(ctx, "main", tokens, address)
			wants(t, err, c.class, c.code, "")
			if fault.Of(err).Outage != c.breaks {
				t.Errorf("Outage = %t", !c.breaks)
			}
			if seen.Failed() || seen.Answered() {
				t.Error("Graph's answers must not hold the leg of the codes")
			}
		})
	}
}

// primed returns when the client has the keys, whose fetch has a deadline, too.
func primed(t *testing.T, client *microsoft.Client, tokens mailbox.Tokens) {
	t.Helper()
	for t.Context().Err() == nil {
		if _, err := client.Prove(t.Context(), "main", tokens, address); err == nil {
			return
		}
	}
}

func TestMissingKeysAreTransientAndHealed(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"500": answerText(500, ""), "HTML": answerText(200, "<html>"), "endless": endless, "EOF": cut(""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFake(t)
			client := server.client(t)
			good := *server.keys.Load()
			server.onKeys(answer)
			tokens := tokensWith(idToken(t, server.URL, nil))
			_, err := client.Prove(t.Context(), "main", tokens, address)
			wants(t, err, fault.Transient, "microsoft_keys_missing", "")
			server.onKeys(good)
			for t.Context().Err() == nil { // a caller that comes at once may still share the failed fetch
				if _, err = client.Prove(t.Context(), "main", tokens, address); err == nil {
					return
				}
			}
			t.Error(err)
		})
	}
}

func TestAProofDelayedByAnOutageStillSucceeds(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	tokens := tokensWith(idToken(t, server.URL, map[string]any{
		"nbf": clock().Add(-3 * time.Hour).Unix(), "exp": clock().Add(-2 * time.Hour).Unix(),
	}))
	tokens.SavedAt, tokens.Expiry = clock().Add(-3*time.Hour), clock().Add(-2*time.Hour)
	var bearer string
	server.onToken(answerJSON(http.StatusOK, with(goodGrant(), "access_token", "renewed")))
	server.onGraph(func(w http.ResponseWriter, r *http.Request) {
		bearer = r.Header.Get("Authorization")
		answerJSON(http.StatusOK, goodProfile())(w, r)
	})
	if _, err := server.client(t).Prove(t.Context(), "main", tokens, address); err != nil {
		t.Fatal(err)
	}
	if bearer != "Bearer renewed" {
		t.Errorf("Graph was asked with %q", bearer)
	}
}
