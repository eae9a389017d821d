package warmy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// TestAConnectionThatGoesAwayCausesNoSecondPost speaks HTTP/2, in which a server takes its leave with a GOAWAY. One that
// has taken the POST before it goes may have done what it says.
func TestAConnectionThatGoesAwayCausesNoSecondPost(t *testing.T) {
	t.Parallel()
	lender := httptest.NewTLSServer(http.NotFoundHandler()) // of its certificate
	t.Cleanup(lender.Close)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var posts atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go goAway(conn, &posts)
		}
	}()
	transport := warmy.Transport()
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(lender.Certificate())
	t.Cleanup(transport.CloseIdleConnections)
	c := warmy.New(warmy.Config{Accounts: []warmy.Account{bearer("https://" + listener.Addr().String())}, Transport: transport, Timeout: 5 * time.Second})
	got := wants(t, create(t.Context(), c), fault.Unclear, "warmy_connection_lost")
	if n := posts.Load(); n != 1 || !got.Outage {
		t.Errorf("%d posts, outage %t", n, got.Outage)
	}
}

// goAway reads one whole request, says that it was the last one that it takes, and hangs up (RFC 9113 § 4.1, § 6.8).
func goAway(conn net.Conn, posts *atomic.Int32) {
	defer func() { _ = conn.Close() }()
	const (
		preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		data      = 0x0
		endStream = 0x1
	)
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	if _, err := io.ReadFull(conn, make([]byte, len(preface))); err != nil {
		return
	}
	if _, err := conn.Write(settings); err != nil {
		return
	}
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return
		}
		if head[3] == data && head[4]&endStream != 0 {
			posts.Add(1)
			bye := []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, head[5], head[6], head[7], head[8], 0, 0, 0, 0}
			_, _ = conn.Write(bye)
			return
		}
	}
}
