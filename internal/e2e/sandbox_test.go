//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kindling/internal/app"
	"kindling/internal/campaign/sample"
	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/warmyapi"
)

// TestTheSandboxGoesOnAfterEveryKill runs `kindling up --sandbox` as a user does, kills it again and again while owners
// consent, starts it again on the same directory, and expects every mailbox to arrive. The operator's part is played
// by the kindling command.
func TestTheSandboxGoesOnAfterEveryKill(t *testing.T) {
	const people = 30
	bin := filepath.Join(build(t, "kindling"), "kindling")
	data := app.Data(filepath.Join(t.TempDir(), "data"))
	edge, operators, warmy := freeAddress(t), freeAddress(t), freeAddress(t)
	up := &process{name: "kindling up", path: bin, args: []string{
		"up", "--sandbox", "--data", string(data), "--edge-listen", edge, "--console-listen", operators,
		"--microsoft-listen", freeAddress(t), "--warmy-listen", warmy,
	}, env: []string{"KINDLING_METRICS_LISTEN=" + freeAddress(t)}}
	up.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kindling up said:\n%s", tail(up.said()))
		}
		up.kill(t)
	})
	kindling := func(args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--server", "http://"+operators, "--token-file", data.TokenFile())...)
		var out bytes.Buffer
		cmd.Stdout = &out
		_ = cmd.Run() // the exit code says it
		return out.String(), cmd.ProcessState.ExitCode()
	}
	var csv bytes.Buffer
	if err := sample.Write(&csv, people); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, csv.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the import", func() bool {
		_, code := kindling("campaign", "import", file, "--name", "people", "--yes")
		return code == 0
	})
	links := sandboxLinks(t, kindling)
	if len(links) != people {
		t.Fatalf("%d links for %d mailboxes", len(links), people)
	}
	visited := make(chan struct{})
	go func() {
		defer close(visited)
		for _, l := range links {
			if err := persist(t.Context(), l, crowd.Accept); err != nil {
				t.Errorf("the owner of %s gave up: %v", l.Email, err)
			}
		}
	}()
	tick := time.NewTicker(1500 * time.Millisecond)
	defer tick.Stop()
	for range 8 {
		<-tick.C
		up.kill(t)
		up.start(t)
	}
	<-visited
	settled := func() bool {
		again := sandboxLinks(t, kindling) // those whose consent was lost with the process follow their link again
		for _, l := range again {
			if l.State == mailbox.StateNeedsConsent {
				_ = persist(t.Context(), l, crowd.Accept)
			}
		}
		out, code := kindling("mailbox", "list", "--campaign", "people", "--state", "registered", "-o", "jsonl")
		return code == 0 && strings.Count(out, "\n") == people
	}
	defer func() {
		if t.Failed() {
			list, _ := kindling("mailbox", "list", "--campaign", "people")
			legs, _ := kindling("leg", "list")
			t.Logf("%s\n%s", list, legs)
		}
	}()
	eventually(t, 6*time.Minute, "every mailbox is registered", settled)
	var ledger struct {
		Summary warmyapi.Summary `json:"summary"`
	}
	if err := request(t, http.MethodGet, "http://"+warmy+"/_sim/ledger", "", "", nil, &ledger); err != nil {
		t.Fatal(err)
	}
	if ledger.Summary.Mailboxes != people || ledger.Summary.CreatedTwice != 0 {
		t.Errorf("Warmy has %d mailboxes, %d created twice", ledger.Summary.Mailboxes, ledger.Summary.CreatedTwice)
	}
	up.stop(t, 45*time.Second)
}

// sandboxLinks asks for the links of everybody who is not on board.
func sandboxLinks(t *testing.T, kindling func(...string) (string, int)) []console.LinkView {
	t.Helper()
	var links []console.LinkView
	eventually(t, time.Minute, "the links", func() bool {
		out, code := kindling("campaign", "links", "people", "-o", "jsonl")
		links = links[:0]
		for line := range strings.Lines(out) {
			var l console.LinkView
			if json.Unmarshal([]byte(line), &l) != nil {
				return false
			}
			links = append(links, l)
		}
		return code == 0
	})
	return links
}
