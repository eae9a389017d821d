package secret

import (
	"bytes"
	"regexp"
)

// Kind names a kind of secret that stood where none may stand. The set is closed: fit for logs and metrics.
type Kind string

// The kinds that Find knows.
//
//nolint:gosec // names, no credentials
const (
	Signed     Kind = "signed_token"       // a JWT or JWE, such as an id_token or an access token
	Microsoft  Kind = "microsoft_token"    // a code or a refresh token in Microsoft's own form
	Credential Kind = "credential_field"   // a field or parameter that names a token, a password or a client secret
	Code       Kind = "authorization_code" // a field or parameter "code" that holds no word of ours
	Bearer     Kind = "bearer_credential"  // an Authorization header's value
)

// None of these matches base64, of which what we sealed is made: each wants a dot, a quote, an equals sign or a blank.
var (
	signed    = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.`)
	business  = regexp.MustCompile(`\b[01]\.A[A-Za-z0-9_-]{16,}`)
	consumer  = regexp.MustCompile(`\bM\.[CR][0-9]{1,5}_[A-Z0-9]{2,12}\.`)
	named     = regexp.MustCompile(`\b(access_token|refresh_token|id_token|client_secret|code_verifier|verifier|password)(\\?"\s*:\s*\\?"[^"\\]|=[^\s&"]{8})`)
	namedCode = regexp.MustCompile(`\bcode(\\?"\s*:\s*\\?"|=)([^"\\\s&]{8,})`)
	bearer    = regexp.MustCompile(`\b[Bb]earer [A-Za-z0-9._~+/=-]{16,}`)
)

// pattern is a kind of secret: marks are cheap to look for, and the expression is asked only where one of them stands.
type pattern struct {
	kind  Kind
	shape *regexp.Regexp
	marks [4]string
}

func patterns() [6]pattern {
	return [...]pattern{
		{Signed, signed, [4]string{"eyJ"}},
		{Microsoft, business, [4]string{"0.A", "1.A"}},
		{Microsoft, consumer, [4]string{"M.C", "M.R"}},
		{Credential, named, [4]string{"token", "secret", "verifier", "password"}},
		{Code, namedCode, [4]string{`code"`, `code\"`, "code="}},
		{Bearer, bearer, [4]string{"earer "}},
	}
}

// ownCode is a code of ours, such as warmy_422, or the number of an error of Microsoft's. No authorization code is made
// of small letters and digits alone.
var ownCode = regexp.MustCompile(`^([a-z0-9_]*|AADSTS[0-9]+)$`)

// Find tells what kind of readable secret data seems to carry; "" for none. It is a net under producers that forgot to
// seal, not a proof that nothing readable is there: an opaque token without a name looks like any other text.
func Find(data []byte) Kind {
	for _, p := range patterns() {
		if p.in(data) {
			return p.kind
		}
	}
	return ""
}

func (p pattern) in(data []byte) bool {
	if !p.marked(data) {
		return false
	}
	if p.kind != Code {
		return p.shape.Match(data)
	}
	for _, found := range p.shape.FindAllSubmatch(data, -1) {
		if !ownCode.Match(found[2]) {
			return true
		}
	}
	return false
}

func (p pattern) marked(data []byte) bool {
	for _, mark := range p.marks {
		if mark != "" && bytes.Contains(data, []byte(mark)) {
			return true
		}
	}
	return false
}
