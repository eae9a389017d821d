package service

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// running starts server on a free port and returns its address, a stop and its outcome.
func running(t *testing.T, handler http.Handler, bound time.Duration) (string, context.CancelFunc, <-chan error) {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	outcome, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		outcome <- serve(ctx, NewHTTPServer(handler), ln, bound)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return "http://" + ln.Addr().String(), stop, outcome
}

// get asks address in the background and hands over the body, or "cut" when there was none.
func get(t *testing.T, address string) <-chan string {
	t.Helper()
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get(address)
		if err != nil {
			body <- "cut"
			return
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			text = []byte("cut")
		}
		body <- string(text)
	}()
	return body
}

func TestRequestsThatRunMayFinishAtShutdown(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	address, stop, outcome := running(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "whole")
	}), time.Minute)
	body := get(t, address)
	<-entered
	stop()
	refused(t, address)
	close(release)
	if got := <-body; got != "whole" {
		t.Errorf("body = %q", got)
	}
	if err := <-outcome; err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

// refused waits until address takes no new connections.
func refused(t *testing.T, address string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			return
		}
		_ = conn.Close()
		<-tick.C
	}
	t.Error("new connections are taken after the stop")
}

func TestRequestsThatDoNotFinishAreCutOff(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	address, stop, outcome := running(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}), 20*time.Millisecond)
	body := get(t, address)
	<-entered
	stop()
	if err := <-outcome; !errors.Is(err, ErrCutOff) {
		t.Errorf("Serve() = %v, want %v", err, ErrCutOff)
	}
	if got := <-body; got != "cut" {
		t.Errorf("body = %q", got)
	}
}

func TestAServerThatCannotServeSaysSo(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), NewHTTPServer(http.NotFoundHandler()), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve() = %v", err)
	}
}

func TestATakenPortIsUnavailable(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := Listen(t.Context(), ln.Addr().String()); ExitCode(err) != ExitUnavailable || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Listen() = %v", err)
	}
}

func TestEveryServerHasItsLimits(t *testing.T) {
	t.Parallel()
	s := NewHTTPServer(http.NotFoundHandler())
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 10*time.Second || s.WriteTimeout != 15*time.Second ||
		s.IdleTimeout != time.Minute || s.MaxHeaderBytes != 16<<10 {
		t.Errorf("server = %+v", s)
	}
	if drainTime <= s.WriteTimeout {
		t.Error("a request within its limits can be cut off at shutdown")
	}
}

// net/http adds 4 KB of its own to the limit.
func TestLongHeadersAreRefused(t *testing.T) {
	t.Parallel()
	address, _, _ := running(t, http.NotFoundHandler(), time.Second)
	for size, want := range map[int]int{8 << 10: 404, 24 << 10: 431} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Long", strings.Repeat("x", size))
		resp, err := (&http.Client{}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("header of %d bytes: %d, want %d", size, resp.StatusCode, want)
		}
	}
}

func TestAProbeTellsHealthFromTrouble(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for path, status := range map[string]int{"/ok": 200, "/empty": 204, "/sick": 503, "/gone": 404} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	mux.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/ok": "", "/empty": "", "/sick": "probe: status 503", "/gone": "probe: status 404", "/moved": "probe: status 302",
	} {
		err := Probe(t.Context(), server.URL+path)
		if (err == nil) != (want == "") || err != nil && (err.Error() != want || ExitCode(err) != ExitUnavailable) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	server.Close()
	if err := Probe(t.Context(), server.URL+"/ok"); ExitCode(err) != ExitUnavailable {
		t.Errorf("nobody answers: %v", err)
	}
	if err := Probe(t.Context(), "http://\x00"); ExitCode(err) != ExitUsage {
		t.Errorf("no address: %v", err)
	}
}

func TestAProbeGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := Probe(ctx, server.URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe() = %v", err)
	}
}
