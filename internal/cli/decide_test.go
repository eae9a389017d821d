package cli_test

import (
	"slices"
	"strings"
	"testing"

	"kindling/internal/console"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

func TestAnUnclearPostIsSettledFromTheCommandLine(t *testing.T) {
	t.Parallel()
	for verb, c := range map[string]struct {
		args []string
		want events.Decision
	}{
		"adopt":          {[]string{"--warmy-id", "4711"}, events.Decision{WarmyID: "4711", Posts: 1}},
		"declare-absent": {[]string{"--force"}, events.Decision{Posts: 1, Forced: true}},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			tm := newTerminal(t)
			tm.run(t, "campaign", "import", tm.file(t, "one.csv", "email\nada@a.example\n"), "--name", "Spring", "--yes").want(t, 0)
			id := tm.w.Links.Mailbox("main", "ada@a.example")
			args := slices.Concat([]string{"mailbox", verb, "ada@a.example"}, c.args)
			told := slices.Concat(args, []string{"--reason", "ticket 12", "--yes"})
			if r := tm.run(t, told...).want(t, 1); !strings.Contains(r.talk, "no POST of this mailbox is of unknown outcome") {
				t.Errorf("of a mailbox that was never posted: %s", r.talk)
			}
			tm.w.Registrations.Put(id, mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "att", Posts: 1, Since: tm.w.Now()})
			if r := tm.run(t, slices.Concat(args, []string{"--yes"})...).want(t, 64); !strings.Contains(r.talk, "--reason") {
				t.Errorf("without a reason: %s", r.talk)
			}
			if r := tm.run(t, slices.Concat(args, []string{"--reason", "ticket 12"})...).want(t, 64); !strings.Contains(r.talk, "--yes") {
				t.Errorf("unasked: %s", r.talk)
			}
			if n := len(tm.w.Published.All()); n != 0 {
				t.Fatalf("%d decisions were passed on", n)
			}
			done := decode[console.Decided](t, tm.run(t, slices.Concat(told, []string{"-o", "json"})...).want(t, 0))
			sent := tm.w.Published.All()
			if done.Mailbox != id || len(sent) != 1 || sent[0].Kind != events.RegistrationDecided || sent[0].Mailbox != id || sent[0].Decision == nil || *sent[0].Decision != c.want {
				t.Errorf("%+v; passed on %+v", done, sent)
			}
		})
	}
}

func TestAdoptingWantsTheIDThatWarmyShows(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t)
	tm.run(t, "campaign", "import", tm.file(t, "one.csv", "email\nada@a.example\n"), "--name", "Spring", "--yes").want(t, 0)
	tm.w.Registrations.Put(tm.w.Links.Mailbox("main", "ada@a.example"), mailbox.Registration{Phase: mailbox.Uncertain, Attempt: "att", Posts: 1, Since: tm.w.Now()})
	if r := tm.run(t, "mailbox", "adopt", "ada@a.example", "--reason", "x", "--yes").want(t, 64); !strings.Contains(r.talk, "--warmy-id") {
		t.Errorf("%s", r.talk)
	}
	tm.run(t, "mailbox", "adopt", "ada@a.example", "--warmy-id", "47/11", "--reason", "x", "--yes").want(t, 64)
	if n := len(tm.w.Published.All()); n != 0 {
		t.Errorf("%d decisions were passed on", n)
	}
}
