package mailbox

import (
	"encoding/json"
	"fmt"

	"kindling/internal/secret"
)

// Consent is what the edge hands to token-worker under seal: the code and all that its redeem needs, frozen when
// the attempt was started (a code must be redeemed at the tenant path and redirect URI it was issued for).
type Consent struct {
	Code        secret.Text
	Verifier    secret.Text // PKCE code_verifier (RFC 7636)
	Nonce       secret.Text // compared with the id_token's nonce
	Tenant      string
	RedirectURI string
}

// sealedConsent is the form in which a Consent is sealed. Fields are added, never renamed.
type sealedConsent struct {
	Code        string `json:"code"`
	Verifier    string `json:"verifier"`
	Nonce       string `json:"nonce"`
	Tenant      string `json:"tenant"`
	RedirectURI string `json:"redirect_uri"`
}

// Marshal returns the readable form of c. The caller must seal it at once.
func (c Consent) Marshal() ([]byte, error) {
	data, err := json.Marshal(sealedConsent{
		Code: c.Code.Reveal(), Verifier: c.Verifier.Reveal(), Nonce: c.Nonce.Reveal(), Tenant: c.Tenant, RedirectURI: c.RedirectURI,
	})
	if err != nil {
		return nil, fmt.Errorf("marshal consent: %w", err)
	}
	return data, nil
}

// ParseConsent reads what Marshal wrote.
func ParseConsent(data []byte) (Consent, error) {
	var s sealedConsent
	if err := json.Unmarshal(data, &s); err != nil {
		return Consent{}, fmt.Errorf("parse consent: the sealed text is not a consent")
	}
	return Consent{
		Code: secret.New(s.Code), Verifier: secret.New(s.Verifier), Nonce: secret.New(s.Nonce), Tenant: s.Tenant, RedirectURI: s.RedirectURI,
	}, nil
}

// CodeSeed is what the id of a code's event derives from: the same code of the same attempt always gives the same event.
func CodeSeed(id ID, attempt, codeHash string) string { return id + "|" + attempt + "|" + codeHash }

// SealedCodeContext is the associated data of a sealed Consent: it must not open for another mailbox or attempt.
func SealedCodeContext(id ID, attempt string) string { return "v1|code|" + id + "|" + attempt }
