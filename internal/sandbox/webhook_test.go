package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kindling/internal/mailbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// TestAWebhookRepairsWhatWarmySaysItLost goes the whole way: a new mailbox is started, Warmy loses it and says so, and it is
// told fresh tokens; a webhook that Warmy itself does not confirm does nothing.
func TestAWebhookRepairsWhatWarmySaysItLost(t *testing.T) {
	t.Parallel()
	const hook = "hook-canary_0123456789ABCD"
	file := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(file, []byte(hook+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startAlias(t, "activate: true", "webhook_secret_file: "+file)
	switches := w.world.Warmy.Switches()
	switches.Duplicate = warmyapi.DuplicateUpdates
	w.world.Warmy.Turn(switches)
	l := w.link("lone@a.example")
	if out, err := (crowd.Crowd{}).Visit(t.Context(), l.Link, l.Email, crowd.Accept); err != nil || out.Stage != crowd.Returned {
		t.Fatalf("%+v, %v", out, err)
	}
	m := w.reaches(l.Mailbox, "")
	w.poll("its warm-up is started", func() error {
		if boxes := w.world.Warmy.Mailboxes(l.Email); len(boxes) != 1 || !boxes[0].WarmupActive {
			return fmt.Errorf("%+v", boxes)
		}
		return nil
	})

	edge := l.Link[:strings.Index(l.Link, "/c/")]
	send := func(event string) {
		t.Helper()
		body := `{"event_id":"` + event + `","action_key":"connection_failed","affected_id":` + m.WarmyID + `,"affected_type":"mailbox","data":{"id":` + m.WarmyID + `,"email":"lone@a.example","state":"blocked"}}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, edge+"/warmy/"+hook, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		client := &http.Client{}
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("%v, %v", resp, err)
		}
		_ = resp.Body.Close()
	}
	looks := func(n int) {
		t.Helper()
		w.poll("Warmy is asked", func() error {
			if got := w.world.Warmy.Summary().Calls[warmyapi.OpGet]; len(got) < n {
				return fmt.Errorf("looks: %v", got)
			}
			return nil
		})
	}
	send("ev1")
	looks(1)
	if posts := len(w.world.Warmy.Posts(l.Email)); posts != 1 {
		t.Errorf("a hint that Warmy does not confirm led to %d POSTs", posts)
	}
	lost := `{"id":` + m.WarmyID + `,"email":"lone@a.example","state_key":"reconnect","status":"active"}`
	if err := w.world.Warmy.Fault(trouble.Rule{Kind: trouble.Answer, Op: warmyapi.OpGet, Status: http.StatusOK, Body: lost}); err != nil {
		t.Fatal(err)
	}
	send("ev2")
	w.poll("it is told fresh tokens", func() error {
		if posts := len(w.world.Warmy.Posts(l.Email)); posts != 2 {
			return errors.New("it was not posted again")
		}
		return nil
	})
	if got := w.reaches(l.Mailbox, ""); got.WarmyID != m.WarmyID || got.State != mailbox.StateRegistered {
		t.Errorf("%+v", got)
	}
}
