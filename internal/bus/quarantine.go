package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/secret"
)

// What a broken producer writes is neither handled nor lost. A message that is no event becomes a dead letter with its
// bytes in it. One that carries a readable secret becomes a dead letter without them, is erased from its stream, and
// raises an alarm. One of a newer version waits for a newer build.

// newerDelay is how long an event of a newer version waits for a build that can read it.
const newerDelay = 30 * time.Second

var (
	errMisplaced = errors.New("the event does not belong under its subject")
	errAhead     = errors.New("the event says that it happened later than now")
)

// exposure is the error of a message that carries what nobody may read.
type exposure struct {
	kind  secret.Kind
	where string // payload, sealed, header or subject
}

func (x exposure) Error() string { return string(x.kind) + " in the " + x.where }

// address is what an exposure calls an e-mail address in a subject.
const address secret.Kind = "address"

// read returns the event of a delivery, or why it is none that may be handled.
func read(subject string, headers nats.Header, payload []byte, now time.Time) (events.Event, error) {
	if err := exposed(subject, headers, payload); err != nil {
		return events.Event{}, err
	}
	e, err := events.Decode(payload)
	if err != nil {
		return events.Event{}, err
	}
	switch kind := secret.Find(e.Sealed); {
	case kind != "":
		return events.Event{}, exposure{kind, "sealed"}
	case !e.Agrees(subject):
		return events.Event{}, errMisplaced
	case e.Ahead(now):
		return e, errAhead
	}
	return e, nil
}

// exposed looks for readable secrets wherever a producer can put one.
func exposed(subject string, headers nats.Header, payload []byte) error {
	if strings.Contains(subject, "@") {
		return exposure{address, "subject"}
	}
	for name, values := range headers {
		if secretHeader(name) {
			return exposure{secret.Credential, "header"}
		}
		for _, value := range values {
			if kind := secret.Find([]byte(value)); kind != "" {
				return exposure{kind, "header"}
			}
		}
	}
	if kind := secret.Find(payload); kind != "" {
		return exposure{kind, "payload"}
	}
	return nil
}

// secretHeader reports whether a header's name says that its value is a secret.
func secretHeader(name string) bool {
	switch name { // on every message of ours
	case headerUUID, headerTraceparent, jetstream.MsgIDHeader:
		return false
	}
	name = strings.ToLower(name)
	for _, part := range []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// refuse ends a delivery that read refused. e is what could be read of it.
func (w *worker) refuse(ctx context.Context, d *delivery, payload []byte, e events.Event, cause error) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), concludeTime)
	defer cancel()
	if found, ok := errors.AsType[exposure](cause); ok {
		return w.alarm(ctx, d, found)
	}
	if errors.Is(cause, events.ErrNewer) {
		w.bus.log.WarnContext(ctx, "newer_event_left", "lane", w.lane.Lane, "subject", d.msg.Subject(), "deliveries", d.deliveries)
		d.nakAfter(newerDelay)
		return "left", errGivenBack
	}
	f := notAnEvent(cause)
	if errors.Is(cause, errAhead) {
		f = fromTheFuture(cause)
	}
	if err := w.bus.bury(ctx, d, payload, e, w.lane.Lane, f, time.Now()); err != nil {
		w.warn(ctx, "dead_letter_not_stored", e, err)
		d.nakAfter(republishDelay)
		return "left", errGivenBack
	}
	w.bus.log.ErrorContext(ctx, "dead_letter", "lane", w.lane.Lane, "mailbox", e.Mailbox, "fault", f.Code, "error", cause)
	return "dead", nil
}

// alarm keeps a dead letter that says what was found and where, and erases the message. Nothing of its content is
// stored, logged or counted. The letter comes first: whoever erases without a word hides a leak.
func (w *worker) alarm(ctx context.Context, d *delivery, found exposure) (string, error) {
	w.bus.log.ErrorContext(ctx, "security_alarm", "lane", w.lane.Lane, "stream_position", d.origin, "found", string(found.kind), "where", found.where)
	err := w.bus.buryWithheld(ctx, d, w.lane.Lane, readable(found), time.Now())
	if err == nil {
		err = w.bus.erase(ctx, d.msg)
	}
	if err != nil {
		w.warn(ctx, "secret_not_erased", events.Event{}, err)
		d.nakAfter(newerDelay)
		return "left", errGivenBack
	}
	return "alarm", nil
}

// buryWithheld is bury for a message of which nothing may be kept.
func (b *Bus) buryWithheld(ctx context.Context, d *delivery, lane events.Lane, f *fault.Fault, now time.Time) error {
	_, err := b.storeLetter(ctx, remains{origin: d.origin, lane: lane}, events.DeadLetter{
		Version: events.Version, Event: json.RawMessage("null"), Stage: lane, Subject: withoutAddress(d.msg.Subject()),
		Class: string(f.Class), Code: f.Code, Cause: f.Cause, Remedy: f.Remedy, Forecast: string(f.Forecast),
		Tries: addTry(nil, f, now), DiedAt: now.UTC(),
	})
	return err
}

// withoutAddress hides the tokens of a subject from the one that holds an address on.
func withoutAddress(subject string) string {
	tokens := strings.Split(subject, ".")
	for i, token := range tokens {
		if strings.Contains(token, "@") {
			return strings.Join(append(tokens[:i:i], "withheld"), ".")
		}
	}
	return subject
}

// erase overwrites a message on the disk, which an acknowledgement does not.
func (b *Bus) erase(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("find the message: %w", err)
	}
	stream, err := b.stream(ctx, meta.Stream)
	if err != nil {
		return err
	}
	if err := stream.SecureDeleteMsg(ctx, meta.Sequence.Stream); err != nil && !isNoMessage(err) {
		return fmt.Errorf("erase from %s: %w: %w", meta.Stream, ErrUnavailable, err)
	}
	return nil
}

func readable(found exposure) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "secret_exposed", Forecast: fault.Never, Err: found,
		Cause:  "a message carried something readable that must be sealed (" + found.Error() + "); it was erased",
		Remedy: "find the producer and stop it, revoke what it exposed, send the owner a new link; then discard the dead letter",
	}
}

func fromTheFuture(err error) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "clock_ahead", Forecast: fault.ByConfig, Err: err,
		Cause:  "the event says that it happened later than now: a machine's clock is wrong",
		Remedy: "set the clocks of all machines right, then replay; a code needs a new link",
	}
}

// largestLetter leaves room for the headers within what the stream of dead letters takes.
const largestLetter = 2*maxMessage - 8<<10

// encodeLetter returns the wire form of a dead letter, if need be with a shorter history, or with its event in base64:
// a letter that the stream refuses for its size would come back for ever.
func encodeLetter(letter events.DeadLetter, payload []byte) ([]byte, error) {
	data, err := events.EncodeDeadLetter(letter)
	if err != nil || len(data) <= largestLetter {
		return data, err
	}
	letter.Tries = letter.Tries[max(0, len(letter.Tries)-1):]
	if data, err = events.EncodeDeadLetter(letter); err != nil || len(data) <= largestLetter {
		return data, err
	}
	letter.Event = events.QuoteBytes(payload)
	return events.EncodeDeadLetter(letter)
}
