package cli_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/cli"
	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/service"
)

// result is what a command left behind.
type result struct {
	out, talk string
	exit      int
	err       error
}

// terminal is somebody at a shell.
type terminal struct {
	w      *consoletest.World
	dir    string
	vars   map[string]string
	stdin  string
	tokens map[string]string
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	w := consoletest.New(t)
	tm := &terminal{w: w, dir: t.TempDir(), tokens: map[string]string{}}
	for role, token := range w.Tokens {
		tm.tokens[role] = tm.file(t, role+".token", token+"\n")
	}
	tm.vars = map[string]string{"KINDLING_SERVER": w.Server.URL, "KINDLING_TOKEN_FILE": tm.tokens[console.Admin]}
	return tm
}

func (tm *terminal) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(tm.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (tm *terminal) run(t *testing.T, args ...string) result {
	t.Helper()
	var out, talk bytes.Buffer
	err := cli.Run(t.Context(), service.Env{
		Args: args, Stdin: strings.NewReader(tm.stdin), Stdout: &out, Stderr: &talk,
		Getenv: func(name string) string { return tm.vars[name] },
		Environ: func() []string {
			var all []string
			for name, value := range tm.vars {
				all = append(all, name+"="+value)
			}
			return all
		},
	})
	return result{out.String(), talk.String(), service.ExitCode(err), err}
}

func (r result) want(t *testing.T, exit int) result {
	t.Helper()
	if r.exit != exit {
		t.Errorf("exit %d, want %d\n%s%s%v", r.exit, exit, r.out, r.talk, r.err)
	}
	return r
}

func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v\n%s", err, r.out)
	}
	return v
}

const someRows = "email,external_id\nada@a.example,c1\nbob@b.example,c2\n"

func TestAFileIsImportedAndItsLinksHandedOut(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file := tm.file(t, "acme.csv", someRows)
	r := tm.run(t, "campaign", "import", file, "--name", "Acme May").want(t, 0)
	if r.out != "" || !strings.Contains(r.talk, "2 invited") || !strings.Contains(r.talk, "main: 2 mailboxes at 60/min take 2 s once they have consented") {
		t.Errorf("out %q talk %q", r.out, r.talk)
	}
	report := decode[console.ImportReport](t, tm.run(t, "campaign", "import", file, "--name", "Acme May", "-o", "json").want(t, 0))
	if report.Known != 2 || report.Invited != 0 {
		t.Errorf("report = %+v", report)
	}
	links := tm.run(t, "campaign", "links", "acme may").want(t, 0)
	if strings.Count(links.out, "https://connect.example/c/") != 2 {
		t.Errorf("links:\n%s", links.out)
	}
	to := filepath.Join(tm.dir, "out.csv")
	tm.run(t, "campaign", "export", "Acme May", "--to", to).want(t, 0)
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	tm.run(t, "campaign", "export", "Acme May", "--to", to).want(t, 64)
	shown := tm.run(t, "campaign", "show", "Acme May").want(t, 0)
	if !strings.Contains(shown.out, "invited") || strings.Contains(shown.out+shown.talk, "done by") {
		t.Errorf("%s", shown.out)
	}
	owner := tm.w.Links.Mailbox("main", "ada@a.example")
	tm.w.Grants.Put(owner, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "x", Tokens: &mailbox.Tokens{Attempt: "x", SavedAt: tm.w.Now()}})
	tm.w.Eventually(t, "its estimate is told", func() bool {
		shown := tm.run(t, "campaign", "show", "Acme May").want(t, 0)
		return strings.Contains(shown.out+shown.talk, "warmy/main, all campaigns: 1 waiting, 60/min: done at about") && strings.Contains(shown.out+shown.talk, "of this campaign is done by about")
	})
	if st := tm.run(t, "status").want(t, 0); !strings.Contains(st.out+st.talk, "1 under way, done at about 12:00 UTC") {
		t.Errorf("%s%s", st.out, st.talk)
	}
	if list := decode[console.CampaignList](t, tm.run(t, "campaign", "list", "-o", "json").want(t, 0)); len(list.Campaigns) != 1 || list.Campaigns[0].DoneBy.IsZero() {
		t.Errorf("%+v", list)
	}
	if list := tm.run(t, "campaign", "list", "-o", "csv").want(t, 0); !strings.HasPrefix(list.out, "id,name,") {
		t.Errorf("%s", list.out)
	}
}

