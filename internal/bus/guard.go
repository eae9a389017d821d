package bus

import (
	"cmp"
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// guarded is JetStream whose requests fail at once when NATS denies them, with the right that is missing, instead of
// timing out. What is not here (pulls, acknowledgements, publishes whose acknowledgement nobody awaits yet) is reported
// by the denials alone.
type guarded struct {
	jetstream.JetStream

	denials *denials
	reach   *reach
}

const api = jetstream.DefaultAPIPrefix

func (g guarded) AccountInfo(ctx context.Context) (*jetstream.AccountInfo, error) {
	return ask(ctx, g.denials, api+"INFO", g.JetStream.AccountInfo)
}

func (g guarded) PublishMsg(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (ack *jetstream.PubAck, err error) {
	g.reach.writes.asked(time.Now())
	defer func() { g.reach.writes.ended(time.Now(), err) }()
	return ask(ctx, g.denials, msg.Subject, func(ctx context.Context) (*jetstream.PubAck, error) {
		return g.JetStream.PublishMsg(ctx, msg, opts...)
	})
}

func (g guarded) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	return g.stream(ctx, "STREAM.INFO.", name, func(ctx context.Context) (jetstream.Stream, error) {
		return g.JetStream.Stream(ctx, name)
	})
}

func (g guarded) CreateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	return g.stream(ctx, "STREAM.CREATE.", cfg.Name, func(ctx context.Context) (jetstream.Stream, error) {
		return g.JetStream.CreateStream(ctx, cfg)
	})
}

func (g guarded) UpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	return g.stream(ctx, "STREAM.UPDATE.", cfg.Name, func(ctx context.Context) (jetstream.Stream, error) {
		return g.JetStream.UpdateStream(ctx, cfg)
	})
}

func (g guarded) stream(
	ctx context.Context, verb, name string, do func(context.Context) (jetstream.Stream, error),
) (jetstream.Stream, error) {
	stream, err := ask(ctx, g.denials, api+verb+name, do)
	if err != nil {
		return nil, err
	}
	return guardedStream{Stream: stream, name: name, denials: g.denials}, nil
}

func (g guarded) DeleteStream(ctx context.Context, name string) error {
	return tell(ctx, g.denials, api+"STREAM.DELETE."+name, func(ctx context.Context) error {
		return g.JetStream.DeleteStream(ctx, name)
	})
}

func (g guarded) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	return ask(ctx, g.denials, api+"CONSUMER.INFO."+stream+"."+name, func(ctx context.Context) (jetstream.Consumer, error) {
		return g.JetStream.Consumer(ctx, stream, name)
	})
}

func (g guarded) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	return ask(ctx, g.denials, createSubject(stream, cfg), func(ctx context.Context) (jetstream.Consumer, error) {
		return g.JetStream.CreateConsumer(ctx, stream, cfg)
	})
}

func (g guarded) UpdateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	return ask(ctx, g.denials, createSubject(stream, cfg), func(ctx context.Context) (jetstream.Consumer, error) {
		return g.JetStream.UpdateConsumer(ctx, stream, cfg)
	})
}

func (g guarded) DeleteConsumer(ctx context.Context, stream, name string) error {
	return tell(ctx, g.denials, api+"CONSUMER.DELETE."+stream+"."+name, func(ctx context.Context) error {
		return g.JetStream.DeleteConsumer(ctx, stream, name)
	})
}

func (g guarded) PauseConsumer(ctx context.Context, stream, name string, until time.Time) (*jetstream.ConsumerPauseResponse, error) {
	return ask(ctx, g.denials, api+"CONSUMER.PAUSE."+stream+"."+name, func(ctx context.Context) (*jetstream.ConsumerPauseResponse, error) {
		return g.JetStream.PauseConsumer(ctx, stream, name, until)
	})
}

func (g guarded) ResumeConsumer(ctx context.Context, stream, name string) (*jetstream.ConsumerPauseResponse, error) {
	return ask(ctx, g.denials, api+"CONSUMER.PAUSE."+stream+"."+name, func(ctx context.Context) (*jetstream.ConsumerPauseResponse, error) {
		return g.JetStream.ResumeConsumer(ctx, stream, name)
	})
}

