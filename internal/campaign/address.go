package campaign

import (
	"net/mail"
	"strings"
	"unicode"
)

// Address checks an e-mail address more strictly than RFC 5322 does, because it
// becomes an identity: what two systems could read differently is refused. It
// gives the address in lower case, or the given text with the problem.
func Address(given string) (string, *Problem) {
	given = strings.TrimSpace(given)
	for _, check := range []func(string) note{addressText, addressForm, addressParts, addressParsed} {
		if n := check(given); n.code != "" {
			p := n.at(0, "email")
			return given, &p
		}
	}
	return strings.ToLower(given), nil
}

// addressText judges the characters, whatever their place.
func addressText(s string) note {
	switch {
	case s == "":
		return note{"email_empty", "the address is empty", "fill it in, or remove the row"}
	case strings.ContainsAny(s, "\r\n"):
		return note{"line_break", "the value contains a line break", "remove it"}
	case strings.ContainsFunc(s, unicode.IsControl):
		return note{"control_character", "the value contains a control character", "type it anew"}
	case strings.ContainsFunc(s, invisible):
		return note{"invisible_character", "the value contains an invisible character", "type it anew"}
	}
	local, domain, _ := strings.Cut(s, "@")
	switch {
	case strings.ContainsFunc(domain, foreign):
		return note{"email_domain_not_ascii", "the domain has a letter outside ASCII, perhaps a look-alike", "type it anew, or write an international domain in its xn-- form"}
	case strings.ContainsFunc(local, foreign):
		return note{"email_not_ascii", "the address has a letter outside ASCII, perhaps a look-alike", "type it anew with plain letters"}
	}
	return note{}
}

// addressForm refuses the ways to write more than a bare address.
func addressForm(s string) note {
	bare := "write only name@domain"
	switch {
	case strings.HasPrefix(strings.ToLower(s), "mailto:"):
		return note{"email_mailto", "the address is a mailto link", bare}
	case strings.ContainsAny(s, "<>"):
		return note{"email_display_name", "the address has a name or brackets around it", bare + ", and the name under from_name"}
	case strings.ContainsAny(s, `"`):
		return note{"email_quoted", "the address has a quoted name", bare + " without quotes"}
	case strings.ContainsAny(s, "()"):
		return note{"email_comment", "the address has a comment", bare}
	case strings.ContainsAny(s, "[]"):
		return note{"email_literal", "the address has a network address for a domain", "use the domain's name"}
	case strings.Contains(s, "!"):
		return note{"email_bang_path", "the address is a bang path", bare}
	case strings.Contains(s, "%"):
		return note{"email_percent", "the address routes with a percent sign", bare}
	case strings.ContainsAny(s, " \u00a0"):
		return note{"email_space", "there is a space inside the address", "remove it"}
	case strings.ContainsAny(s, ",;"):
		return note{"email_several", "there is more than one address", "give each its own row"}
	}
	switch strings.Count(s, "@") {
	case 0:
		return note{"email_no_at", "the address has no @", "write it as name@domain"}
	case 1:
		return note{}
	}
	return note{"email_two_at", "the address has more than one @", "write it as name@domain"}
}

// addressParts judges the two sides of the @.
func addressParts(s string) note {
	local, domain, _ := strings.Cut(s, "@")
	whole := "check it for typing errors"
	switch {
	case local == "":
		return note{"email_no_local", "nothing stands before the @", "write it as name@domain"}
	case domain == "":
		return note{"email_no_domain", "nothing stands after the @", "write it as name@domain"}
	case len(local) > 64:
		return note{"email_local_too_long", "the part before the @ is longer than 64 characters", whole}
	case len(s) > 254:
		return note{"email_too_long", "the address is longer than 254 characters", whole}
	case strings.HasPrefix(local, "."), strings.HasSuffix(local, "."):
		return note{"email_outer_dot", "the part before the @ begins or ends with a dot", "remove the dot"}
	case strings.Contains(s, ".."):
		return note{"email_double_dot", "there are two dots in a row", "remove one"}
	case strings.ContainsFunc(local, notAtom):
		return note{"email_character", "there is a character that an address cannot have", whole}
	case !strings.Contains(domain, "."):
		return note{"email_no_tld", "the domain has no dot", "write the full domain"}
	}
	return domainForm(domain)
}

func domainForm(domain string) note {
	n := note{"email_domain", "the domain is not a valid name", "check it for typing errors"}
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if !domainLabel(label) {
			return n
		}
	}
	if !strings.ContainsFunc(labels[len(labels)-1], unicode.IsLetter) {
		return n // a network address without its brackets
	}
	return note{}
}

func domainLabel(label string) bool {
	return label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-' &&
		!strings.ContainsFunc(label, func(c rune) bool { return !letterOrDigit(c) && c != '-' })
}

// addressParsed is the last gate: the standard parser must read the very same
// address that we do.
func addressParsed(s string) note {
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Address != s {
		return note{"email_invalid", "this is not an e-mail address", "write it as name@domain"}
	}
	return note{}
}

// addressWarning names what is legal but often a mistake.
func addressWarning(address string) note {
	local, domain, _ := strings.Cut(address, "@")
	switch {
	case strings.Contains(local, "+"):
		return note{"email_plus", "the address has a plus tag", "make sure that it is the mailbox's sign-in name"}
	case role(local):
		return note{"email_role", "the address is that of a role, not of a person", "make sure that someone can sign in to it"}
	case strings.HasPrefix(domain, "xn--"), strings.Contains(domain, ".xn--"):
		return note{"email_international", "the domain is an international one", "make sure that it is no look-alike"}
	}
	return note{}
}

func role(local string) bool {
	switch local {
	case "abuse", "admin", "administrator", "all", "billing", "contact", "hello", "help", "hostmaster", "hr", "info", "jobs",
		"mail", "mailer-daemon", "marketing", "news", "newsletter", "no-reply", "noreply", "office", "postmaster", "press",
		"privacy", "root", "sales", "security", "service", "support", "team", "webmaster":
		return true
	}
	return false
}

// invisible reports characters that change what is seen without being seen:
// direction marks, zero-width spaces, byte order marks, soft hyphens, tags,
// variation selectors and fillers.
func invisible(c rune) bool {
	if c <= unicode.MaxASCII {
		return false
	}
	return unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector) ||
		c == '\u034f' || c == '\u115f' || c == '\u1160' || c == '\u3164' || c == '\uffa0'
}

func foreign(c rune) bool { return c > unicode.MaxASCII && !unicode.IsSpace(c) }

func letterOrDigit(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// notAtom reports what RFC 5322 does not allow in an unquoted local part.
func notAtom(c rune) bool {
	return !letterOrDigit(c) && !strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", c)
}