func TestLinksAndDeadLettersAreOneDocumentAsJSON(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "acme.csv", someRows)).want(t, 0)
	if links := decode[[]console.LinkView](t, tm.run(t, "campaign", "links", "acme", "-o", "json").want(t, 0)); len(links) != 2 {
		t.Errorf("%+v", links)
	}
	if r := tm.run(t, "campaign", "links", "acme", "-o", "jsonl").want(t, 0); strings.Count(r.out, "\n") != 2 || strings.HasPrefix(r.out, "[") {
		t.Errorf("%s", r.out)
	}
	if r := tm.run(t, "campaign", "links", "acme", "--state", "dead", "-o", "json").want(t, 0); r.out != "[]\n" {
		t.Errorf("%q", r.out)
	}
	if r := tm.run(t, "dead", "export", "-o", "json").want(t, 0); r.out != "[]\n" {
		t.Errorf("%q", r.out)
	}
	addDead(tm, fault.ByTime, fault.ByTime, fault.Never)
	if letters := decode[[]console.DeadView](t, tm.run(t, "dead", "export", "-o", "json").want(t, 0)); len(letters) != 3 {
		t.Errorf("%+v", letters)
	}
	for _, what := range []string{"links", "export"} {
		to := filepath.Join(tm.dir, what)
		if r := tm.run(t, "campaign", what, "acme", "--to", to).want(t, 0); !strings.Contains(r.talk, "2 rows written to "+to) || r.out != "" {
			t.Errorf("%s", r.talk)
		}
	}
}

func TestTheResultOfAnImportIsWrittenForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file := tm.file(t, "acme.csv", someRows+"no address,c3\n")
	to := filepath.Join(tm.dir, "result.csv")
	r := tm.run(t, "campaign", "import", file, "--result", to).want(t, service.ExitPartly)
	if !strings.Contains(r.talk, "1 refused") {
		t.Errorf("talk %q", r.talk)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestAResultNeverTakesTheNameOfSomethingThatIsNotWhole(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file := tm.file(t, "acme.csv", someRows)
	tm.run(t, "campaign", "import", file, "--result", file, "--overwrite").want(t, service.ExitUsage)
	link := filepath.Join(tm.dir, "link.csv")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	tm.run(t, "campaign", "import", file, "--result", link, "--overwrite").want(t, service.ExitUsage)
	if data, err := os.ReadFile(file); err != nil || string(data) != someRows || tm.w.Campaigns.Len() != 0 {
		t.Errorf("the file was touched, or sent: %q %v", data, err)
	}
	old := tm.file(t, "result.csv", "old")
	tm.w.Invitations.SetDown(true)
	tm.run(t, "campaign", "import", file, "--result", old, "--overwrite").want(t, service.ExitUnavailable)
	fresh := filepath.Join(tm.dir, "fresh.csv")
	tm.run(t, "campaign", "import", file, "--result", fresh).want(t, service.ExitUnavailable)
	tm.w.Invitations.SetDown(false)
	if data, err := os.ReadFile(old); err != nil || string(data) != "old" {
		t.Errorf("an import that failed left %q, %v", data, err)
	}
	if left, err := filepath.Glob(filepath.Join(tm.dir, ".*-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	tm.run(t, "campaign", "import", file, "--result", fresh).want(t, 0)
	tm.run(t, "campaign", "import", file, "--result", old, "--overwrite").want(t, 0)
	if data, err := os.ReadFile(old); err != nil || !strings.Contains(string(data), "invited") {
		t.Errorf("%q %v", data, err)
	}
}

func TestAFileThatIsNoCampaignIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	for name, content := range map[string]string{
		"empty": "", "header": "email\n", "semicolons": "email;name\na@b.example;x\n", "password": "email,password\na@b.example,x\n",
		"zip": "PK\x03\x04xx", "quote": "email\n\"a@b.example\n",
	} {
		tm.run(t, "campaign", "import", tm.file(t, name+".csv", content)).want(t, service.ExitData)
	}
	tm.run(t, "campaign", "import", filepath.Join(tm.dir, "none.csv")).want(t, service.ExitData)
	tm.run(t, "campaign", "import", tm.dir).want(t, service.ExitData)
	if tm.w.Campaigns.Len() != 0 {
		t.Error("something was sent")
	}
	tm.stdin = someRows
	tm.run(t, "campaign", "import", "-").want(t, service.ExitUsage)
	tm.run(t, "campaign", "import", "-", "--name", "Piped").want(t, 0)
}

func TestTheTemplateCanBeImported(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.stdin = tm.run(t, "campaign", "template").want(t, 0).out
	tm.run(t, "campaign", "import", "-", "--name", "Template").want(t, 0)
}

func TestAMailboxIsFoundExplainedAndInvitedAgain(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "acme.csv", someRows)).want(t, 0)
	id := tm.w.Links.Mailbox("main", "ada@a.example")
	if m := decode[console.MailboxView](t, tm.run(t, "mailbox", "show", "Ada@a.example", "-o", "json").want(t, 0)); m.ID != id {
		t.Errorf("mailbox = %+v", m)
	}
	r := tm.run(t, "mailbox", "explain", id).want(t, 0)
	if !strings.Contains(r.out, "invited") || !strings.Contains(r.out, "remind the owner") || r.talk != "" {
		t.Errorf("%s%s", r.out, r.talk)
	}
	link := decode[console.NewLink](t, tm.run(t, "mailbox", "reinvite", "ada@a.example", "--reason", "lost", "-o", "json").want(t, 0))
	if link.Generation != 2 {
		t.Errorf("link = %+v", link)
	}
	lines := strings.Split(strings.TrimSpace(tm.run(t, "mailbox", "list", "-o", "jsonl").want(t, 0).out), "\n")
	if len(lines) != 2 {
		t.Errorf("%q", lines)
	}
	tm.run(t, "mailbox", "show", "nobody@a.example").want(t, 1)
	tm.run(t, "mailbox", "show", "nosuchid").want(t, 1)
	tm.run(t, "mailbox", "list", "--state", "odd").want(t, 64)
	tm.run(t, "mailbox", "reinvite").want(t, 64)
	tm.run(t, "mailbox", "reinvite", id, "--all").want(t, 64)
}

func addDead(tm *terminal, forecasts ...fault.Forecast) { addDeadOf(tm, "box", forecasts...) }

func addDeadOf(tm *terminal, id mailbox.ID, forecasts ...fault.Forecast) {
	for _, f := range forecasts {
		tm.w.Dead.Add(events.DeadLetter{
			Version: 1, Event: json.RawMessage(`{"sealed":"canary"}`), Mailbox: id, App: "main", Account: "main", Stage: events.Register,
			Class: "transient", Code: "warmy_502", Cause: "Warmy\x1b[2J answered 502", Remedy: "wait", Forecast: string(f), DiedAt: time.Now().Add(-time.Hour),
		})
	}
}

