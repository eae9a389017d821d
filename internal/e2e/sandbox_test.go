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
	t.Parallel()
	const people = 30
	s := startSandbox(t, people)
	up := s.up
	links := s.links(t)
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
		again := s.links(t) // those whose consent was lost with the process follow their link again
		for _, l := range again {
			if l.State == mailbox.StateNeedsConsent {
				_ = persist(t.Context(), l, crowd.Accept)
			}
		}
		out, code := s.kindling(t, "mailbox", "list", "--campaign", "people", "--state", "registered", "-o", "jsonl")
		return code == 0 && strings.Count(out, "\n") == people
	}
	defer func() {
		if t.Failed() {
			list, _ := s.kindling(t, "mailbox", "list", "--campaign", "people")
			legs, _ := s.kindling(t, "leg", "list")
			t.Logf("%s\n%s", list, legs)
		}
	}()
	eventually(t, 6*time.Minute, "every mailbox is registered", settled)
	var ledger struct {
		Summary warmyapi.Summary `json:"summary"`
	}
	if err := request(t, http.MethodGet, s.warmy+"/_sim/ledger", "", "", nil, &ledger); err != nil {
		t.Fatal(err)
	}
	if ledger.Summary.Mailboxes != people || ledger.Summary.CreatedTwice != 0 {
		t.Errorf("Warmy has %d mailboxes, %d created twice", ledger.Summary.Mailboxes, ledger.Summary.CreatedTwice)
	}
	up.stop(t, 45*time.Second)
}

// sandboxed is a running `kindling up --sandbox` with one campaign, "people".
type sandboxed struct {
	up   *process
	bin  string
	data app.Data

	console, microsoft, warmy string // their base addresses
}

func startSandbox(t *testing.T, people int) *sandboxed {
	t.Helper()
	edge, operators, microsoft, warmy := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	s := &sandboxed{
		bin: filepath.Join(build(t, "kindling"), "kindling"), data: app.Data(filepath.Join(t.TempDir(), "data")),
		console: "http://" + operators, microsoft: "http://" + microsoft, warmy: "http://" + warmy,
	}
	s.up = &process{name: "kindling up", path: s.bin, args: []string{
		"up", "--sandbox", "--data", string(s.data), "--edge-listen", edge, "--console-listen", operators,
		"--microsoft-listen", microsoft, "--warmy-listen", warmy,
	}, env: []string{"KINDLING_METRICS_LISTEN=" + freeAddress(t)}}
	s.up.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kindling up said:\n%s", tail(s.up.said()))
		}
		s.up.kill(t)
	})
	var csv bytes.Buffer
	if err := sample.Write(&csv, people); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, csv.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the import", func() bool {
		_, code := s.kindling(t, "campaign", "import", file, "--name", "people", "--yes")
		return code == 0
	})
	return s
}

// kindling plays the operator: it runs the kindling command, and returns its output and exit code.
func (s *sandboxed) kindling(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.bin, append(args, "--server", s.console, "--token-file", s.data.TokenFile())...)
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run() // the exit code says it
	return out.String(), cmd.ProcessState.ExitCode()
}

// links asks for the links of everybody who is not on board.
func (s *sandboxed) links(t *testing.T) []console.LinkView {
	t.Helper()
	var links []console.LinkView
	eventually(t, time.Minute, "the links", func() bool {
		out, code := s.kindling(t, "campaign", "links", "people", "-o", "jsonl")
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
