package mailbox_test

import (
	"strings"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

func TestAConsentSurvivesItsRoundTrip(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]mailbox.Consent{
		"empty": {},
		"full": {
			Code: secret.New("0.AXkA~code"), Verifier: secret.New(strings.Repeat("v", 43)), Nonce: secret.New("nonce"),
			Tenant: "organizations", RedirectURI: "https://connect.example.com/oauth-callback/main",
		},
		"hostile": {Code: secret.New("\"},{\x00\u202e"), RedirectURI: "</script>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := want.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := mailbox.ParseConsent(data)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Code.Equal(want.Code) || !got.Verifier.Equal(want.Verifier) || !got.Nonce.Equal(want.Nonce) {
				t.Error("a secret was lost or changed")
			}
			if got.Tenant != want.Tenant || got.RedirectURI != want.RedirectURI {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestWhatIsNoConsentIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"", "null,", "[]", `{"code":7}`, `{"code":"canary-7f3a"`, "canary-7f3a"} {
		if _, err := mailbox.ParseConsent([]byte(input)); err == nil {
			t.Errorf("%q was read", input)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error quotes its input: %v", err)
		}
	}
}

func TestASealedCodeOpensForItsOwnMailboxAndAttemptOnly(t *testing.T) {
	t.Parallel()
	if got := mailbox.SealedCodeContext("mb", "att"); got != "v1|code|mb|att" {
		t.Errorf("context %q: what is sealed already would not open any more", got)
	}
}

func TestTheHashIsSHA256InBase64URL(t *testing.T) {
	t.Parallel()
	if got := mailbox.Hash("abc"); got != "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0" {
		t.Errorf("Hash() = %q", got)
	}
	if mailbox.Hash("") == mailbox.Hash(" ") {
		t.Error("two texts have one hash")
	}
}

func TestALinkIsForgivenAMinute(t *testing.T) {
	t.Parallel()
	inv := mailbox.Invitation{LinkExpiresAt: at}
	if inv.LinkExpired(at.Add(time.Minute)) || !inv.LinkExpired(at.Add(time.Minute+1)) {
		t.Error("the leeway is not a minute")
	}
}

func TestAFindingKeepsWhatAnOperatorNeeds(t *testing.T) {
	t.Parallel()
	f := &fault.Fault{
		Class: fault.Permanent, Code: "c", Cause: "why", Remedy: "what", Forecast: fault.ByConfig, Reason: "r", After: time.Minute,
	}
	want := mailbox.Finding{Class: fault.Permanent, Code: "c", Cause: "why", Remedy: "what", Forecast: fault.ByConfig, At: at}
	if got := *mailbox.Found(f, at.In(time.FixedZone("east", 3600))); got != want {
		t.Errorf("Found() = %+v, want %+v", got, want)
	}
}

func FuzzParseConsent(f *testing.F) {
	for _, text := range []string{"", "null", "{}", `{"code":"c","verifier":"v","nonce":"n","tenant":"t","redirect_uri":"u"}`, `{"code":7}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := mailbox.ParseConsent(data)
		if err != nil {
			return
		}
		again, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := mailbox.ParseConsent(again)
		if err != nil || !back.Code.Equal(c.Code) || !back.Verifier.Equal(c.Verifier) || !back.Nonce.Equal(c.Nonce) || back.Tenant != c.Tenant || back.RedirectURI != c.RedirectURI {
			t.Fatalf("a round trip changes the consent, %v", err)
		}
	})
}