func TestAReplayShowsItsCountAndDoesOnlyWhatWasConfirmed(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	addDead(tm, fault.ByTime, fault.ByConfig, fault.ByPerson, fault.Never)
	tm.run(t, "dead", "replay").want(t, 64)
	tm.run(t, "dead", "replay", "--all", "--stage", "register", "--yes").want(t, 64)
	if p := decode[console.Preview](t, tm.run(t, "dead", "replay", "--all", "--dry-run", "-o", "json").want(t, 0)); p.Count != 2 {
		t.Errorf("preview = %+v", p)
	}
	r := tm.run(t, "dead", "replay", "--all").want(t, 64)
	if !strings.Contains(r.talk, "2 dead letters chosen by all") || len(tm.w.Dead.Replayed()) != 0 {
		t.Errorf("%s", r.talk)
	}
	r = tm.run(t, "dead", "replay", "--stage", "register", "--since", "2h", "--yes", "--rate", "1000", "--reason", "Warmy is back").want(t, 0)
	if !slices.Equal(tm.w.Dead.Replayed(), []uint64{1, 2}) {
		t.Errorf("replayed %v\n%s", tm.w.Dead.Replayed(), r.talk)
	}
	if trail := tm.w.Audit.Entries(); trail[0].Reason != "Warmy is back" {
		t.Errorf("%+v", trail)
	}
	if r := tm.run(t, "dead", "replay", "--all", "--yes").want(t, 0); !strings.Contains(r.talk, "nothing to do") {
		t.Errorf("%s", r.talk)
	}
	jobs := decode[console.JobList](t, tm.run(t, "replay", "list", "-o", "json").want(t, 0))
	if len(jobs.Jobs) != 1 {
		t.Fatalf("%+v", jobs)
	}
	tm.run(t, "replay", "status", jobs.Jobs[0].ID, "--wait").want(t, 0)
	tm.run(t, "replay", "cancel", "nosuch").want(t, 1)
	tm.run(t, "replay", "resume", jobs.Jobs[0].ID).want(t, 1)
}

func TestAReplayWhoseMailboxesDieAgainFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ die, exit int }{{0, 0}, {1, service.ExitPartly}, {6, service.ExitFailed}} {
		t.Run(strconv.Itoa(c.die)+" of 6", func(t *testing.T) {
			t.Parallel()
			tm := newTerminal(t)
			died := mailbox.Registration{Phase: mailbox.RegistrationDead, Attempt: "a1", Stage: "register", Since: tm.w.Now()}
			csv := "email\n"
			for i := range 6 {
				csv += fmt.Sprintf("owner%d@a.example\n", i)
			}
			tm.run(t, "campaign", "import", tm.file(t, "acme.csv", csv)).want(t, 0)
			for i := range 6 {
				id := tm.w.Links.Mailbox("main", fmt.Sprintf("owner%d@a.example", i))
				tm.w.Grants.Put(id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a1", Tokens: &mailbox.Tokens{Attempt: "a1", SavedAt: tm.w.Now()}})
				tm.w.Registrations.Put(id, died)
				addDeadOf(tm, id, fault.ByTime)
			}
			tm.w.Eventually(t, "all are dead", func() bool {
				return len(decode[console.MailboxList](t, tm.run(t, "mailbox", "list", "--state", "dead", "-o", "json").want(t, 0)).Mailboxes) == 6
			})
			tm.w.Dead.OnReplay(func(d events.DeadLetter) {
				again := died
				again.Since = died.Since.Add(time.Minute)
				if int(d.Seq) > c.die {
					again = mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: again.Since}
				}
				tm.w.Registrations.Put(d.Mailbox, again)
			})
			r := tm.run(t, "dead", "replay", "--all", "--yes", "--rate", "1000").want(t, c.exit)
			if c.die > 0 && !strings.Contains(r.talk, "died again") {
				t.Errorf("%s", r.talk)
			}
		})
	}
}

func TestDeadLettersAreListedShownExportedCheckedAndDiscarded(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	addDead(tm, fault.ByTime, fault.Never, fault.Never)
	r := tm.run(t, "dead", "list", "--forecast", "never").want(t, 0)
	if strings.Count(r.out, "warmy_502") != 2 {
		t.Errorf("%s", r.out)
	}
	r = tm.run(t, "dead", "show", "1").want(t, 0)
	if strings.Contains(r.out+r.talk, "\x1b") || !strings.Contains(r.out, `: Warmy\x1b[2J`) || r.talk != "" {
		t.Errorf("a cause moves the cursor: %q %q", r.out, r.talk)
	}
	r = tm.run(t, "dead", "export").want(t, 0)
	if strings.Count(r.out, "\n") != 3 || strings.Contains(r.out, "canary") {
		t.Errorf("%s", r.out)
	}
	if r = tm.run(t, "dead", "check", "--warn", "2", "--critical", "5").want(t, 3); !strings.HasPrefix(r.out, "WARNING - 3 dead letters") {
		t.Errorf("%s", r.out)
	}
	tm.run(t, "dead", "check", "--warn", "1", "--critical", "2").want(t, 1)
	tm.run(t, "dead", "check", "--warn", "10", "--critical", "20").want(t, 0)
	tm.run(t, "dead", "discard", "--id", "2,3", "--yes", "--rate", "1000").want(t, 0)
	if tm.w.Dead.Len() != 1 {
		t.Errorf("%d are left", tm.w.Dead.Len())
	}
}

