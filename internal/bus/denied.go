package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrDenied means that the NATS user of this process lacks a right. Trying again does not help before an administrator
// has granted it. The error in whose chain it stands is a *DeniedError.
var ErrDenied = errors.New("NATS denies it")

// DeniedError says which right is missing.
type DeniedError struct {
	Process string // as NATS monitoring shows it
	Verb    string // "publish to", "subscribe to", or "connect"
	Subject string // empty for "connect"
}

// Error names the process, the subject and the remedy.
func (d *DeniedError) Error() string {
	if d.Subject == "" {
		return fmt.Sprintf("NATS does not let %s %s: check nats.creds_file against the users that the server knows", d.Process, d.Verb)
	}
	if strings.HasPrefix(d.Subject, api+"STREAM.CREATE.") || strings.HasPrefix(d.Subject, api+"STREAM.UPDATE.") {
		return fmt.Sprintf("NATS does not let %s %s %q: an administrator makes and changes streams, with `kindling store migrate`",
			d.Process, d.Verb, d.Subject)
	}
	right := rightFor(d.Process, d.Subject)
	if d.Verb == verbSubscribe && strings.HasPrefix(d.Subject, inboxOf(d.Process)+".") {
		right = inboxOf(d.Process) + ".>"
	}
	return fmt.Sprintf("NATS does not let %s %s %q: grant %q to its user (docs/operator/manual.md, Rights in NATS)",
		d.Process, d.Verb, d.Subject, right)
}

// Is makes a DeniedError an ErrDenied.
func (*DeniedError) Is(target error) bool { return target == ErrDenied }

const (
	verbPublish   = "publish to"
	verbSubscribe = "subscribe to"
	verbConnect   = "connect"
)

const (
	// denialMemory is how long a denial that is not met again keeps the process unready. It must end by itself: a process
	// that is not ready may get no work that could prove the right.
	denialMemory = time.Minute
	// mostDenials bounds the subjects that are remembered.
	mostDenials = 2 * publishWindow
)

// denials turns what NATS reports on the side into errors of those who wait. NATS answers a denied publish with a line
// to the connection that names its subject, and its sender's question with silence.
type denials struct {
	process string
	inbox   string // prefix of the subjects on which this process hears answers
	log     *slog.Logger
	counted func() // may be nil
	now     func() time.Time

	mu      sync.Mutex
	calls   map[*call]struct{}
	met     map[string]meeting // by subject
	count   uint64             // denials met so far
	changed chan struct{}      // closed and replaced at every denial
	deaf    *DeniedError       // no answer can be heard
	told    func(*DeniedError) // may be nil
}

// meeting is a denial that was met.
type meeting struct {
	denial *DeniedError
	at     time.Time
	number uint64
}

// call is a request that waits for its answer.
type call struct {
	subject string // a pattern, where the request's own subject is not known
	cancel  context.CancelCauseFunc
}

func newDenials(cfg Config) *denials {
	return &denials{
		process: cfg.Name, inbox: inboxOf(cfg.Name) + ".", log: cfg.Log, counted: cfg.Denied, now: time.Now,
		calls: make(map[*call]struct{}), met: make(map[string]meeting), changed: make(chan struct{}),
	}
}

// begin returns a context for one request on subject. It ends as soon as the request is denied. end must be called with
// the request's error; it returns the denial instead of the time-out that the caller saw.
func (d *denials) begin(ctx context.Context, subject string) (_ context.Context, end func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{subject: subject, cancel: cancel}
	d.mu.Lock()
	d.calls[c] = struct{}{}
	if d.deaf != nil {
		cancel(d.deaf)
	}
	d.mu.Unlock()
	return ctx, func(err error) error {
		cause := context.Cause(ctx)
		d.mu.Lock()
		delete(d.calls, c)
		if err == nil && len(d.met) > 0 {
			maps.DeleteFunc(d.met, func(met string, _ meeting) bool { return matches(subject, met) })
		}
		d.mu.Unlock()
		cancel(nil)
		if err != nil && errors.Is(cause, ErrDenied) {
			return cause
		}
		return err
	}
}

// mark returns how many denials were met until now, and a channel that closes at the next one.
func (d *denials) mark() (count uint64, next <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count, d.changed
}

// since returns the denial of a publish to subject that was met after the mark; nil if there is none.
func (d *denials) since(mark uint64, subject string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m, ok := d.met[subject]; ok && m.number > mark {
		return m.denial
	}
	if d.deaf != nil {
		return d.deaf
	}
	return nil
}

// violation matches what the server says: Permissions Violation for Publish to "x", … for Subscription to "x" using
// queue "y", … for Publish with Reply of "x".
var violation = regexp.MustCompile(`(Publish|Subscription) (?:to|with Reply of) ("(?:[^"\\]|\\.)*")`)

func (d *denials) parse(err error) (denial *DeniedError, ok bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil, false
	}
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		return nil, false
	}
	subject, err := strconv.Unquote(found[2])
	denial = &DeniedError{Process: d.process, Verb: verbPublish, Subject: subject}
	if found[1] == "Subscription" {
		denial.Verb = verbSubscribe
	}
	return denial, err == nil
}

// report takes one asynchronous error of the connection.
func (d *denials) report(err error) {
	denial, ok := d.parse(err)
	if !ok {
		d.log.Error("nats_error", "error", err)
		return
	}
	if d.counted != nil {
		d.counted()
	}
	d.log.Error("nats_denied", "verb", denial.Verb, "subject", denial.Subject, "error", denial)
	d.mu.Lock()
	told := d.told
	d.count++
	d.forgetOld()
	d.met[denial.Subject] = meeting{denial: denial, at: d.now(), number: d.count}
	if denial.Verb == verbSubscribe && strings.HasPrefix(denial.Subject, d.inbox) {
		d.deaf = denial
	}
	for c := range d.calls {
		if d.deaf != nil || denial.Verb == verbPublish && matches(c.subject, denial.Subject) {
			c.cancel(denial)
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	if told != nil {
		told(denial)
	}
}

// forgetOld makes room in what is remembered; d.mu is held.
func (d *denials) forgetOld() {
	limit := d.now().Add(-denialMemory)
	maps.DeleteFunc(d.met, func(_ string, m meeting) bool { return m.at.Before(limit) })
	if len(d.met) >= mostDenials {
		clear(d.met)
	}
}

// tell has told called at every denial from now on.
func (d *denials) tell(told func(*DeniedError)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = told
}

// disconnected forgets everything: the server judges the next connection anew.
func (d *denials) disconnected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deaf = nil
	clear(d.met)
}

// current returns the denial that keeps this process from its work; nil if there is none.
func (d *denials) current() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deaf != nil {
		return d.deaf
	}
	d.forgetOld()
	if len(d.met) == 0 {
		return nil
	}
	return d.met[slices.Min(slices.Collect(maps.Keys(d.met)))].denial
}

// matches reports whether pattern, with NATS's wildcards, holds subject.
func matches(pattern, subject string) bool {
	for {
		p, restP, moreP := strings.Cut(pattern, ".")
		s, restS, moreS := strings.Cut(subject, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != s, moreP != moreS:
			return false
		case !moreP:
			return true
		}
		pattern, subject = restP, restS
	}
}
