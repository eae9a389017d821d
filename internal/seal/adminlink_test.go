package seal_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
	"kindling/internal/seal"
)

func adminLinks(t *testing.T, dir string) (seal.AdminLinks, *seal.Box) {
	t.Helper()
	people, err := seal.OpenPeople(dir)
	must(t, err)
	return seal.NewAdminLinks(people), people
}

func anAdminLink() mailbox.AdminLink {
	return mailbox.AdminLink{App: "main", Tenant: "contoso.example", Expires: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
}

func TestAnAdminsLinkOpensWithTheSameKeysAndTellsNobodyElse(t *testing.T) {
	t.Parallel()
	dir := generated(t)
	links, _ := adminLinks(t, dir)
	token, err := links.Token(anAdminLink())
	must(t, err)
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{40,250}$`).MatchString(token) {
		t.Errorf("token %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	must(t, err)
	if strings.Contains(token+string(raw), "contoso") || strings.Contains(string(raw), "main") {
		t.Error("the token tells whose it is")
	}
	again, _ := adminLinks(t, dir) // the edge is another process than the console
	got, ok := again.Parse(token)
	if diff := cmp.Diff(anAdminLink(), got); !ok || diff != "" {
		t.Errorf("Parse: %v\n%s", ok, diff)
	}
}

func TestAForgedAdminsLinkDoesNotOpen(t *testing.T) {
	t.Parallel()
	links, box := adminLinks(t, generated(t))
	token, err := links.Token(anAdminLink())
	must(t, err)
	theirs, _ := adminLinks(t, generated(t))
	foreign, err := theirs.Token(anAdminLink())
	must(t, err)
	plain, err := anAdminLink().Marshal()
	must(t, err)
	elsewhere, err := box.Seal(plain, "v1|person|abc") // what the same keyset sealed for another purpose
	must(t, err)
	for name, forged := range map[string]string{
		"nothing": "", "of another installation": foreign, "sealed for another purpose": base64.RawURLEncoding.EncodeToString(elsewhere),
		"cut short": token[:len(token)-2], "longer": token + "AA", "with a line end": token + "\n", "with its padding": token + "=", "in the other alphabet": "+" + token[1:],
		"not sealed": base64.RawURLEncoding.EncodeToString(plain), "huge": strings.Repeat("A", 1<<16), "an owner's link": strings.Repeat("A", 44),
	} {
		if link, ok := links.Parse(forged); ok || link != (mailbox.AdminLink{}) {
			t.Errorf("%s: %+v", name, link)
		}
	}
	for i := range token {
		changed := []byte(token)
		changed[i] = map[bool]byte{true: 'A', false: 'B'}[token[i] != 'A']
		if _, ok := links.Parse(string(changed)); ok {
			t.Errorf("character %d changed: it opens", i)
		}
	}
}