func TestLegsAreHeldAndReleased(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	r := tm.run(t, "leg", "hold", "warmy/main", "--cause", "maintenance").want(t, 0)
	if !strings.Contains(r.out, "held") || !strings.Contains(r.out, "maintenance") {
		t.Errorf("%s", r.out)
	}
	if r := tm.run(t, "status").want(t, 0); !strings.Contains(r.out, "leg warmy/main is held") || r.talk != "" || strings.Contains(r.out, "unknown") {
		t.Errorf("%s", r.talk)
	}
	tm.run(t, "leg", "release", "warmy/main").want(t, 0)
	if r := tm.run(t, "leg", "list", "-o", "json").want(t, 0); strings.Contains(r.out, "held") {
		t.Errorf("%s", r.out)
	}
	tm.run(t, "leg", "hold", "warmy/none").want(t, 1)
}

// The list tells all that its estimate is reckoned from: half of 55 calls a minute, two for some, and none for five minutes.
func TestTheLegsTellHowTheirEstimatesAreReckoned(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.w.Legs.Load("warmy/main", leg.Load{Waiting: 55, PerMinute: 27.5, NotBefore: tm.w.Now().Add(5 * time.Minute)})
	list := tm.run(t, "leg", "list", "-o", "csv").want(t, 0)
	if !strings.Contains(list.out, "warmy/main,open,,,,,55,,55,28,2026-03-01 12:05:00Z,2026-03-01 12:07:00Z\n") {
		t.Errorf("%s", list.out)
	}
	const outlook = "warmy/main: 55 waiting, 28/min, no call before 12:05 UTC: done at about 12:07 UTC"
	if list = tm.run(t, "leg", "list").want(t, 0); !strings.Contains(list.out, outlook) {
		t.Errorf("%s", list.out)
	}
	tm.w.Legs.Load("warmy/main", leg.Load{Waiting: 5, PerMinute: 5. / 16})
	if list = tm.run(t, "leg", "list", "-o", "csv").want(t, 0); !strings.Contains(list.out, ",5,,5,0.31,,") {
		t.Errorf("%s", list.out)
	}
}

func TestWrongUseIsToldApart(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	for _, line := range []string{
		"", "nosuch", "campaig list", "campaign", "campaign nosuch", "--nosuch", "campaign list extra", "campaign import", "mailbox show",
		"mailbox show *", "mailbox show ../x", "mailbox show >", "mailbox list --limit 0", "mailbox list --limit -1", "mailbox list --limit abc", "dead list --limit 0",
		"dead show x", "dead show 0", "dead list --id x", "dead list --since tomorrow", "dead list --since 1h --until 2h", "dead list --class odd",
		"dead list --stage odd", "dead replay --all --rate 0", "dead replay --all --rate inf", "dead check --warn 0", "-o xml status", "dead list --id",
		"leg hold", "config nosuch", "operator add", "--server nonsense status", "--server ftp://x status",
	} {
		if r := tm.run(t, strings.Fields(line)...); r.exit != 64 || r.err == nil || r.out != "" {
			t.Errorf("%q: exit %d, out %q, %v", line, r.exit, r.out, r.err)
		}
	}
	for line, want := range map[string]string{
		"":                                 "which command? see kindling --help",
		"campaign":                         "which command? see kindling campaign --help",
		"dead list --limit 0":              "--limit 0: at least 1 letter is listed",
		"dead check --warn 0":              "--warn 0: the least is 1 dead letter",
		"dead check --warn 5 --critical 4": "--critical 4 is below --warn 5",
		"mailbox reconnect a@a.example --app main --app second": "--app takes one name when an address is given",
	} {
		if r := tm.run(t, strings.Fields(line)...); !strings.Contains(r.talk, want) {
			t.Errorf("%q: %s, want %q", line, r.talk, want)
		}
	}
	if r := tm.run(t, "campaig", "list"); !strings.Contains(r.talk, "kindling: kindling has no command \"campaig\"; did you mean campaign?") {
		t.Errorf("%v", r.err)
	}
}

