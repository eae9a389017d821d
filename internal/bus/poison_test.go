package bus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// poisonedURL tells this test's binary that it is the worker, and where its server is.
const poisonedURL = "KINDLING_TEST_POISONED_WORKER"

// say tells the parent. It is written before say returns, whatever comes then.
func say(what string) { _, _ = os.Stdout.WriteString(what + "\n") }

// deadlyHandler kills its process at the poison, as running out of memory or a fault in C would: nothing is recovered,
// given back or written down.
type deadlyHandler struct{}

func (deadlyHandler) Handle(_ context.Context, e events.Event) ([]events.Event, error) {
	if e.Mailbox == "poison" {
		say("poisoned")
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
		select {} // the signal is under way
	}
	say("handled " + e.Mailbox)
	return nil, nil
}

func (deadlyHandler) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

// TestPoisonedWorker is no test: it is the worker that the next one starts and watches die.
func TestPoisonedWorker(t *testing.T) { //nolint:paralleltest // it is alone in its process
	url := os.Getenv(poisonedURL) //nolint:forbidigo // this process is the test's
	if url == "" {
		return
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "poisoned", Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	policy := bus.Policy{Attempts: 3, Base: time.Millisecond, Cap: 5 * time.Millisecond, Crashes: 5}
	err = b.Serve(ctx, bus.ServeConfig{},
		bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: policy, Handler: deadlyHandler{}},
		bus.Lane{Lane: events.Code, Leg: "main", Window: 4, Policy: policy, Handler: deadlyHandler{}})
	if err != nil {
		t.Fatal(err)
	}
}

// A message that kills its process is buried after at most five deliveries, and everything else is handled.
func TestAMessageThatKillsItsProcessIsBuried(t *testing.T) {
	t.Parallel()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), LazySync: true, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	b := bustest.Connect(t, s)
	p := newProducer(t, s)
	poison := event(events.RegistrationRequested, "poison")
	batch := []events.Event{event(events.RegistrationRequested, "early"), poison}
	for i := range 300 {
		batch = append(batch, event(events.RegistrationRequested, fmt.Sprintf("mb%03d", i)))
	}
	if err := b.Publish(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	deaths, said := workUntil(t, s.ClientURL(), b, p, func() bool {
		n, err := bus.Waiting(t.Context(), b, "REGISTER")
		return err == nil && n == 0 && len(deadLetters(t, b)) > 0
	})
	if n := strings.Count(said, "poisoned\n"); n != deaths || n == 0 || n > 5 {
		t.Errorf("the poison was handled %d times and killed %d workers: five must be the end of it", n, deaths)
	}
	letters := deadLetters(t, b)
	if len(letters) != 1 {
		t.Errorf("%d are buried", len(letters))
	}
	for _, letter := range letters {
		if letter.Mailbox != "poison" || letter.Code != "crash_loop" {
			t.Errorf("%s is buried: %s", letter.Mailbox, letter.Code)
		}
	}
	for _, e := range batch {
		if e.Mailbox != "poison" && !strings.Contains(said, "handled "+e.Mailbox+"\n") {
			t.Errorf("%s was not handled", e.Mailbox)
		}
	}
}

// workUntil runs a worker, and another one when it dies, until done. It returns how many were killed and what all said.
//
// What a dead worker held comes back after the ack wait, which is too long for a test. Workers refuse to start with a
// shorter one, so it is made short when a worker says that it works, and long again when it is dead. It says so in a lane
// of its own: what the dead one held fills the other.
func workUntil(t *testing.T, url string, b *bus.Bus, p *producer, done func() bool) (deaths int, said string) {
	t.Helper()
	var out lines
	for {
		knock := fmt.Sprintf("knock%d", deaths)
		if err := b.Publish(t.Context(), event(events.CodeReceived, knock)); err != nil {
			t.Fatal(err)
		}
		w := startWorker(t, url, &out)
		hurried := false
		eventually(t, "the worker dies or all is done", func() bool {
			if !hurried && strings.Contains(out.String(), "handled "+knock+"\n") {
				hurried = true
				p.ackWait(t, 300*time.Millisecond)
			}
			return w.dead() || done()
		})
		if !w.dead() {
			w.stop(t)
			return deaths, out.String()
		}
		if !w.killed() {
			t.Fatalf("a worker ended by itself: %v\n%s", w.err, out.String())
		}
		p.ackWait(t, 30*time.Second)
		deaths++
	}
}

// childWorker is a worker in a process of its own.
type childWorker struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // valid when ended is closed
}

func startWorker(t *testing.T, url string, out io.Writer) *childWorker {
	t.Helper()
	w := &childWorker{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPoisonedWorker$"), ended: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), poisonedURL+"="+url) //nolint:forbidigo // as above
	w.cmd.Stdout, w.cmd.Stderr = out, out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.ended)
	}()
	return w
}

func (w *childWorker) dead() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *childWorker) killed() bool {
	exit, ok := errors.AsType[*exec.ExitError](w.err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

func (w *childWorker) stop(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	receive(t, w.ended, "end of the worker")
	if w.err != nil {
		t.Errorf("the last worker: %v", w.err)
	}
}
