package warmy_test

import (
	"bufio"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// TestAGetOnAConnectionThatBreaksIsNotRepeated speaks to a server that keeps connections, takes a call on one that was used
// before, and hangs up. Go's transport would make the call again, out of no budget.
func TestAGetOnAConnectionThatBreaksIsNotRepeated(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var arrived atomic.Int32
	heads := make(chan string, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerOnce(conn, &arrived, heads)
		}
	}()
	pace := &pacer{}
	c := newClient(t, bearer("http://"+listener.Addr().String()), pace, 5*time.Second)
	if _, err := c.Plans(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Plans(t.Context(), "main")
	got := wants(t, err, fault.Transient, "warmy_connection_lost")
	if arrived.Load() != 2 || pace.count() != 2 || !got.Outage {
		t.Errorf("%d calls arrived, %d were paced", arrived.Load(), pace.count())
	}
	if head := <-heads; strings.Contains(head, "Content-Length") || strings.Contains(head, "Transfer-Encoding") {
		t.Errorf("a GET has a body: %q", head)
	}
}

// answerOnce answers the first call of a connection, and takes the second without an answer.
func answerOnce(conn net.Conn, arrived *atomic.Int32, heads chan<- string) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		var head strings.Builder
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
			head.WriteString(line)
		}
		arrived.Add(1)
		heads <- head.String()
		if n > 0 {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
	}
}

// TestAGetOverHTTP2HasNoBody: there an empty body is an empty frame at most.
func TestAGetOverHTTP2HasNoBody(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.ProtoMajor != 2 || len(body) > 0 || err != nil || r.Header.Get("Content-Length") != "" {
			t.Errorf("%s with %d bytes, %v", r.Proto, len(body), r.Header)
		}
		say(200, "[]")(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := warmy.Transport()
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	t.Cleanup(transport.CloseIdleConnections)
	c := warmy.New(warmy.Config{Accounts: []warmy.Account{bearer(server.URL)}, Transport: transport, Timeout: 5 * time.Second})
	if _, err := c.Plans(t.Context(), "main"); err != nil {
		t.Error(err)
	}
}