func TestAServerThatIsAwayAndAKeyThatDoesNotFitAreToldApart(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "--server", "http://127.0.0.1:1", "status").want(t, service.ExitUnavailable)
	tm.run(t, "--token-file", filepath.Join(tm.dir, "none"), "status").want(t, service.ExitPermission)
	tm.run(t, "--token-file", tm.file(t, "two", "a b"), "status").want(t, service.ExitPermission)
	tm.run(t, "--token-file", tm.file(t, "wrong", "kdl_wrong"), "status").want(t, service.ExitPermission)
	tm.run(t, "--token-file", tm.tokens[console.Viewer], "leg", "hold", "warmy/main").want(t, service.ExitPermission)
	tm.w.Audit.SetDown(true)
	tm.run(t, "leg", "hold", "warmy/main").want(t, service.ExitUnavailable)
}

func TestAnOperatorIsAddedListedAndRemoved(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file := filepath.Join(tm.dir, "ops.json")
	r := tm.run(t, "operator", "add", "Ada", "--role", "operator", "--file", file).want(t, 0)
	token := strings.TrimSpace(r.out)
	if !strings.HasPrefix(token, "kdl_") || strings.Contains(r.talk, token) {
		t.Errorf("%q %q", r.out, r.talk)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), token) {
		t.Errorf("the file holds the token: %v", err)
	}
	tm.run(t, "operator", "add", "Ada", "--file", file).want(t, 64)
	tm.run(t, "operator", "add", "Eve", "--role", "god", "--file", file, "--write-token", filepath.Join(tm.dir, "eve")).want(t, 64)
	if _, err := os.Stat(filepath.Join(tm.dir, "eve")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an empty token file is left behind")
	}
	if r := tm.run(t, "operator", "list", "--file", file).want(t, 0); !strings.Contains(r.out, "Ada") || strings.Contains(r.out, "hash") {
		t.Errorf("%s", r.out)
	}
	tm.run(t, "operator", "remove", "Ada", "--file", file).want(t, 0)
	tm.run(t, "operator", "remove", "Ada", "--file", file).want(t, 1)
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file := filepath.Join(tm.dir, "ops.json")
	tm.run(t, "operator", "add", "Ada", "--role", "admin", "--file", file).want(t, 0)
	tm.run(t, "operator", "add", "Bob", "--role", "operator", "--file", file).want(t, 0)
	if r := tm.run(t, "operator", "remove", "Ada", "--file", file).want(t, service.ExitFailed); !strings.Contains(r.talk, "operator add NAME --role admin") {
		t.Errorf("%s", r.talk)
	}
	tm.run(t, "operator", "remove", "Bob", "--file", file).want(t, 0)
	tm.run(t, "operator", "add", "Eve", "--role", "admin", "--file", file).want(t, 0)
	tm.run(t, "operator", "remove", "Ada", "--file", file).want(t, 0)
}

func TestATokenFileThatExistsIsKept(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	file, token := filepath.Join(tm.dir, "ops.json"), tm.file(t, "ada.token", "old")
	r := tm.run(t, "operator", "add", "Ada", "--file", file, "--write-token", token).want(t, service.ExitUsage)
	if strings.Contains(r.talk, "--overwrite") {
		t.Errorf("a flag that does not exist is named: %s", r.talk)
	}
	if data, err := os.ReadFile(token); err != nil || string(data) != "old" {
		t.Errorf("%q %v", data, err)
	}
}

func TestKeysAreMadeOnce(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	dir := filepath.Join(tm.dir, "keys")
	tm.run(t, "key", "init", "--dir", dir).want(t, 0)
	before, err := os.ReadFile(filepath.Join(dir, "ids.json"))
	if err != nil {
		t.Fatal(err)
	}
	tm.run(t, "key", "init", "--dir", dir).want(t, 0)
	if after, err := os.ReadFile(filepath.Join(dir, "ids.json")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the keys changed: %v", err)
	}
}