// createSubject is where nats.go asks for a consumer.
func createSubject(stream string, cfg jetstream.ConsumerConfig) string {
	subject := api + "CONSUMER.CREATE." + stream + "." + cmp.Or(cfg.Name, cfg.Durable)
	if cfg.FilterSubject != "" {
		subject += "." + cfg.FilterSubject
	}
	return subject
}

// guardedStream is a stream whose requests fail at once when NATS denies them.
type guardedStream struct {
	jetstream.Stream

	name    string
	denials *denials
}

func (s guardedStream) Info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	return ask(ctx, s.denials, api+"STREAM.INFO."+s.name, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return s.Stream.Info(ctx, opts...)
	})
}

func (s guardedStream) Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error {
	return tell(ctx, s.denials, api+"STREAM.PURGE."+s.name, func(ctx context.Context) error {
		return s.Stream.Purge(ctx, opts...)
	})
}

func (s guardedStream) GetMsg(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return ask(ctx, s.denials, api+"STREAM.MSG.GET."+s.name, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.Stream.GetMsg(ctx, seq, opts...)
	})
}

func (s guardedStream) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	return ask(ctx, s.denials, api+"STREAM.MSG.GET."+s.name, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.Stream.GetLastMsgForSubject(ctx, subject)
	})
}

func (s guardedStream) DeleteMsg(ctx context.Context, seq uint64) error {
	return tell(ctx, s.denials, api+"STREAM.MSG.DELETE."+s.name, func(ctx context.Context) error {
		return s.Stream.DeleteMsg(ctx, seq)
	})
}

func (s guardedStream) SecureDeleteMsg(ctx context.Context, seq uint64) error {
	return tell(ctx, s.denials, api+"STREAM.MSG.DELETE."+s.name, func(ctx context.Context) error {
		return s.Stream.SecureDeleteMsg(ctx, seq)
	})
}

func (s guardedStream) OrderedConsumer(ctx context.Context, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	return ask(ctx, s.denials, api+"CONSUMER.CREATE."+s.name+".>", func(ctx context.Context) (jetstream.Consumer, error) {
		return s.Stream.OrderedConsumer(ctx, cfg)
	})
}

func (s guardedStream) ConsumerNames(ctx context.Context) jetstream.ConsumerNameLister {
	ctx, end := s.denials.begin(ctx, api+"CONSUMER.NAMES."+s.name)
	return guardedNames{s.Stream.ConsumerNames(ctx), end}
}

func (s guardedStream) ListConsumers(ctx context.Context) jetstream.ConsumerInfoLister {
	ctx, end := s.denials.begin(ctx, api+"CONSUMER.LIST."+s.name)
	return guardedInfos{s.Stream.ListConsumers(ctx), end}
}

// guardedNames and guardedInfos are lists that end at once when NATS denies them. Err must be called, as it must be anyway.
type guardedNames struct {
	jetstream.ConsumerNameLister

	end func(error) error
}

// Err tells why the list is not complete.
func (l guardedNames) Err() error { return l.end(l.ConsumerNameLister.Err()) }

type guardedInfos struct {
	jetstream.ConsumerInfoLister

	end func(error) error
}

// Err tells why the list is not complete.
func (l guardedInfos) Err() error { return l.end(l.ConsumerInfoLister.Err()) }

// await waits until an asynchronous publish is stored, refused or denied. mark is the denials' before it was sent.
func (d *denials) await(ctx context.Context, mark uint64, future jetstream.PubAckFuture) error {
	for {
		_, next := d.mark()
		if err := d.since(mark, future.Msg().Subject); err != nil {
			return err
		}
		select {
		case <-future.Ok():
			return nil
		case err := <-future.Err():
			return err
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func ask[T any](ctx context.Context, d *denials, subject string, do func(context.Context) (T, error)) (T, error) {
	ctx, end := d.begin(ctx, subject)
	answer, err := do(ctx)
	return answer, end(err)
}

func tell(ctx context.Context, d *denials, subject string, do func(context.Context) error) error {
	ctx, end := d.begin(ctx, subject)
	return end(do(ctx))
}
