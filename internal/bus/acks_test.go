package bus_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
)

// lagging connects to a server whose words arrive late.
type lagging struct {
	*embed.Server

	late atomic.Int64 // nanoseconds
}

type piece struct {
	data []byte
	due  time.Time
}

// InProcessConn returns a connection on which the server's words are delayed.
func (l *lagging) InProcessConn() (net.Conn, error) {
	server, err := l.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(server, theirs); _ = server.Close() }()
	pieces := make(chan piece, 100_000)
	go func() {
		defer close(pieces)
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			pieces <- piece{bytes.Clone(buf[:n]), time.Now().Add(time.Duration(l.late.Load()))}
		}
	}()
	go func() {
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			_, _ = theirs.Write(p.data)
		}
		_ = theirs.Close()
	}()
	return ours, nil
}

// A disk that syncs slowly, an election, a far site: the answers come later than the acknowledgements are sent again.
func TestAnswersThatComeLateConfirmAllTheSame(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		l := &lagging{Server: bustest.Server(t)}
		b, err := bus.Connect(t.Context(), bus.Config{InProcess: l, Name: "test", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if _, err := b.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		handled := make(chan time.Time, 10)
		h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
			handled <- time.Now()
			return nil, nil
		}}
		serve(t, b, bus.ServeConfig{Drain: time.Second}, bus.Lane{Lane: events.Register, Leg: "main", Window: 1, Fleet: 8, Policy: quick, Handler: h})
		time.Sleep(time.Second)
		l.late.Store(int64(3500 * time.Millisecond))
		for _, mb := range []string{"a", "b"} {
			if err := b.Publish(t.Context(), event(events.RegistrationRequested, mb)); err != nil {
				t.Fatal(err)
			}
		}
		first := receive(t, handled, "first event")
		second := receive(t, handled, "second event") // the window of 1 is free when the first acknowledgement is confirmed
		if took := second.Sub(first); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("the place in the window was free after %v", took)
		}
		l.late.Store(0)
	})
}
