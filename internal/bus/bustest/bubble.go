package bustest

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// Bubble runs a test in a synctest bubble in which real servers can be started with Server and New: minutes of their
// time pass in moments. The bubble has a process of its own, and others run beside it: see Alone.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		OneBubble(t, f)
	})
}

// OneBubble is Bubble for a test that wants several, one after the other, and runs Alone.
//
// The server keeps one clock per program (package ats), which its first user starts and which waits on a channel that
// no bubble owns: started inside a bubble, it would keep that bubble's time from passing. So it is started outside.
// Listening servers do not work in a bubble, because the time of a bubble stands still while it waits for the network.
func OneBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	ats.Register()
	defer ats.Unregister()
	runtime.GC() // a pool keeps what it holds through one collection, but not through two
	runtime.GC()
	synctest.Test(t, f)
}

// Alone runs a test in a process of its own, in parallel with others: this test alone, run again. NATS keeps used timers
// in pools for the whole program, and a bubble's timer must not be used outside it.
//
// A bubble in which time stands still, because a goroutine waits for a lock whose holder sleeps, ends before the package's
// time does, and shows where each goroutine stood.
func Alone(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideBubble) == t.Name() {
		f(t)
		return
	}
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), program, "-test.run", exactly(t.Name()), "-test.v", "-test.timeout="+timeLeft(t).String()) //nolint:gosec // this very program
	run.Args = append(run.Args, slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool { return !strings.HasPrefix(arg, "-rapid.") })...)
	run.Env = append(os.Environ(), insideBubble+"="+t.Name())
	said, err := run.CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if !chatter.MatchString(line) {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil || !strings.Contains(string(said), "--- PASS: "+t.Name()+" ") {
		t.Errorf("in its bubble: %v", err)
	}
}

// timeLeft is how long a test may still run: somewhat less than all tests together may.
func timeLeft(t *testing.T) time.Duration {
	t.Helper()
	deadline, ok := t.Deadline()
	if !ok {
		return 0
	}
	const toTell = 20 * time.Second // what was found
	return max(time.Until(deadline)-toTell, time.Second).Round(time.Second)
}

// insideBubble names, in the environment, the test that runs in its bubble.
const insideBubble = "KINDLING_TEST_BUBBLE"

// chatter is what the testing package says of a test that passes.
var chatter = regexp.MustCompile(`^\s*(=== |--- PASS:|PASS$)`)

// exactly is the -test.run pattern of one test or subtest.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
