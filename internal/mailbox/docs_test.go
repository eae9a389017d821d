package mailbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
)

// firstColumn returns the first column of the table under a heading of docs/states.md.
func firstColumn(t *testing.T, heading string) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "states.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/states.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var column []string
	for line := range strings.Lines(section) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(cell, "`")
			column = append(column, name)
		}
	}
	return column
}

func TestTheDocumentedStatesAreTheStates(t *testing.T) {
	t.Parallel()
	var states []string
	for _, s := range mailbox.States() {
		states = append(states, string(s))
	}
	if diff := cmp.Diff(states, firstColumn(t, "States")); diff != "" {
		t.Errorf("docs/states.md differs from States() (-code +docs):\n%s", diff)
	}
}

func TestTheDocumentedStatesOfAdminsAreTheStates(t *testing.T) {
	t.Parallel()
	var states []string
	for _, s := range mailbox.AdminStates() {
		states = append(states, string(s))
	}
	if diff := cmp.Diff(states, firstColumn(t, "Admins")); diff != "" {
		t.Errorf("docs/states.md differs from AdminStates() (-code +docs):\n%s", diff)
	}
}

func TestTheDocumentedReasonsAreTheReasons(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(mailbox.Reasons(), firstColumn(t, "Reasons")); diff != "" {
		t.Errorf("docs/states.md differs from Reasons() (-code +docs):\n%s", diff)
	}
}
