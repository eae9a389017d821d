package campaign_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
)

func TestAddressIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	bare := " (write only name@domain)"
	form := " (write it as name@domain)"
	typing := " (check it for typing errors)"
	invisible := "the value contains an invisible character (type it anew)"
	control := "the value contains a control character (type it anew)"
	foreign := "the address has a letter outside ASCII, perhaps a look-alike (type it anew with plain letters)"
	foreignDomain := "the domain has a letter outside ASCII, perhaps a look-alike (type it anew, or write an international domain in its xn-- form)"
	domain := "the domain is not a valid name" + typing
	for name, c := range map[string]struct{ address, want string }{
		"empty":                         {"", "the address is empty (fill it in, or remove the row)"},
		"no at sign":                    {"bob.x.example", "the address has no @" + form},
		"two at signs":                  {"bob@y.example@x.example", "the address has more than one @" + form},
		"nothing before the at sign":    {"@x.example", "nothing stands before the @" + form},
		"nothing after the at sign":     {"bob@", "nothing stands after the @" + form},
		"display name":                  {"Bob <b@x.example>", "the address has a name or brackets around it (write only name@domain, and the name under from_name)"},
		"angle brackets":                {"<b@x.example>", "the address has a name or brackets around it (write only name@domain, and the name under from_name)"},
		"quoted local part":             {`"a b"@x.example`, "the address has a quoted name (write only name@domain without quotes)"},
		"network address literal":       {"b@[127.0.0.1]", "the address has a network address for a domain (use the domain's name)"},
		"network address":               {"b@127.0.0.1", domain},
		"localhost":                     {"b@localhost", "the domain has no dot (write the full domain)"},
		"local part of 400":             {strings.Repeat("a", 400) + "@x.example", "the part before the @ is longer than 64 characters" + typing},
		"local part of 65":              {strings.Repeat("a", 65) + "@x.example", "the part before the @ is longer than 64 characters" + typing},
		"255 characters in all":         {"b@" + strings.Repeat("abcdefghi.", 24) + "abcde.example", "the address is longer than 254 characters" + typing},
		"leading dot":                   {".b@x.example", "the part before the @ begins or ends with a dot (remove the dot)"},
		"trailing dot in the name":      {"b.@x.example", "the part before the @ begins or ends with a dot (remove the dot)"},
		"double dot":                    {"a..b@x.example", "there are two dots in a row (remove one)"},
		"double dot in the domain":      {"b@x..example", "there are two dots in a row (remove one)"},
		"trailing dot":                  {"b@x.example.", domain},
		"leading dot in the domain":     {"b@.x.example", domain},
		"underscore in the domain":      {"b@x_y.example", domain},
		"hyphen at a label's end":       {"b@x-.example", domain},
		"label of 64":                   {"b@" + strings.Repeat("x", 64) + ".example", domain},
		"header behind a line break":    {"b@x.example\r\nBcc: c@x.example", "the value contains a line break (remove it)"},
		"NUL":                           {"b\x00@x.example", control},
		"escape":                        {"b\x1b[31m@x.example", control},
		"delete":                        {"b\x7f@x.example", control},
		"C1 control":                    {"b\u009b@x.example", control},
		"trailing direction override":   {"b@x.example\u202e", invisible},
		"zero-width space":              {"b\u200b@x.example", invisible},
		"byte order mark inside":        {"b@x.\ufeffexample", invisible},
		"soft hyphen":                   {"b\u00ad@x.example", invisible},
		"variation selector":            {"b\ufe0f@x.example", invisible},
		"Hangul filler":                 {"b\u3164@x.example", invisible},
		"line separator":                {"b\u2028@x.example", invisible},
		"Cyrillic o":                    {"b\u043eb@x.example", foreign},
		"mixed-script domain":           {"b@x\u0430.example", foreignDomain},
		"full-width at sign":            {"b\uff20x.example", foreign},
		"umlaut":                        {"müller@x.example", foreign},
		"comment":                       {"b(work)@x.example", "the address has a comment" + bare},
		"per cent routing":              {"a%b@x.example", "the address routes with a percent sign" + bare},
		"bang path":                     {"host!b@x.example", "the address is a bang path" + bare},
		"mailto":                        {"MailTo:b@x.example", "the address is a mailto link" + bare},
		"space inside":                  {"bo b@x.example", "there is a space inside the address (remove it)"},
		"no-break space inside":         {"bo\u00a0b@x.example", "there is a space inside the address (remove it)"},
		"two addresses":                 {"a@x.example,b@x.example", "there is more than one address (give each its own row)"},
		"two addresses with semicolons": {"a@x.example;b@x.example", "there is more than one address (give each its own row)"},
		"backslash":                     {`a\b@x.example`, "there is a character that an address cannot have" + typing},
		"domain not allowed":            {"b@z.example", "the domain is not among the allowed ones (remove the row, or allow the domain for this campaign)"},
		"parent of an allowed domain":   {"b@sub.example", "the domain is not among the allowed ones (remove the row, or allow the domain for this campaign)"},
		"end of an allowed domain":      {"b@evilx.example", "the domain is not among the allowed ones (remove the row, or allow the domain for this campaign)"},
		"pattern without its dot":       {"b@evilz9.example", "the domain is not among the allowed ones (remove the row, or allow the domain for this campaign)"},
		"5 KB":                          {strings.Repeat("a", 5<<10) + "@x.example", "the value is longer than 4 KiB (shorten it)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rules()
			r.AllowedDomains = []string{"X.example", "*.sub.example", "*z9.example"}
			if strings.Contains(c.address, "\x00") { // a file with NUL is refused as a whole
				if _, p := campaign.Address(c.address); p == nil || !strings.HasSuffix(p.String(), ": "+c.want) {
					t.Errorf("got %v", p)
				}
				return
			}
			row := one(t, r, "from_name", "Bob", "email", c.address)
			if diff := cmp.Diff([]string{"2:email: " + c.want}, texts(row.Problems)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddressIsNormalised(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"b@x.example":                          "b@x.example",
		"  Bob.O'Neil@X.Example ":              "bob.o'neil@x.example",
		"\u00a0b@x.example\t":                  "b@x.example",
		"b@a.sub.example":                      "b@a.sub.example",
		"b@xn--mnchen-3ya.example":             "b@xn--mnchen-3ya.example",
		strings.Repeat("a", 64) + "@x.example": strings.Repeat("a", 64) + "@x.example",
	} {
		if got, p := campaign.Address(given); got != want || p != nil {
			t.Errorf("%q became %q, %v", given, got, p)
		}
	}
}

func TestLegalButDoubtfulAddressIsReported(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"bob+x@x.example":          "2:email: the address has a plus tag (make sure that it is the mailbox's sign-in name)",
		"Info@x.example":           "2:email: the address is that of a role, not of a person (make sure that someone can sign in to it)",
		"b@xn--mnchen-3ya.example": "2:email: the domain is an international one (make sure that it is no look-alike)",
	} {
		row := one(t, rules(), "email", address)
		if diff := cmp.Diff([]string{want}, texts(row.Warnings)); diff != "" || !row.Usable() {
			t.Errorf("%s: %v%s", address, row.Problems, diff)
		}
	}
}
