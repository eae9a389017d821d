package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The time-outs of every server, chosen against slow clients that would hold connections.
const (
	readHeaderTime = 5 * time.Second  // a header sent slower than this is an attack or a dead line
	readTime       = 10 * time.Second // bodies are at most some kilobytes
	writeTime      = 15 * time.Second // from the end of the header to the end of the answer
	idleTime       = 60 * time.Second
	maxHeader      = 16 << 10 // bytes; Go's default is 1 MB
	drainTime      = 20 * time.Second
	probeTime      = 3 * time.Second
)

// ErrCutOff says that requests were still running when the time to drain was over.
var ErrCutOff = errors.New("requests cut off at shutdown")

// NewHTTPServer makes a server with the time-outs and the header limit of every listener.
// A handler that streams must lift its own write deadline with http.ResponseController, and
// end when the server's RegisterOnShutdown says so.
func NewHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
	}
}

// Listen opens a TCP listener on address, which is host:port.
// A taken port or a forbidden address is an error with exit code ExitUnavailable.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, WithExit(ExitUnavailable, err)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends, then takes no new ones and lets those that
// run finish. It returns nil when all finished, ErrCutOff when some had to be cut off, and
// the server's error when it could not serve. It closes ln.
func Serve(ctx context.Context, server *http.Server, ln net.Listener) error {
	return serve(ctx, server, ln, drainTime)
}

func serve(ctx context.Context, server *http.Server, ln net.Listener, bound time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		_ = server.Close() // the cut-off itself is the news
		err = fmt.Errorf("drain: %w", ErrCutOff)
	}
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", end))
	}
	return err
}

// Probe asks a health address of this or another process and returns nil on any 2xx answer.
// It lets an image without a shell check itself. Redirects are not followed and no proxy is
// used. Its error has exit code ExitUnavailable.
func Probe(ctx context.Context, address string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{
		Transport:     transport,
		Timeout:       probeTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return WithExit(ExitUsage, fmt.Errorf("probe: %w", err))
	}
	resp, err := client.Do(req)
	if err != nil {
		return WithExit(ExitUnavailable, fmt.Errorf("probe: %w", err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return WithExit(ExitUnavailable, fmt.Errorf("probe: status %d", resp.StatusCode))
	}
	return nil
}
