package warmy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"kindling/internal/fault"
	"kindling/internal/leg"
)

const (
	// callDeadline bounds one call from dial to last byte.
	callDeadline = 15 * time.Second
	// maxAnswer bounds the answer to a change, maxListing that of a listing of 100 mailboxes.
	maxAnswer  = 256 << 10
	maxListing = 4 << 20
	// waitUnsaid is how long to wait after a 429 that does not say: Warmy counts per minute.
	waitUnsaid = time.Minute
	// waitMost bounds what a Retry-After may ask for.
	waitMost = 10 * time.Minute
	// LeavesWithin is how long after its turn a call may leave: what the Pacer's reserve allows. While the store stands all
	// processes hold their turns, and would leave at once when it goes on.
	LeavesWithin = 300 * time.Millisecond
	// renewEvery is after what wait for another turn a call's intent is renewed: its lease runs (mailbox.PostLease).
	renewEvery = 20 * time.Second
)

// Transport returns the transport for calls to Warmy: no proxy from the environment, TLS 1.2 at least. Idle
// connections go early, because a POST on one that the server has just closed has an unclear outcome.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       15 * time.Second,
		ResponseHeaderTimeout: callDeadline,
	}
}

// call is one request.
type call struct {
	method string
	path   string
	body   any                             // nil: none
	limit  int                             // of the answer's length
	within time.Duration                   // the deadline, if it is shorter than the client's; 0: it is not
	intend func(ctx context.Context) error // called last before each request; nil: nothing is to be done
	begun  bool                            // intend was called
	sign   func(header http.Header)        // adds what proves the account
}

// answer is what came back of a call.
type answer struct {
	sent   bool // a byte may have left
	status int  // 0: none came
	header http.Header
	body   []byte
	err    error // of the connection
	large  bool  // the body was cut at the limit
}

// whole reports whether the answer came completely.
func (a answer) whole() bool { return a.status != 0 && a.err == nil && !a.large }

// do waits for the pace, in session mode also for the session, and makes one call. The error is one of before the call;
// what came of it is in the answer.
func (c *Client) do(ctx context.Context, account string, q call) (answer, error) {
	w, err := c.account(account)
	if err != nil {
		return answer{}, err
	}
	if w.Auth == Session {
		return c.inSession(ctx, w, q)
	}
	ready := func(ctx context.Context) error { return c.wait(ctx, account) }
	if err := prepare(ctx, &q, ready); err != nil {
		return answer{}, err
	}
	q.sign = w.bearer
	return c.send(ctx, w, q), nil
}

// prepare returns when q may be sent at once: its turn has come, by ready, and its intent is saved. If that took too long
// after the turn, it waits for one more: not for a third, since a store that is always slow must not keep every call back.
// A call that is sent again, because it certainly had no effect, saves its intent again: the first one may be over.
func prepare(ctx context.Context, q *call, ready func(context.Context) error) error {
	wait := ready
	if q.begun {
		wait = func(ctx context.Context) error { return again(ctx, q, ready) }
	}
	if err := wait(ctx); err != nil || q.intend == nil {
		return err
	}
	turn := time.Now()
	if err := q.save(ctx); err != nil {
		return err
	}
	if time.Since(turn) <= LeavesWithin {
		return nil
	}
	return again(ctx, q, ready)
}

// save saves the call's intent. When that fails for one that was saved before, there was still no call: a fault that says
// so takes the first one back.
func (q *call) save(ctx context.Context) error {
	err := q.intend(ctx)
	if _, known := errors.AsType[*fault.Fault](err); err != nil && q.begun && !known {
		f := notSent("the intent to call could not be renewed", nil)
		f.Class, f.After, f.Err = fault.RetryAfter, time.Second, err
		return f
	}
	q.begun = q.begun || err == nil
	return err
}

// again waits for another turn of a call whose intent is saved, before those that have begun nothing. At a slow pace that
// can take longer than the intent lasts, so it is renewed meanwhile.
func again(ctx context.Context, q *call, ready func(context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(leg.Begun(ctx), renewEvery)
		err := ready(limited)
		over := limited.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !over {
			return err
		}
		if err := q.save(ctx); err != nil {
			return err
		}
	}
}

// send makes the request within the deadline.
func (c *Client) send(ctx context.Context, w *workspace, q call) answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(min(q.within, c.timeout), c.timeout))
	defer cancel()
	sent, left := c.now(), time.Now()
	got := c.roundTrip(ctx, w, q)
	w.hear(got.header, sent, c.now())
	f := failed(got, c.now())
	if f != nil && f.Class == fault.RetryAfter {
		// If the Pacer cannot be told, the call's own event waits in any case.
		_ = c.pace.Throttled(context.WithoutCancel(ctx), w.Name, left, f.After)
	}
	if speaks(f) {
		leg.Asked(ctx, f != nil && f.Outage)
	}
	return got
}