func TestTheConfigurationIsShownAndChecked(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	good := tm.file(t, "good.yaml", "edge: {public_url: \"https://connect.example.com\"}\n")
	r := tm.run(t, "config", "show", "--origin", "--config", good).want(t, 0)
	if !strings.Contains(r.out, "https://connect.example.com") || !strings.Contains(r.out, "good.yaml") {
		t.Errorf("%s", r.out)
	}
	full := fmt.Sprintf("edge: {public_url: \"https://connect.example.com\"}\nnats: {url: \"nats://127.0.0.1:4222\"}\nkeys: {dir: %q}\n"+
		"apps: [{name: main, client_id: 11111111-2222-3333-4444-555555555555, client_secret_file: %q}]\n"+
		"accounts: [{name: main, api_key_file: %q}]\n", tm.dir, tm.file(t, "client", "s3cret"), filepath.Join(tm.dir, "api-key"))
	usable := tm.file(t, "usable.yaml", full)
	for process, exit := range map[string]int{"edge": 0, "token-worker": 0, "console": 0, "warmy-worker": service.ExitConfig, "up": service.ExitConfig, "odd": service.ExitUsage} {
		if r := tm.run(t, "config", "validate", "--config", usable, "--for", process).want(t, exit); exit != service.ExitUsage && !strings.Contains(r.talk, usable) {
			t.Errorf("%s: it is not told which file was checked: %s", process, r.talk)
		}
	}
	if r := tm.run(t, "config", "validate", "--config", usable).want(t, service.ExitConfig); !strings.Contains(r.talk, "accounts.main.api_key_file") {
		t.Errorf("%s", r.talk)
	}
	tm.file(t, "api-key", "s3cret")
	tm.run(t, "config", "validate", "--config", usable).want(t, 0)
	if r := tm.run(t, "config", "validate", "--config", good).want(t, service.ExitConfig); !strings.Contains(r.talk, "apps: is missing") {
		t.Errorf("%s", r.talk)
	}
	if r := tm.run(t, "config", "validate").want(t, service.ExitConfig); !strings.Contains(r.talk, "there is no kindling.yaml") {
		t.Errorf("%s", r.talk)
	}
	bad := tm.file(t, "bad.yaml", "edgy: {}\n")
	tm.run(t, "config", "validate", "--config", bad).want(t, service.ExitConfig)
}

func TestExtraCommandsJoinTheTree(t *testing.T) {
	t.Parallel()
	called := false
	err := cli.Run(t.Context(), service.Env{
		Args: []string{"demo"}, Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" },
	}, &cobra.Command{Use: "demo", RunE: func(*cobra.Command, []string) error {
		called = true
		return nil
	}})
	if err != nil || !called {
		t.Errorf("called %v, %v", called, err)
	}
}

func TestCompletionAndVersionNeedNoServer(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.vars["KINDLING_SERVER"] = "http://127.0.0.1:1"
	if r := tm.run(t, "completion", "bash").want(t, 0); !strings.Contains(r.out, "kindling") {
		t.Errorf("%.200s", r.out)
	}
	if r := tm.run(t, "version", "-o", "json").want(t, 0); !strings.Contains(r.out, `"go"`) {
		t.Errorf("%s", r.out)
	}
	if r := tm.run(t, "--help").want(t, 0); !strings.Contains(r.out, "Exit codes") {
		t.Errorf("%s", r.out)
	}
}

func TestNKeysAreMadeOnceForEachProcess(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	dir := filepath.Join(tm.dir, "nkeys")
	made := func() (all string) {
		tm.run(t, "key", "nats", "--dir", dir).want(t, 0)
		for _, name := range []string{"nkeys.conf", "callback-ingest.nk", "token-worker.nk", "warmy-worker.nk", "console.nk", "admin.nk"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		return all
	}
	if first := made(); first != made() {
		t.Error("the second run changed what was there")
	}
	tm.run(t, "key", "nats", "extra").want(t, service.ExitUsage)
}
