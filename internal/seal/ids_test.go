package seal_test

import (
	"regexp"
	"strings"
	"testing"

	"kindling/internal/events"
	"kindling/internal/seal"
)

func openIDs(t *testing.T, dir string) *seal.IDs {
	t.Helper()
	ids, err := seal.OpenIDs(dir)
	must(t, err)
	return ids
}

func TestAMailboxHasOneIDWhateverTheLetterCase(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	ids := openIDs(t, dir)
	id := ids.Mailbox("main", "jane@contoso.example")
	if id != openIDs(t, dir).Mailbox("main", "Jane@Contoso.EXAMPLE") {
		t.Error("the id depends on letter case or process")
	}
	if !regexp.MustCompile(`^[a-z2-7]{24}$`).MatchString(id) || !events.IsToken(id) {
		t.Errorf("id %q is not 24 letters and digits", id)
	}
	for why, other := range map[string]string{
		"another app":     ids.Mailbox("other", "jane@contoso.example"),
		"another address": ids.Mailbox("main", "john@contoso.example"),
		"another keyset":  openIDs(t, generated(t)).Mailbox("main", "jane@contoso.example"),
		"shifted texts":   ids.Mailbox("mainj", "ane@contoso.example"),
	} {
		if other == id {
			t.Errorf("%s gives the same id", why)
		}
	}
}

func TestALinkNamesItsMailboxAndDiffersByGeneration(t *testing.T) {
	t.Parallel()
	ids := openIDs(t, generated(t))
	id := ids.Mailbox("main", "jane@contoso.example")
	link := ids.Link(id, 1)
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{44}$`).MatchString(link) {
		t.Errorf("link %q", link)
	}
	if got, ok := seal.ParseLink(link); !ok || got != id {
		t.Errorf("ParseLink() = %q, %v; want %q", got, ok, id)
	}
	if link != ids.Link(id, 1) || link == ids.Link(id, 2) || link == openIDs(t, generated(t)).Link(id, 1) {
		t.Error("the link does not follow from keyset, id and generation")
	}
	if link[20:] == ids.Link(ids.Mailbox("main", "john@contoso.example"), 1)[20:] {
		t.Error("two mailboxes share a proof")
	}
	if got := ids.Link("no id", 1); got != "" {
		t.Errorf("Link of a malformed id = %q", got)
	}
}

func TestAMalformedLinkIsNotParsed(t *testing.T) {
	t.Parallel()
	ids := openIDs(t, generated(t))
	link := ids.Link(ids.Mailbox("main", "jane@contoso.example"), 1)
	for _, token := range []string{
		"", link[:43], link + "A", link[:43] + "=", link[:43] + "+", link[:43] + "/", link[:43] + "\n", link[:42] + "\r\n", "\n" + link[:43],
		link[:43] + " ", link[:43] + ".", link[:43] + "\x00", link[:42] + "é", link[:42] + "%2", strings.Repeat("=", 44), strings.Repeat("\n", 44),
		strings.Repeat("A", 4096), "../../../../../../../../../../../../../../../"[:44],
	} {
		if id, ok := seal.ParseLink(token); ok || id != "" {
			t.Errorf("ParseLink(%q) = %q, %v", token, id, ok)
		}
	}
}

func FuzzParseLinkReadsOnlyWhatItWouldWrite(f *testing.F) {
	f.Add(strings.Repeat("A", 44))
	f.Add(strings.Repeat("_", 43) + "\n")
	f.Fuzz(func(t *testing.T, token string) {
		id, ok := seal.ParseLink(token)
		if ok != (id != "") || ok && (len(token) != 44 || !events.IsToken(id)) {
			t.Errorf("ParseLink(%q) = %q, %v", token, id, ok)
		}
	})
}
