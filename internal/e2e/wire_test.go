//go:build e2e

package e2e

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// wire is a client's way to one node, which the test can cut: then nothing passes any more, in neither direction, and
// nobody is told. What was on its way arrives when it is mended, as with TCP.
type wire struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	mended chan struct{} // closed while the wire is whole
	barred bool
	open   map[net.Conn]bool
}

// wires gives a client a wire to each node, and the URL of all of them.
func (c *cluster) wires(t *testing.T) ([]*wire, string) {
	t.Helper()
	var all []*wire
	var urls []string
	for _, n := range c.nodes {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{listener: listener, target: n.clients, mended: make(chan struct{}), open: make(map[net.Conn]bool)}
		close(w.mended)
		t.Cleanup(w.close)
		go w.serve()
		all = append(all, w)
		urls = append(urls, "nats://"+listener.Addr().String())
	}
	return all, strings.Join(urls, ",")
}

func (w *wire) serve() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.carry(client)
	}
}

func (w *wire) carry(client net.Conn) {
	defer w.forget(client)
	if !w.keep(client) {
		return
	}
	<-w.whole()
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer w.forget(server)
	if !w.keep(server) {
		return
	}
	ended := make(chan struct{}, 2)
	go w.copy(server, client, ended)
	go w.copy(client, server, ended)
	<-ended
}

func (w *wire) copy(to, from net.Conn, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		<-w.whole() // an end is not heard of either while the wire is cut
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) whole() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mended
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[c] = !w.barred
	return !w.barred
}

func (w *wire) forget(c io.Closer) {
	_ = c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if conn, ok := c.(net.Conn); ok {
		delete(w.open, conn)
	}
}

// used reports whether somebody is connected.
func (w *wire) used() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open) > 0
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.mended:
		w.mended = make(chan struct{})
	default: // cut already
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.mended:
	default:
		close(w.mended)
	}
}

// bar sends the client to another node, or lets it come again.
func (w *wire) bar(barred bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.barred = barred
	for c := range w.open {
		if barred {
			_ = c.Close()
		}
	}
}

func (w *wire) close() {
	_ = w.listener.Close()
	w.mend()
	w.bar(true)
}
