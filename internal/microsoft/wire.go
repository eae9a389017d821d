package microsoft

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"kindling/internal/fault"
)

const (
	// maxAnswer bounds what is read of an answer; tokens of 12 KB have been seen.
	maxAnswer = 64 << 10
	// callDeadline bounds one call from dial to last byte; a code's lease is built on it.
	callDeadline = 15 * time.Second
	// poolSize is how many calls to one host may be under way without new connections.
	poolSize = 256
)

// Transport returns the transport for calls to Microsoft: no proxy from the environment, TLS 1.2 at least, and
// connections for poolSize concurrent calls to one host.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          2 * poolSize,
		MaxIdleConnsPerHost:   poolSize,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: callDeadline,
		ExpectContinueTimeout: time.Second,
	}
}

// httpClient follows no redirect: a 307 would carry the client secret and the code to another host.
func httpClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what came back of one request, read before anything interprets it: a parser's defect must not cost a consent.
type answer struct {
	sent   atomic.Bool // a byte may have left
	status int         // 0: none came
	header http.Header
	body   []byte
	err    error // of the connection
	large  bool  // the body was cut at maxAnswer
}

// failed reports whether a status came that is not a success. Such an answer is judged even if its body did not come whole.
func (a *answer) failed() bool { return a.status != 0 && (a.status < 200 || a.status > 299) }

// recorder is a RoundTripper that keeps the answer of the one request that passes through it.
type recorder struct {
	base http.RoundTripper
	got  *answer
}

// RoundTrip sends the request and reads its answer whole.
func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{WroteHeaders: func() { r.got.sent.Store(true) }}
	resp, err := r.base.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		r.got.err = err
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	r.got.status, r.got.header = resp.StatusCode, resp.Header
	r.got.large = len(body) > maxAnswer
	r.got.body, r.got.err = body[:min(len(body), maxAnswer)], err
	resp.Body = io.NopCloser(bytes.NewReader(r.got.body))
	return resp, nil
}

// bounded is a RoundTripper whose answers end at maxAnswer, for libraries that read without a bound.
type bounded struct{ base http.RoundTripper }

// RoundTrip sends the request and bounds its answer.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// unreachableFor is how long the leg rests when Microsoft cannot be reached at all. Short, because codes are dying; what
// was never sent must not count against a code, whose sends are few.
const unreachableFor = 2 * time.Second

// broken classifies a call whose connection failed; nil if it did not. Whether a code that may have been sent is sent
// again is the handler's decision; here it only matters that later may work.
func (a *answer) broken(ctx context.Context, who string) *fault.Fault {
	f := &fault.Fault{
		Class: fault.Transient, Forecast: fault.ByTime, Remedy: "none: it is tried again; look at the network if this lasts",
	}
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case a.err == nil && !a.large:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		f.Code, f.Cause, f.Err = who+"_interrupted", "the call was cut off by this worker's shutdown", context.Canceled
	case a.large:
		f.Code, f.Cause = who+"_unreadable", "the answer is longer than any answer of Microsoft"
	case isTimeout(a.err) && a.sent.Load():
		f.Code, f.Cause, f.Err = who+"_timeout", "no complete answer came within the deadline", context.DeadlineExceeded
	case a.sent.Load():
		f.Code, f.Cause = who+"_connection_lost", "the connection broke before a complete answer came"
	case errors.As(a.err, &certificate):
		f.Class, f.After = fault.LegDown, unreachableFor
		f.Code, f.Cause = who+"_tls", "the server's certificate is not valid for Microsoft's address"
		f.Remedy = "look for a proxy that opens TLS, a missing CA, or a wrong clock"
	case errors.As(a.err, &name):
		f.Class, f.After = fault.LegDown, unreachableFor
		f.Code, f.Cause = who+"_unreachable", "the server's name does not resolve"
	default:
		f.Class, f.After = fault.LegDown, unreachableFor
		f.Code, f.Cause = who+"_unreachable", "no connection could be made; nothing was sent"
	}
	return f
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// judged marks a fault that is an outage of the dependency itself: nothing else may open a breaker.
func judged(f *fault.Fault) *fault.Fault {
	_, kind, _ := strings.Cut(f.Code, "_")
	switch kind {
	case "timeout", "connection_lost", "unreachable", "tls", "5xx":
		f.Outage = true
	}
	return f
}

const (
	// waitUnsaid is how long to wait after a 429 that does not say (MSAL blocks 60 s).
	waitUnsaid = time.Minute
	// waitMost bounds what a Retry-After may ask for.
	waitMost = 10 * time.Minute
)

// retryAfter reads a Retry-After header (RFC 9110 § 10.2.3). Nonsense counts as unsaid: a negative number must not
// become a tight loop.
func retryAfter(header http.Header, now time.Time, unsaid time.Duration) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		if seconds < 0 {
			return unsaid
		}
		return max(time.Duration(min(seconds, int64(waitMost/time.Second)))*time.Second, time.Second)
	}
	if isDigits(text) {
		return waitMost // longer than an int64 holds
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), time.Second), waitMost)
	}
	return unsaid
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