// speaks reports whether a call's outcome says anything of Warmy's health. Our own stop does not, nor a call that could not
// be made; and neither a 429 nor a request that took too long must make up for the failures around it.
func speaks(f *fault.Fault) bool {
	return f == nil || f.Class != fault.RetryAfter && f.Code != codeUnbuilt && f.Code != codeSlow && !errors.Is(f.Err, context.Canceled)
}

// wait spends one call of the account's budget. It comes last before the call: a spent call must not wait further.
func (c *Client) wait(ctx context.Context, account string) error {
	err := c.pace.Wait(ctx, account)
	var f *fault.Fault
	if err == nil || errors.As(err, &f) {
		return err // the Pacer's own fault
	}
	return notSent("the account's budget had no room for this call in time", err)
}

func (c *Client) roundTrip(ctx context.Context, w *workspace, q call) answer {
	var sent atomic.Bool // the transport writes in a goroutine of its own
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	req, err := newRequest(httptrace.WithClientTrace(ctx, trace), w, q)
	if err != nil {
		return answer{err: errUnbuilt}
	}
	once(req, &sent)
	resp, err := c.transport.RoundTrip(req) // of itself it follows no redirect, which would re-post the tokens to another host, and keeps no cookie
	if err != nil {
		return answer{sent: sent.Load(), err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(q.limit)+1))
	return answer{
		sent: true, status: resp.StatusCode, header: resp.Header, body: body[:min(len(body), q.limit)],
		err: err, large: len(body) > q.limit,
	}
}

// errRepeated ends a call that the transport would repeat.
var errRepeated = errors.New("the connection broke after the request was written")

// once stops net/http from resending a request that may have arrived. Before a retry it calls GetBody, which fails once the
// headers were written. A GET gets an empty body for that purpose.
func once(req *http.Request, sent *atomic.Bool) {
	again := req.GetBody
	if req.Body == nil || req.Body == http.NoBody {
		again = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
		req.Body, _ = again()
	}
	req.GetBody = func() (io.ReadCloser, error) {
		if sent.Load() {
			return nil, errRepeated
		}
		return again()
	}
}

// newRequest builds the request. It must not carry an Idempotency-Key: Go's transport would then repeat a POST by itself.
func newRequest(ctx context.Context, w *workspace, q call) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if q.body != nil {
		data, err := json.Marshal(q.body)
		if err != nil {
			return nil, err // becomes a fault
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, w.BaseURL+q.path, body)
	if err != nil {
		return nil, err // becomes a fault
	}
	req.Header.Set("Accept", "application/json")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("holder-uid", w.HolderUID)
	q.sign(req.Header)
	if !sendable(req) {
		return nil, errUnbuilt
	}
	return req, nil
}

var errUnbuilt = errors.New("no request can be made of it")

// sendable reports whether a request can be made at all: the address is one of the web, and no header has a line break.
func sendable(req *http.Request) bool {
	if req.URL.Host == "" || req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return false
	}
	for _, values := range req.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, unprintable) }) {
			return false
		}
	}
	return true
}

// unprintable is what net/http refuses in a header.
func unprintable(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// notSent is a call that certainly had no effect.
func notSent(cause string, err error) *fault.Fault {
	f := &fault.Fault{
		Class: fault.Transient, Code: "warmy_not_sent", Forecast: fault.ByTime, Cause: cause,
		Remedy: "none: nothing was sent, and it is tried again",
	}
	switch {
	case errors.Is(err, context.Canceled):
		f.Err = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		f.Err = context.DeadlineExceeded
	}
	return f
}

// unsent words why no byte left.
func unsent(err error) *fault.Fault {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errUnbuilt):
		return down(codeUnbuilt, "no request can be made with the account's base_url, holder_uid and credentials", "correct base_url; look for a line break in the others; then release the leg")
	case errors.Is(err, context.Canceled):
		return notSent("this worker was shut down before the call", err)
	case errors.As(err, &name):
		return unreachable("Warmy's name does not resolve")
	case errors.As(err, &certificate):
		return unreachable("the server's certificate is not valid for Warmy's address")
	}
	return unreachable("no connection to Warmy could be made; nothing was sent")
}

func unreachable(cause string) *fault.Fault {
	f := notSent(cause, nil)
	f.Code = codeUnreachable
	return f
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// retryAfter reads a Retry-After header (RFC 9110 § 10.2.3). Nonsense counts as unsaid: a negative number must not
// become a tight loop.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		if seconds < 0 {
			return waitUnsaid
		}
		return max(time.Duration(min(seconds, int64(waitMost/time.Second)))*time.Second, time.Second)
	}
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return waitMost // longer than an int64 holds
	}
	if at, err := http.ParseTime(text); err == nil {
		if said, err := http.ParseTime(header.Get("Date")); err == nil {
			now = said // the clock that wrote the other date; this machine's may be off
		}
		return min(max(at.Sub(now), time.Second), waitMost)
	}
	return waitUnsaid
}
