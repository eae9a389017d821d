package bus_test

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// wire is the connection of one process to the server, with the troubles of connections.
type wire struct {
	server nats.InProcessConnProvider

	mu    sync.Mutex
	conns []net.Conn
	dead  bool
	died  chan struct{} // closed at its death
	deaf  time.Time     // until when acknowledgements are lost
}

func newWire(server nats.InProcessConnProvider) *wire {
	return &wire{server: server, died: make(chan struct{})}
}

var errDead = errors.New("the process is dead")

// InProcessConn connects, unless the process is dead.
func (w *wire) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errDead
	}
	conn, err := w.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	w.conns = append(w.conns, conn)
	return lossy{conn, w}, nil
}

// cut breaks the connection; the client may connect again.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close() // broken is broken
	}
	w.conns = nil
}

// kill ends the process as SIGKILL does: what it has not said by now it never says.
func (w *wire) kill() {
	w.mu.Lock()
	if !w.dead {
		w.dead = true
		close(w.died)
	}
	w.mu.Unlock()
	w.cut()
}

func (w *wire) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// loseAcks loses what the process says of its deliveries for a while: acknowledgements, and signs of life.
func (w *wire) loseAcks(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = time.Now().Add(d)
}

func (w *wire) losesAcks() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.deaf)
}

// lossy is a connection whose acknowledgements may go nowhere.
type lossy struct {
	net.Conn

	wire *wire
}

// Write sends p. A lost acknowledgement is published under a subject of the same length that nobody listens to.
func (l lossy) Write(p []byte) (int, error) {
	if !l.wire.losesAcks() {
		return l.Conn.Write(p)
	}
	return l.Conn.Write(bytes.ReplaceAll(p, []byte("PUB $JS.ACK."), []byte("PUB nowhere.")))
}
