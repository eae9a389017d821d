package journal_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/sim/journal"
)

// note is a record; memory is a server that remembers all of them.
type note struct {
	Text string `json:"text"`
}

type memory struct {
	notes   []note
	journal *journal.Journal[note]
}

func (m *memory) apply(n note) error {
	if n.Text == "" {
		return errors.New("unknown record")
	}
	m.notes = append(m.notes, n)
	return nil
}

func (m *memory) add(text string) { m.journal.Append(func() note { return note{text} }) }

func open(t *testing.T, path string) *memory {
	t.Helper()
	m, err := try(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func try(path string) (*memory, error) {
	m := &memory{}
	var err error
	m.journal, err = journal.Open(path, m.apply, func(yield func(note) bool) {
		for _, n := range m.notes {
			if n.Text != "short-lived" && !yield(n) {
				return
			}
		}
	})
	return m, err
}

func shut(t *testing.T, m *memory) {
	t.Helper()
	if err := m.journal.Close(); err != nil {
		t.Error(err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasAppendedIsInTheFileAndComesBackInOrder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "made", "for", "it", "notes.jsonl")
	m := open(t, path)
	for _, text := range []string{"one", "two\nlines", "<three>"} {
		m.add(text)
		if lines := strings.Split(contents(t, path), "\n"); lines[len(lines)-1] != "" {
			t.Errorf("after %q the file ends in %q", text, lines[len(lines)-1])
		}
	}
	if got := strings.Count(contents(t, path), "\n"); got != 3 {
		t.Errorf("%d lines, want 3", got)
	}
	shut(t, m)
	m = open(t, path)
	defer shut(t, m)
	if diff := cmp.Diff([]note{{"one"}, {"two\nlines"}, {"<three>"}}, m.notes); diff != "" {
		t.Error(diff)
	}
}

func TestALineThatWasNotFinishedIsDroppedWhereverItWasCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	m := open(t, path)
	m.add("first")
	whole := len(contents(t, path))
	m.add("second")
	shut(t, m)
	both := contents(t, path)
	for cut := whole; cut < len(both); cut++ {
		write(t, path, both[:cut])
		m = open(t, path)
		m.add("third")
		shut(t, m)
		m = open(t, path)
		if diff := cmp.Diff([]note{{"first"}, {"third"}}, m.notes); diff != "" {
			t.Errorf("cut at %d: %s", cut, diff)
		}
		shut(t, m)
	}
}

func TestOpeningKeepsOnlyWhatIsToBeRemembered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	m := open(t, path)
	for range 1000 {
		m.add("short-lived")
	}
	m.add("long-lived")
	shut(t, m)
	write(t, path+".new", "left by one that was killed while it rewrote")
	shut(t, open(t, path))
	if got := contents(t, path); got != `{"text":"long-lived"}`+"\n" {
		t.Errorf("file: %q", got)
	}
}

func TestAFileThatIsNoJournalIsAnErrorAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{\"text\":\"a\"}\nnonsense\n{\"text\":\"b\"}\n": "line 2: invalid character",
		"{\"text\":\"a\"}\n{\"other\":1}\n":              "line 2: unknown record",
	} {
		path := filepath.Join(t.TempDir(), "notes.jsonl")
		write(t, path, text)
		for range 2 { // the lock must be free again
			if _, err := try(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", text, err, want)
			}
		}
		if got := contents(t, path); got != text {
			t.Errorf("the file is %q now, was %q", got, text)
		}
	}
	if _, err := try(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
}

func TestAJournalHasOneOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	m := open(t, path)
	if _, err := try(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second owner: %v", err)
	}
	m.add("still mine")
	shut(t, m)
	m = open(t, path)
	defer shut(t, m)
	if !slices.Contains(m.notes, note{"still mine"}) {
		t.Errorf("notes: %v", m.notes)
	}
}

func TestWithoutAPathNothingIsRememberedAndNothingIsSpent(t *testing.T) { //nolint:paralleltest // AllocsPerRun must be alone
	m := open(t, "")
	text := strings.Repeat("x", 100)
	if got := testing.AllocsPerRun(100, func() { m.add(text) }); got != 0 {
		t.Errorf("%v allocations for a record that nobody keeps", got)
	}
	if m.journal != nil || m.journal.Err() != nil {
		t.Errorf("journal: %v", m.journal)
	}
	shut(t, m)
}

func TestNoAnswerLeavesOnceTheJournalHasFailed(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join(t.TempDir(), "notes.jsonl"))
	server := httptest.NewServer(m.journal.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.add("promised")
		_, _ = io.WriteString(w, "I shall remember")
	})))
	defer server.Close()
	if status, body, err := get(t, server); status != http.StatusOK || body != "I shall remember" {
		t.Fatalf("before: %d %q %v", status, body, err)
	}
	shut(t, m) // stands for a full disk
	if status, body, err := get(t, server); err == nil {
		t.Errorf("the call that met the failure was answered %d %q", status, body)
	}
	if status, _, err := get(t, server); status != http.StatusServiceUnavailable {
		t.Errorf("the next call: %d %v", status, err)
	}
	if m.journal.Err() == nil {
		t.Error("the failure is not told")
	}
}

func get(t *testing.T, server *httptest.Server) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, http.NoBody) // a POST is not tried again by the client
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
