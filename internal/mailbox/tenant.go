package mailbox

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// maxDomain bounds the name of a tenant: the longest name of a domain.
const maxDomain = 253

// TenantOf tells which directory must allow that the owner of address consents to an app: the row's own tenant, else the
// app's, if they name one; else the domain of the address, which Microsoft takes for a tenant's name as well. It is empty
// for personal accounts, which no admin stands over.
//
// It is a name and not an identity: a directory may have several domains, and a row may name it by its id.
func TenantOf(row, app, address string) string {
	asked := strings.ToLower(row)
	if asked == "" {
		asked = strings.ToLower(app)
	}
	switch {
	case asked == "consumers":
		return ""
	case NamesTenant(asked):
		return asked
	}
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	if personalDomain(domain) || !NamesTenant(domain) {
		return ""
	}
	return domain
}

// NamesTenant reports whether a name stands for one directory: it is its id (a GUID) or a domain, in small letters. The
// names that stand for many (organizations, common, consumers) do not.
func NamesTenant(name string) bool {
	if isGUID(name) {
		return true
	}
	labels := strings.Split(name, ".")
	if len(name) > maxDomain || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, lettersAndDigits+"-") != "" {
			return false
		}
	}
	return true
}

const lettersAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"

func isGUID(name string) bool {
	parts := strings.Split(name, "-")
	if len(name) != 36 || len(parts) != 5 {
		return false
	}
	for i, size := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != size || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}

// personalDomain reports whether the addresses of a domain are Microsoft's personal accounts. The ones under outlook, hotmail
// and live end in com or in a country's letters; live.acme.com is a company's.
func personalDomain(domain string) bool {
	switch domain {
	case "msn.com", "passport.com", "windowslive.com":
		return true
	}
	first, ending, _ := strings.Cut(domain, ".")
	if first != "outlook" && first != "hotmail" && first != "live" {
		return false
	}
	second, country, two := strings.Cut(ending, ".")
	if two {
		return (second == "co" || second == "com") && len(country) == 2
	}
	return second == "com" || len(second) == 2
}

// TenantKey is under what the consent of a tenant's admin is stored. The tenant's name is hashed because it need not have
// the form of a key; it is no secret.
func TenantKey(app, tenant string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(tenant)))
	return app + "." + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}
