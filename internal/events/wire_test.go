package events_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/events"
)

var at = time.Date(2026, 11, 23, 12, 30, 45, 123_000_000, time.UTC)

// samples holds one event of every kind, with every field that kind uses.
func samples() map[string]events.Event {
	code := events.New(events.CodeReceived, "mailbox|attempt|code", at)
	code.Mailbox, code.App, code.Account, code.Campaign, code.Attempt = "mbxmbxmbxmbxmbxmbxmbxmbx", "main", "agency", "camp1", "att1"
	code.Sealed, code.Deadline = []byte("sealed to token-worker"), at.Add(10*time.Minute)
	register := code.Follow(events.RegistrationRequested, at.Add(time.Second))
	register.Proof = &events.Proof{TenantID: "11111111-2222-3333-4444-555555555555", ObjectID: "66666666-7777-8888-9999-000000000000"}
	retried := register.Later(at.Add(time.Minute))
	retried.Tries = []events.Try{{At: at.Add(2 * time.Second), Class: "transient", Code: "warmy_not_sent", Cause: "no connection"}}
	idle := events.New(events.GrantIdle, "idle|mbxmbxmbxmbxmbxmbxmbxmbx|att1", at.Add(25*24*time.Hour)).Later(at.Add(25 * 24 * time.Hour))
	idle.Mailbox, idle.App, idle.Account, idle.Attempt = code.Mailbox, code.App, code.Account, code.Attempt
	reconnect := events.New(events.ReconnectRequested, "reconnect|job1|mbxmbxmbxmbxmbxmbxmbxmbx", at)
	reconnect.Mailbox, reconnect.App, reconnect.Account, reconnect.Campaign = code.Mailbox, code.App, code.Account, code.Campaign
	refused := register.Follow(events.RefreshRequested, at.Add(5*time.Second))
	refused.Refused = at
	decided := register.Follow(events.RegistrationDecided, at.Add(5*time.Second))
	decided.Decision = &events.Decision{WarmyID: "4711", Posts: 2, Forced: true}
	return map[string]events.Event{
		"registration.decided":           decided,
		"reconnect.requested":            reconnect,
		"refresh.requested-refused":      refused,
		"activation.requested":           register.Follow(events.ActivationRequested, at.Add(6*time.Second)),
		"grant.idle":                     idle,
		"code.received":                  code,
		"registration.requested":         register,
		"registration.requested-retried": retried,
		"registration.unclear":           register.Follow(events.RegistrationUnclear, at.Add(3*time.Second)).Later(at.Add(time.Minute)),
		"refresh.requested":              register.Follow(events.RefreshRequested, at.Add(4*time.Second)),
	}
}

// The golden files are the wire form of each version. They are never edited, only added to: what they hold must decode
// for ever.
func TestTheWireFormIsTheGoldenOne(t *testing.T) {
	t.Parallel()
	for name, want := range samples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d-%s.json", want.Version, name)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.Decode(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("decoded golden file differs (-want +got):\n%s", diff)
			}
			encoded, err := events.Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(golden)), string(encoded)); diff != "" {
				t.Errorf("encoded form differs (-golden +got):\n%s", diff)
			}
		})
	}
}

func TestTheDeadLetterOfVersion1Decodes(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile(filepath.Join("testdata", "v1-dead-letter.json"))
	if err != nil {
		t.Fatal(err)
	}
	letter, err := events.DecodeDeadLetter(golden)
	if err != nil {
		t.Fatal(err)
	}
	if letter.Stage != events.Register || letter.Class != "permanent" || len(letter.Tries) != 1 || letter.Forecast != "by_config" {
		t.Errorf("decoded %+v", letter)
	}
	if e, err := events.Decode(letter.Event); err != nil || e.Mailbox != letter.Mailbox {
		t.Errorf("its event: %+v, %v", e, err)
	}
}

func TestDecodeRefusesWhatNoCorrectProducerWrites(t *testing.T) {
	t.Parallel()
	data, err := events.Encode(samples()["code.received"])
	if err != nil {
		t.Fatal(err)
	}
	valid := string(data)
	replace := func(old, with string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("the sample has no %q", old)
		}
		return strings.Replace(valid, old, with, 1)
	}
	for name, input := range map[string]string{
		"empty":                 "",
		"one byte":              "{",
		"random bytes":          "\x00\xff\x13",
		"null":                  "null",
		"array":                 "[]",
		"number":                "7",
		"string":                `"x"`,
		"truncated":             valid[:len(valid)/2],
		"trailing garbage":      valid + "{}",
		"bad UTF-8":             replace("main", "ma\xffn"),
		"deep nesting":          strings.Repeat(`{"v":`, 20_000),
		"no version":            replace(`"v":1,`, ""),
		"version 0":             replace(`"v":1`, `"v":0`),
		"negative version":      replace(`"v":1`, `"v":-1`),
		"unknown kind":          replace("code.received", "code.eaten"),
		"no mailbox":            replace("mbxmbxmbxmbxmbxmbxmbxmbx", ""),
		"address as mailbox":    replace("mbxmbxmbxmbxmbxmbxmbxmbx", "bob@x.example"),
		"wildcard mailbox":      replace("mbxmbxmbxmbxmbxmbxmbxmbx", "*"),
		"right-to-left mailbox": replace("mbxmbxmbxmbxmbxmbxmbxmbx", "a\u202eb"),
		"dotted app":            replace(`"app":"main"`, `"app":"ma.in"`),
		"no account":            replace(`"account":"agency"`, `"account":""`),
		"no time":               replace(`"at":"2026-11-23T12:30:45.123Z"`, `"at":"0001-01-01T00:00:00Z"`),
		"deadline before birth": replace("2026-11-23T12:40:45", "2026-11-23T12:20:45"),
		"code without code":     replace(`"sealed":"c2VhbGVkIHRvIHRva2VuLXdvcmtlcg=="`, `"sealed":""`),
		"sealed not base64":     replace("c2VhbGVk", "????"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e, err := events.Decode([]byte(input)); err == nil {
				t.Errorf("decoded as %+v", e)
			} else if errors.Is(err, events.ErrNewer) {
				t.Errorf("taken for a newer version: %v", err)
			}
		})
	}
}

