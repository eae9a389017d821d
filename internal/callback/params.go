package callback

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxParams is far above what Microsoft sends (code, state, session_state, iss, client_info).
const maxParams = 32

// maxCode bounds an authorization code. Those seen are up to some 2 KB.
const maxCode = 4096

// statePattern is 32 random bytes in base64url, as start makes them.
var statePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// params are the parameters of an answer that mean anything to us.
type params struct {
	state, code, failure, description, issuer string
	adminConsent                              string
	hasCode, hasFailure, hasIssuer            bool
}

// parseParams reads a query or a form strictly. url.ParseQuery will not do: it drops what it cannot read, so that a
// proxy before us and we could see different parameters; and it lets a parameter come twice.
func parseParams(raw string) (params, bool) {
	if raw == "" || strings.Count(raw, "&") >= maxParams || strings.Contains(raw, ";") {
		return params{}, false
	}
	seen := make(map[string]string)
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, ok := parsePair(pair)
		if _, twice := seen[name]; twice || !ok {
			return params{}, false
		}
		seen[name] = value
	}
	p := params{state: seen["state"], description: seen["error_description"], adminConsent: seen["admin_consent"]}
	p.code, p.hasCode = seen["code"]
	p.failure, p.hasFailure = seen["error"]
	p.issuer, p.hasIssuer = seen["iss"]
	return p, true
}

func parsePair(pair string) (name, value string, ok bool) {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, nameErr := url.QueryUnescape(rawName)
	value, valueErr := url.QueryUnescape(rawValue)
	ok = nameErr == nil && valueErr == nil && name != "" && utf8.ValidString(name) && utf8.ValidString(value)
	return name, value, ok
}

// shapedCode reports whether the code could be one: printable ASCII without blanks (RFC 6749, appendix A.11, less the blank,
// which no server sends and every mail client breaks at).
func shapedCode(code string) bool {
	if code == "" || len(code) > maxCode {
		return false
	}
	return strings.IndexFunc(code, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// issuerFits reports whether iss (RFC 9207) can be that of the app's authority: <origin>/<tenant>/v2.0 at Microsoft.
func (a App) issuerFits(iss string) bool {
	if a.Issuer != "" {
		return iss == a.Issuer
	}
	rest, ok := strings.CutPrefix(iss, a.LoginOrigin+"/")
	tenant, version, _ := strings.Cut(rest, "/")
	return ok && tenant != "" && (version == "v2.0" || version == "v2.0/")
}

// maxDescription is how much of an error description is read, for the AADSTS number near its beginning.
const maxDescription = 512

// readable cuts s and takes out everything but printable ASCII, so that nothing in it can steer a terminal.
func readable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= limit {
			break
		}
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
		}
	}
	return b.String()
}
