package bus_test

import (
	"net"
	"sync"
)

// icy is the connection of a process that can be stopped as SIGSTOP does it, seen from outside: it says and hears
// nothing, its connections stay, and what it meant to say is said when it goes on. Nobody ever waits in it while he holds
// a lock, or the time of a bubble would stand still.
type icy struct {
	*wire

	wrote func([]byte) // hears what the process has written

	mu     sync.Mutex
	frozen bool
	thawed chan struct{} // closed at the next thaw
	queued []queued
}

type queued struct {
	conn net.Conn
	data []byte
}

func newIcy(w *wire) *icy { return &icy{wire: w, thawed: make(chan struct{})} }

// InProcessConn connects, unless the process is dead or stopped.
func (i *icy) InProcessConn() (net.Conn, error) {
	i.mu.Lock()
	frozen := i.frozen
	i.mu.Unlock()
	if frozen {
		return nil, errDead
	}
	conn, err := i.wire.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &icyConn{Conn: conn, icy: i, came: make(chan []byte, 1024), shut: make(chan struct{})}
	go c.pump()
	return c, nil
}

func (i *icy) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.frozen = true
}

// thaw lets the process go on.
func (i *icy) thaw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, q := range i.queued {
		_, _ = q.conn.Write(q.data) // the connection may have been given up meanwhile
	}
	i.queued, i.frozen = nil, false
	close(i.thawed)
	i.thawed = make(chan struct{})
}

// queue keeps what a stopped process would say; false if it is not stopped.
func (i *icy) queue(conn net.Conn, p []byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.frozen {
		i.queued = append(i.queued, queued{conn, append([]byte(nil), p...)})
	}
	return i.frozen
}

// wait returns when the process is not stopped.
func (i *icy) wait() {
	for {
		i.mu.Lock()
		frozen, thawed := i.frozen, i.thawed
		i.mu.Unlock()
		if !frozen {
			return
		}
		<-thawed
	}
}

type icyConn struct {
	net.Conn

	icy  *icy
	came chan []byte // closed at the end of the connection
	rest []byte
	once sync.Once
	shut chan struct{}
}

// pump takes what the server says, as a kernel does for a process that is stopped.
func (c *icyConn) pump() {
	defer close(c.came)
	for {
		buffer := make([]byte, 32<<10)
		n, err := c.Conn.Read(buffer)
		if n > 0 {
			select {
			case c.came <- buffer[:n]:
			case <-c.shut:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Read returns what came, once the process is not stopped.
func (c *icyConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		data, ok := <-c.came
		if !ok {
			return 0, net.ErrClosed
		}
		c.rest = data
	}
	c.icy.wait()
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends p, or keeps it.
func (c *icyConn) Write(p []byte) (int, error) {
	if c.icy.queue(c.Conn, p) {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		c.icy.wrote(p)
	}
	return n, err
}

// Close ends the connection.
func (c *icyConn) Close() error {
	c.once.Do(func() { close(c.shut) })
	return c.Conn.Close()
}
