package microsoft_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/microsoft"
)

const loginHost = "login.example"

// certificate is one for host, valid until then, and a pool that trusts it.
func certificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until, DNSNames: []string{host}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// secure is a client whose login host is loginHost and lies at address, and who trusts pool.
func secure(t *testing.T, address string, pool *x509.CertPool) (*microsoft.Client, *http.Transport) {
	t.Helper()
	transport := microsoft.Transport()
	transport.TLSClientConfig.RootCAs = pool
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	t.Cleanup(transport.CloseIdleConnections)
	app := publicApp("openid", "User.Read", "Mail.Send", "Mail.ReadWrite")
	app.LoginURL = "https://" + loginHost
	return microsoft.New(microsoft.Config{Apps: []microsoft.App{app}, Transport: transport, Now: clock, Timeout: patience}), transport
}

func TestACertificateThatIsNotMicrosoftsGetsNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host  string
		until time.Time
		trust bool
		code  string
	}{
		"valid":      {loginHost, time.Now().Add(time.Hour), true, ""},
		"expired":    {loginHost, time.Now().Add(-time.Hour), true, "microsoft_tls"},
		"wrong host": {"evil.example", time.Now().Add(time.Hour), true, "microsoft_tls"},
		"unknown CA": {loginHost, time.Now().Add(time.Hour), false, "microsoft_tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate, pool := certificate(t, c.host, c.until)
			var hits atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				answerJSON(http.StatusOK, goodGrant())(w, r)
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			if !c.trust {
				pool = x509.NewCertPool()
			}
			client, _ := secure(t, server.Listener.Addr().String(), pool)
			err := redeem(t.Context(), client)
			if c.code == "" {
				if err != nil || hits.Load() != 1 {
					t.Fatalf("%v after %d requests", err, hits.Load())
				}
				return
			}
			if f := wants(t, err, fault.LegDown, c.code, ""); !f.Outage || hits.Load() != 0 {
				t.Errorf("outage %t, %d requests", f.Outage, hits.Load())
			}
		})
	}
}

func TestAProxyThatRefusesGetsNothing(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			asked.Add(1)
		}
		if body, _ := io.ReadAll(r.Body); len(body) > 0 {
			t.Error("the proxy saw the request")
		}
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, transport := secure(t, at.Host, x509.NewCertPool())
	transport.Proxy = http.ProxyURL(at)
	wants(t, redeem(t.Context(), client), fault.LegDown, "microsoft_unreachable", "")
	if asked.Load() == 0 {
		t.Error("the proxy was not asked")
	}
}

// goAway speaks just enough of HTTP/2 to take one request and end the connection without an answer (RFC 9113 § 6.8).
func goAway(conn net.Conn, requests *atomic.Int32) {
	defer func() { _ = conn.Close() }()
	if _, err := io.ReadFull(conn, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return
	}
	_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // an empty SETTINGS frame
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(append([]byte{0}, head[:3]...))
		if _, err := io.CopyN(io.Discard, conn, int64(length)); err != nil {
			return
		}
		const headers, ended = 1, 1
		if head[3] == headers {
			requests.Add(1)
		}
		if head[3] <= headers && head[4]&ended != 0 { // DATA or HEADERS, the last of the request
			frame := []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2} // GOAWAY, internal error
			copy(frame[9:13], head[5:9])                                       // "this request may have been processed"
			_, _ = conn.Write(frame)
			return
		}
	}
}

func TestAConnectionThatIsToldToGoAwayAsksOnce(t *testing.T) {
	t.Parallel()
	certificate, pool := certificate(t, loginHost, time.Now().Add(time.Hour))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var requests atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go goAway(conn, &requests)
		}
	}()
	client, _ := secure(t, listener.Addr().String(), pool)
	f := wants(t, redeem(t.Context(), client), fault.Transient, "microsoft_connection_lost", "")
	if !f.Outage || requests.Load() != 1 {
		t.Errorf("outage %t, %d requests", f.Outage, requests.Load())
	}
}

func TestAWrongDateOfTheServerIsIgnored(t *testing.T) {
	t.Parallel()
	server := newFake(t)
	client := server.client(t)
	for _, date := range []string{"Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2099 23:59:59 GMT", "yesterday"} {
		dated := func(next http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", date)
				next(w, r)
			}
		}
		server.onToken(dated(answerJSON(http.StatusOK, goodGrant())))
		tokens, err := client.Redeem(t.Context(), "main", consent())
		if err != nil || tokens.Expiry.Sub(clock()) != 75*time.Minute {
			t.Errorf("%s: expires %s, %v", date, tokens.Expiry, err)
		}
		server.onToken(dated(answerText(http.StatusTooManyRequests, "", "Retry-After", clock().Add(30*time.Second).Format(http.TimeFormat))))
		if f := fault.Of(redeem(t.Context(), client)); f.After != 30*time.Second {
			t.Errorf("%s: wait %s", date, f.After)
		}
	}
}
