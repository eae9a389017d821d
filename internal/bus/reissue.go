package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
)

// reissue publishes e and reports whether the stream took it for a new one. Timers have no message ids else: here they do,
// so that two walks leave one.
func (b *Bus) reissue(ctx context.Context, e events.Event) (fresh bool, err error) {
	msg, err := eventMsg(ctx, e)
	if err != nil {
		return false, err
	}
	ack, err := b.js.PublishMsg(ctx, msg, jetstream.WithMsgID(messageID(e)))
	if err != nil {
		return false, publishError(err)
	}
	return !ack.Duplicate, nil
}

func (b *Bus) restoreLetter(ctx context.Context, loss handlers.Loss) (fresh bool, err error) {
	e, finding := loss.Event, loss.Due.Finding
	payload, err := events.Encode(e)
	if err != nil {
		return false, err
	}
	lane := loss.Due.Lane
	if lane == "" {
		lane = e.Kind.Lane()
	}
	f := &fault.Fault{Class: finding.Class, Code: finding.Code, Cause: finding.Cause, Remedy: finding.Remedy, Forecast: finding.Forecast}
	return b.storeLetter(ctx, remains{subject: e.Subject(), payload: payload, event: e, lane: lane}, events.DeadLetter{
		Version: events.Version, Event: events.Quote(payload), Mailbox: e.Mailbox, App: e.App, Account: e.Account, Campaign: e.Campaign,
		Stage: lane, Subject: e.Subject(), Class: string(f.Class), Code: f.Code, Cause: f.Cause, Remedy: f.Remedy, Forecast: string(f.Forecast),
		Tries: addTry(nil, f, finding.At), DiedAt: finding.At.UTC(),
	})
}