func TestANewerVersionIsLeftForANewerBuild(t *testing.T) {
	t.Parallel()
	if _, err := events.Decode([]byte(`{"v":2,"kind":"mailbox.teleported"}`)); !errors.Is(err, events.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestAnOlderBuildLeavesAnIdleGrantForANewerOne(t *testing.T) {
	t.Parallel()
	idle := samples()["grant.idle"]
	// An older build reads up to version 1, and looks at the version before it looks at the kind.
	if idle.Version <= events.Version || idle.Follow(events.RefreshRequested, at).Version != events.Version {
		t.Errorf("grant.idle is of version %d", idle.Version)
	}
	data, err := events.Encode(idle)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Decode([]byte(strings.Replace(string(data), `"v":2`, `"v":3`, 1))); !errors.Is(err, events.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestADecisionIsOneAndStandsWhereItBelongs(t *testing.T) {
	t.Parallel()
	data, err := events.Encode(samples()["registration.decided"])
	if err != nil {
		t.Fatal(err)
	}
	valid := string(data)
	for name, input := range map[string]string{
		"missing":         strings.Replace(valid, `"decision":`, `"decided":`, 1),
		"another kind's":  strings.NewReplacer("registration.decided", "registration.unclear", `"v":2`, `"v":1`).Replace(valid),
		"no id of theirs": strings.Replace(valid, "4711", "../4711", 1),
		"negative":        strings.Replace(valid, `"posts":2`, `"posts":-2`, 1),
	} {
		if _, err := events.Decode([]byte(input)); err == nil || !strings.Contains(err.Error(), "field decision") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if follow := samples()["registration.decided"].Follow(events.RegistrationRequested, at); follow.Decision != nil {
		t.Error("what follows carries the decision on")
	}
}

func TestAMailboxHasOneTimerForItsIdleGrant(t *testing.T) {
	t.Parallel()
	first, second := samples()["grant.idle"], samples()["grant.idle"]
	second.ID, second.Attempt = "another", "att2"
	at1, due1 := first.TimerSubjects()
	at2, due2 := second.TimerSubjects()
	if at1 != at2 || due1 != due2 || !first.Agrees(due1) || !first.Agrees(first.Subject()) {
		t.Errorf("%s and %s, %s and %s", at1, at2, due1, due2)
	}
	for subject, want := range map[string][2]bool{at1: {true, false}, due1: {true, true}} {
		if idle, due := events.IsIdleTimer(subject); idle != want[0] || due != want[1] {
			t.Errorf("%s: %v, %v", subject, idle, due)
		}
	}
	_, other := samples()["refresh.requested"].TimerSubjects()
	if idle, _ := events.IsIdleTimer(other); idle {
		t.Errorf("%s is taken for the timer of an idle grant", other)
	}
}

func TestAnUnknownFieldIsAccepted(t *testing.T) {
	t.Parallel()
	data, err := events.Encode(samples()["refresh.requested"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Decode([]byte(strings.Replace(string(data), `{`, `{"colour":"red",`, 1))); err != nil {
		t.Errorf("a field of a newer producer is refused: %v", err)
	}
}

func TestFollowDerivesTheSameIDEachTime(t *testing.T) {
	t.Parallel()
	e := samples()["code.received"]
	first, second := e.Follow(events.RegistrationRequested, at), e.Follow(events.RegistrationRequested, at.Add(time.Hour))
	if first.ID != second.ID || first.ID == e.ID || first.Sealed != nil || !first.Deadline.IsZero() {
		t.Errorf("followed by %+v and %+v", first, second)
	}
	if e.Replayed(7, at).ID == e.ID || e.Replayed(7, at).ID == e.Replayed(8, at).ID {
		t.Error("a replay's id must depend on the dead letter alone")
	}
}

func TestSubjectsHoldIdsOnly(t *testing.T) {
	t.Parallel()
	all := samples()
	for name, want := range map[string]string{
		"code.received":          "kindling.code.main.mbxmbxmbxmbxmbxmbxmbxmbx",
		"refresh.requested":      "kindling.refresh.main.mbxmbxmbxmbxmbxmbxmbxmbx",
		"registration.requested": "kindling.register.agency." + events.Slot("camp1") + ".mbxmbxmbxmbxmbxmbxmbxmbx",
	} {
		e := all[name]
		if got := e.Subject(); got != want || !e.Agrees(got) || e.Agrees(got+"x") {
			t.Errorf("%s is published under %s, want %s", name, got, want)
		}
	}
	unclear := all["registration.unclear"]
	waits, due := unclear.TimerSubjects()
	if waits != "kindling.at.reconcile.agency.mbxmbxmbxmbxmbxmbxmbxmbx."+unclear.ID || due != "kindling.due.reconcile.agency.mbxmbxmbxmbxmbxmbxmbxmbx."+unclear.ID || !unclear.Agrees(due) {
		t.Errorf("timers %s, %s", waits, due)
	}
}
