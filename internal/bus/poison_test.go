package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// poisonedURL tells this test's binary that it is the worker, and where its server is.
const poisonedURL = "KINDLING_TEST_POISONED_WORKER"

// deadlyHandler kills its process at the poison, as running out of memory or a fault in C would: nothing is recovered,
// given back or written down.
type deadlyHandler struct{}

func (deadlyHandler) Handle(_ context.Context, e events.Event) ([]events.Event, error) {
	if e.Mailbox == "poison" {
		fmt.Println("poisoned")
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
		select {} // the signal is under way
	}
	fmt.Println("handled", e.Mailbox)
	return nil, nil
}

func (deadlyHandler) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

// TestPoisonedWorker is no test: it is the worker that the next one starts and watches die.
func TestPoisonedWorker(t *testing.T) { //nolint:paralleltest // it is alone in its process
	url := os.Getenv(poisonedURL)
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
	err = b.Serve(ctx, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: policy, Handler: deadlyHandler{}})
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
	shortAckWait(t, p)
	poison := event(events.RegistrationRequested, "poison")
	batch := []events.Event{event(events.RegistrationRequested, "early"), poison}
	for i := range 300 {
		batch = append(batch, event(events.RegistrationRequested, fmt.Sprintf("mb%03d", i)))
	}
	if err := b.Publish(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	deaths, said := workUntil(t, s.ClientURL(), func() bool {
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

// shortAckWait makes the lane's consumer with a wait that a test can bear. Workers take it as it is.
func shortAckWait(t *testing.T, p *producer) {
	t.Helper()
	_, err := p.js.CreateConsumer(t.Context(), "REGISTER", jetstream.ConsumerConfig{
		Durable: "register-main", FilterSubject: "kindling.register.main.>", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 500 * time.Millisecond, MaxAckPending: 16, MaxDeliver: -1, MaxWaiting: 512,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// workUntil runs a worker, and another one when it dies, until done. It returns how many were killed and what all said.
func workUntil(t *testing.T, url string, done func() bool) (deaths int, said string) {
	t.Helper()
	var out lines
	deadline := time.Now().Add(2 * time.Minute)
	for {
		worker := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPoisonedWorker$") //nolint:gosec // this very binary
		worker.Env = append(os.Environ(), poisonedURL+"="+url)
		worker.Stdout, worker.Stderr = &out, &out
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- worker.Wait() }()
		tick := time.NewTicker(20 * time.Millisecond)
		for dead := false; !dead; {
			select {
			case err := <-ended:
				dead = true
				exit, ok := errors.AsType[*exec.ExitError](err)
				if status, is := exit.Sys().(syscall.WaitStatus); !ok || !is || status.Signal() != syscall.SIGKILL {
					t.Fatalf("a worker ended by itself: %v\n%s", err, out.String())
				}
				deaths++
			case <-tick.C:
				if done() {
					tick.Stop()
					if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
						t.Error(err)
					}
					if err := <-ended; err != nil {
						t.Errorf("the last worker: %v\n%s", err, out.String())
					}
					return deaths, out.String()
				}
				if time.Now().After(deadline) {
					_ = worker.Process.Kill()
					<-ended
					t.Fatalf("not done after %d deaths:\n%s", deaths, out.String())
				}
			}
		}
		tick.Stop()
	}
}
