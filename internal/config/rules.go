package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parse turns a raw value, a text or a list of texts, into the Go value of its kind.
func (f field) parse(raw any) (any, *note) {
	if values, isList := raw.([]string); isList {
		return values, f.judgeList(values)
	}
	value, _ := raw.(string)
	switch f.kind {
	case list:
		values := split(value)
		return values, f.judgeList(values)
	case integer:
		return f.parseInteger(value)
	case decimal:
		return f.parseDecimal(value)
	case duration:
		return f.parseDuration(value)
	case toggle:
		if value != "true" && value != "false" {
			return nil, &note{"is neither true nor false", "write true or false"}
		}
		return value == "true", nil
	case text, hidden:
		return value, f.judge(value)
	}
	return value, nil
}

func (f field) judge(value string) *note {
	switch {
	case value == "" && f.required:
		return &note{"is empty", "leave the key out or give a value"}
	case value == "" || f.rule == nil:
		return nil
	}
	return f.rule(value)
}

func (f field) judgeList(values []string) *note {
	if len(values) == 0 && f.required {
		return &note{"is empty", "leave the key out or give a value"}
	}
	for _, v := range values {
		if bad := f.judge(v); bad != nil {
			return bad
		}
	}
	return nil
}

func (f field) parseInteger(value string) (any, *note) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return nil, &note{"is not a whole number", fmt.Sprintf("write a number from %d to %d", f.low, f.high)}
	}
	if n < f.low || n > f.high {
		return nil, &note{fmt.Sprintf("is not between %d and %d", f.low, f.high), ""}
	}
	return n, nil
}

func (f field) parseDecimal(value string) (any, *note) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(n) {
		return nil, &note{"is not a number", fmt.Sprintf("write a number from %d to %d", f.low, f.high)}
	}
	if n < float64(f.low) || n > float64(f.high) {
		return nil, &note{fmt.Sprintf("is not between %d and %d", f.low, f.high), ""}
	}
	return n, nil
}

func (f field) parseDuration(value string) (any, *note) {
	d, err := time.ParseDuration(value)
	if _, bare := strconv.ParseFloat(value, 64); bare == nil {
		return nil, &note{"has no unit", "write 10s, 10m or 10h"}
	}
	if err != nil {
		return nil, &note{"is not a duration", "write a number and a unit, as in 90s, 10m or 168h"}
	}
	if d < f.least || d > f.most {
		return nil, &note{fmt.Sprintf("is not between %s and %s", short(f.least), short(f.most)), ""}
	}
	return d, nil
}

// short prints a duration without the units that are zero: 720h, not 720h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// split reads a list from one text.
func split(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

func oneOf(values ...string) func(string) *note {
	return func(value string) *note {
		if slices.Contains(values, value) {
			return nil
		}
		return &note{"is not one of " + strings.Join(values, ", "), suggest(value, "", values, "")}
	}
}

func word(value string) *note {
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &note{"has blanks or signs beyond ASCII", "copy it without what surrounds it"}
	}
	return nil
}

func address(value string) *note {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		return &note{"is not host:port", "write as in :8080 or 127.0.0.1:8090"}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > math.MaxUint16 {
		return &note{"has no port between 0 and 65535", "write as in :8080; port 0 takes any free one"}
	}
	return nil
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	guidForm   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)
)

// itemName keeps names fit for subjects, metrics and variables.
func itemName(value string) *note {
	if !nameForm.MatchString(value) {
		return &note{"is not a valid name", "use at most 32 lower-case letters, digits and hyphens between them"}
	}
	return nil
}

func date(value string) *note {
	if _, err := time.Parse(time.DateOnly, value); err != nil {
		return &note{"is not a date", "write as in 2027-03-31, the day on which the secret expires"}
	}
	return nil
}

func guid(value string) *note {
	if !guidForm.MatchString(value) {
		return &note{"is not a GUID", "copy \"Application (client) ID\" from the app's overview in Azure"}
	}
	return nil
}

func tenant(value string) *note {
	words := []string{"organizations", "common", "consumers"}
	if slices.Contains(words, value) || guidForm.MatchString(value) || domainForm.MatchString(strings.ToLower(value)) {
		return nil
	}
	return &note{"is not organizations, common, consumers, a GUID or a domain", suggest(value, "", words, "copy \"Directory (tenant) ID\" from Azure")}
}

func scope(value string) *note {
	if strings.Contains(value, "*") {
		return &note{"has a scope with a wildcard", "name each scope"}
	}
	return word(value)
}

// natsURL accepts one or more server addresses.
func natsURL(value string) *note {
	for one := range strings.SplitSeq(value, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			return &note{"is not the address of a NATS server", "write as in nats://127.0.0.1:4222 or tls://nats.example.com:4222"}
		case u.User != nil:
			return &note{"holds credentials", "put them into a file and name it in nats.creds_file"}
		case !validPort(u):
			return &note{"has no port between 1 and 65535", ""}
		}
	}
	return nil
}

// monitoringURL accepts the monitoring addresses of one or more servers.
func monitoringURL(value string) *note {
	for one := range strings.SplitSeq(value, ",") {
		if bad := baseURL(strings.TrimSpace(one)); bad != nil {
			bad.remedy = "write as in http://127.0.0.1:8222, several separated by commas"
			return bad
		}
	}
	return nil
}

// baseURL accepts scheme and host; which hosts are allowed is decided with the rest of the item.
func baseURL(value string) *note {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return &note{"is not a URL", "write as in https://connect.example.com"}
	case u.User != nil:
		return &note{"holds a user or a password", "leave out what stands before the @"}
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(value, "#"):
		return &note{"has a query or a fragment", "end it after the host"}
	case u.Path != "" && u.Path != "/":
		return &note{"has a path", "end it after the host"}
	case strings.ContainsAny(u.Host, "*_"):
		return &note{"has a wildcard or an underscore in its host", "name one host"}
	case !validPort(u):
		return &note{"has no port between 1 and 65535", ""}
	}
	return nil
}

// issuer accepts what OpenID Connect Discovery 1.0 § 3 does; plain http for this machine only.
func issuer(value string) *note {
	u, err := url.Parse(value)
	if err != nil {
		return &note{"is not a URL", "write as in https://login.example.com/realms/mail"}
	}
	path := u.Path
	u.Path, u.RawPath = "", ""
	switch bad := baseURL(u.String()); {
	case bad != nil:
		return bad
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		return &note{"is the address of the discovery document", "leave out /.well-known/openid-configuration"}
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return &note{"is not https", "write https://; plain http is for localhost only"}
	}
	return nil
}

// publicURL accepts what owners' browsers can reach and Azure accepts as a redirect URI.
func publicURL(value string) *note {
	if bad := baseURL(value); bad != nil {
		return bad
	}
	u, _ := url.Parse(value)
	if loopback(u.Hostname()) {
		return nil
	}
	_, ipErr := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme != "https":
		return &note{"is not https", "write https://; plain http is for localhost only"}
	case ipErr == nil:
		return &note{"has an IP address", "give it a name, for which there can be a certificate"}
	}
	return nil
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(u.Port())
	return err == nil && n >= 1 && n <= math.MaxUint16
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
