package msid

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// PersonalTenant is the tid of all personal Microsoft accounts.
const PersonalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// User overrides what is otherwise derived from an address.
type User struct {
	// Address is how the owner signs in, and the key.
	Address string
	// PrincipalName is the userPrincipalName, if it is not the address.
	PrincipalName string
	// Mail is the primary SMTP address, if it is not the address.
	Mail string
	// NoMail makes Graph answer "mail": null.
	NoMail bool
	// Aliases are further addresses in proxyAddresses.
	Aliases []string
	// Personal makes it a personal account.
	Personal bool
	// TenantID and ObjectID replace the derived GUIDs.
	TenantID, ObjectID string
	// Name is the display name.
	Name string
	// SignInError stops the sign-in on Microsoft's own page with this AADSTS
	// number, for example 50057 (disabled).
	SignInError int
	// ConsentError sends the owner back with this AADSTS number.
	ConsentError int
	// Withheld scopes are not granted even when the owner accepts.
	Withheld []string
}

// directory knows every address there is.
type directory struct{ special map[string]User }

func newDirectory(users []User) *directory {
	d := &directory{special: map[string]User{}}
	for _, u := range users {
		d.special[strings.ToLower(u.Address)] = u
	}
	return d
}

// find returns the account of an address, all fields filled in.
func (d *directory) find(address string) (User, bool) {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(address, " \r\n\t<>") {
		return User{}, false
	}
	u := d.special[strings.ToLower(address)]
	if u.Address == "" {
		u.Address = address
	}
	u.PrincipalName = or(u.PrincipalName, u.Address)
	u.Mail = or(u.Mail, u.Address)
	u.Name = or(u.Name, displayName(local))
	if u.Personal {
		u.NoMail, u.TenantID = true, or(u.TenantID, PersonalTenant)
	}
	u.TenantID = or(u.TenantID, TenantOf(domain))
	u.ObjectID = or(u.ObjectID, ObjectOf(u.Address))
	return u, true
}

// TenantOf returns the GUID of the tenant that a domain belongs to.
func TenantOf(domain string) string { return guid("tenant:" + strings.ToLower(domain)) }

// ObjectOf returns the GUID (oid) of the account with this address.
func ObjectOf(address string) string { return guid("user:" + strings.ToLower(address)) }

// guid derives a version-4-shaped GUID from a text.
func guid(of string) string {
	sum := sha256.Sum256([]byte(of))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func displayName(local string) string {
	words := strings.FieldsFunc(local, func(r rune) bool { return r == '.' || r == '_' || r == '-' || r == '+' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// authority is a tenant path segment, understood.
type authority struct {
	path string
	// tid is the one tenant it stands for; empty for common, organizations
	// and consumers.
	tid string
}

// authority is parseAuthority for a tenant that exists.
func (s *Server) authority(path string) (authority, bool) {
	a, ok := parseAuthority(path)
	absent := slices.ContainsFunc(s.cfg.AbsentTenants, func(t string) bool { return strings.EqualFold(t, path) })
	if !ok || absent {
		return authority{}, false
	}
	return a, true
}

// parseAuthority understands a tenant path segment as Microsoft does.
func parseAuthority(path string) (authority, bool) {
	switch {
	case path == "common", path == "organizations", path == "consumers":
		return authority{path: path}, true
	case isGUID(path):
		return authority{path: path, tid: strings.ToLower(path)}, true
	case regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`).MatchString(path):
		return authority{path: path, tid: TenantOf(path)}, true
	}
	return authority{}, false
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'f'
		if dash != (r == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

// admit returns the account as this authority sees it, or the AADSTS number of
// the refusal.
func (a authority) admit(u User, strict bool) (User, int) {
	switch {
	case a.path == "organizations" && u.Personal, a.tid != "" && u.Personal:
		return u, 500208
	case a.path == "consumers" && !u.Personal:
		return u, 50020
	case a.tid != "" && a.tid != u.TenantID && strict:
		return u, 50020
	case a.tid != "":
		u.TenantID = a.tid
	}
	return u, u.SignInError
}
