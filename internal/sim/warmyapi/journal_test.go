package warmyapi_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/sim/warmyapi"
)

// remembering starts a server with a journal; again starts the next one on it.
func remembering(t *testing.T, file string) *warmy {
	t.Helper()
	w := start(t, func(c *warmyapi.Config) {
		c.Journal, c.Switches.Duplicate = file, warmyapi.DuplicateSecond
		c.Inspect = func(access, _ string) (string, bool) { return "someone@else.example", access == "at" }
	})
	t.Cleanup(func() { _ = w.Close() }) // again, where the test did
	return w
}

func (w *warmy) again(file string) *warmy {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
	return remembering(w.t, file)
}

func TestMailboxesGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warmy.jsonl")
	w := remembering(t, file)
	ids := map[string]int64{}
	for _, name := range []string{"kept", "paused", "planned", "twice", "gone"} {
		_, ids[name] = w.post(name + "@contoso.example")
	}
	w.post("twice@contoso.example")
	w.call(http.MethodPut, fmt.Sprintf("/api/v2/mailboxes/%d/update_state", ids["paused"]), `{"mailbox":{"state":"pause!"}}`)
	w.call(http.MethodPut, fmt.Sprintf("/api/v2/mailboxes/%d/change_tariff_plan", ids["planned"]), `{"mailbox":{"tariff_plan_type_id":1}}`)
	_, last := w.post("last@contoso.example")
	for _, id := range []int64{ids["gone"], last} {
		w.call(http.MethodDelete, fmt.Sprintf("/api/v2/mailboxes/%d", id), "")
	}
	before, posts := w.Mailboxes(""), w.Posts("twice@contoso.example")
	for range 2 { // from appended lines, and from rewritten ones
		w = w.again(file)
		if diff := cmp.Diff(before, w.Mailboxes("")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(posts, w.Posts("twice@contoso.example")); diff != "" {
			t.Error(diff)
		}
		if got := w.Summary(); got.CreatedTwice != 1 || got.PostedAgain != 1 || got.ForeignTokens < len(before) {
			t.Errorf("summary: %+v", got)
		}
		if diff := cmp.Diff([]string{"twice@contoso.example"}, w.CreatedTwice()); diff != "" {
			t.Error(diff)
		}
	}
	if _, id := w.post("new@contoso.example"); id != last+1 {
		t.Errorf("id %d after %d was the last", id, last)
	}
}

func TestAPostWhoseAnswerWasCutOffCountsAsTheFirst(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warmy.jsonl")
	w := remembering(t, file)
	w.post(owner)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	upTo := strings.Index(string(raw), `{"post":`)
	if err := os.WriteFile(file, raw[:upTo], 0o600); err != nil {
		t.Fatal(err)
	}
	w = remembering(t, file)
	if posts := w.Posts(owner); len(posts) != 1 || !posts[0].Created || posts[0].Delivered || posts[0].Outcome != "cut_off" {
		t.Fatalf("posts: %+v", posts)
	}
	w.post(owner)
	if got := w.Summary(); got.CreatedTwice != 1 || got.PostedAgain != 0 || got.Mailboxes != 2 {
		t.Errorf("summary: %+v", got)
	}
}

func TestAServerWithAFaultyJournalOrRuleDoesNotOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warmy.jsonl")
	if err := os.WriteFile(file, []byte(`{"code":{"id":"of another server"}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := warmyapi.Open(warmyapi.Config{Journal: file}); err == nil || !strings.Contains(err.Error(), "line 1: unknown record") {
		t.Errorf("journal: %v", err)
	}
}
