package embed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus/embed"
)

// disk is a store's place that a test can fill and free.
type disk struct {
	dir  string
	full func(t *testing.T) // from now on a write fails sooner or later
	free func(t *testing.T) // writes succeed again
}

const reserve = 4 << 20

func TestTheServerHealsWhenItsFullFileSystemHasRoomAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" { //nolint:forbidigo // whether a test may be left out
		t.Skip("no right to mount a small file system here: the test of the file size limit and the one in a container stand for this one")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	heals(t, disk{
		dir: filepath.Join(dir, "store"),
		full: func(t *testing.T) {
			t.Helper()
			if err := os.WriteFile(ballast, make([]byte, 20<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		free: func(t *testing.T) {
			t.Helper()
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// envLimited marks the process that runs under a file size limit: the limit is the whole process's.
const envLimited = "KINDLING_TEST_FILE_SIZE_LIMIT"

func TestTheServerHealsWhenAFileSizeLimitIsLifted(t *testing.T) {
	t.Parallel()
	if os.Getenv(envLimited) == "" { //nolint:forbidigo // tells the second process from the first
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), envLimited+"=1") //nolint:forbidigo // as this process has it
		if out, err := again.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	limit := func(bytes uint64) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: math.MaxUint64}); err != nil {
				t.Fatal(err)
			}
		}
	}
	heals(t, disk{dir: t.TempDir(), full: limit(1 << 19), free: limit(math.MaxUint64)})
}

// heals fills the disk under a server with traffic and frees it: what was acknowledged must be there, whatever was
// refused must work again, and no work item may have become silent.
func heals(t *testing.T, d disk) {
	t.Helper()
	logs := &log{}
	s, err := embed.Start(embed.Options{Dir: d.dir, Reserve: reserve, Log: slog.New(slog.NewTextHandler(logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	store := *s.NATS().JetStreamConfig()
	c := connect(t, s)
	c.must(c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"facts.>"}, MaxBytes: 1 << 30, Discard: jetstream.DiscardNew}))
	c.must(c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy}))
	work, err := c.js.CreateConsumer(t.Context(), "WORK", jetstream.ConsumerConfig{Durable: "w", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	const items = 8
	for i := range items {
		if err := c.publish(fmt.Sprintf("work.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := work.Fetch(3)
	if err != nil {
		t.Fatal(err)
	}
	var held []jetstream.Msg
	for msg := range batch.Messages() {
		held = append(held, msg)
	}

	c.asks(t) // all the time: whoever waits for answers must not disturb the healing
	d.full(t)
	acked := 0
	for c.publish(fmt.Sprintf("facts.%d", acked)) == nil {
		acked++
	}
	eventually(t, "JetStream is stopped", func() bool { return !s.NATS().JetStreamEnabled() })
	if err := s.Ready(t.Context()); !errors.Is(err, embed.ErrDisk) {
		t.Errorf("with a full disk readiness is %v", err)
	}
	for _, msg := range held {
		if err := c.ack(msg); err == nil {
			t.Error("an acknowledgement was confirmed that cannot be on disk")
		}
	}
	if err := c.publish("facts.late"); err == nil {
		t.Error("a publish was acknowledged on a full disk")
	}

	d.free(t)
	eventually(t, "the server is ready again", func() bool { return s.Ready(t.Context()) == nil })
	eventually(t, "what was refused is stored", func() bool { return c.publish("facts.late") == nil })
	c.wants(t, acked)
	c.drains(t, work, items)
	if after := *s.NATS().JetStreamConfig(); after != store || !after.SyncAlways {
		t.Errorf("JetStream started again with other settings: %+v instead of %+v", after, store)
	}
	for _, word := range []string{"msg=disk_full", "msg=disk_healed"} {
		if n := strings.Count(logs.String(), word); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", word, n, logs)
		}
	}
}

func TestTheServerDoesNotStartOnADiskWithoutRoom(t *testing.T) {
	t.Parallel()
	s, err := embed.Start(embed.Options{Dir: t.TempDir(), Reserve: math.MaxInt64})
	if err == nil {
		_ = s.Stop()
	}
	if !errors.Is(err, embed.ErrDisk) || !strings.Contains(err.Error(), "free space") {
		t.Errorf("the start ended with %v", err)
	}
}

// client speaks to the server as a bus does.
type client struct {
	t  *testing.T
	js jetstream.JetStream
}

func connect(t *testing.T, s *embed.Server) client {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return client{t, js}
}

// asks asks the server for its account until the test ends.
func (c client) asks(t *testing.T) {
	t.Helper()
	var asking sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); asking.Wait() })
	asking.Go(func() {
		for ctx.Err() == nil {
			once, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			_, _ = c.js.AccountInfo(once) // without an answer while the disk is full
			cancel()
		}
	})
}

func (c client) must(_ jetstream.Stream, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c client) publish(subject string) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	_, err := c.js.Publish(ctx, subject, make([]byte, 20<<10), jetstream.WithRetryAttempts(0))
	return err
}

func (c client) ack(msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	return msg.DoubleAck(ctx)
}

// wants every acknowledged fact in its place.
func (c client) wants(t *testing.T, acked int) {
	t.Helper()
	stream, err := c.js.Stream(t.Context(), "FACTS")
	if err != nil {
		t.Fatal(err)
	}
	if acked == 0 {
		t.Error("nothing was acknowledged before the disk was full: this proves nothing")
	}
	for i := range acked {
		msg, err := stream.GetLastMsgForSubject(t.Context(), fmt.Sprintf("facts.%d", i))
		if err != nil || len(msg.Data) != 20<<10 {
			t.Errorf("acknowledged fact %d of %d: %v", i, acked, err)
		}
	}
}

// drains wants every work item delivered, and nothing left in the stream then.
func (c client) drains(t *testing.T, work jetstream.Consumer, items int) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, "every work item is delivered again", func() bool {
		batch, err := work.Fetch(items, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return false
		}
		for msg := range batch.Messages() {
			if err := c.ack(msg); err != nil {
				t.Errorf("acknowledge %s: %v", msg.Subject(), err)
			}
			seen[msg.Subject()] = true
		}
		return len(seen) == items
	})
	eventually(t, "the queue is empty", func() bool {
		stream, err := c.js.Stream(t.Context(), "WORK")
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
