package bus

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// SetServerClock lets b see a server whose clock is off by so much at each moment, the moment being the bubble's. All that go by
// one server are to be given the same function.
func SetServerClock(ctx context.Context, b *Bus, off func(at time.Time) time.Duration) error {
	const name = "KV_" + bucketControl
	stream, err := b.stream(ctx, name)
	if err != nil {
		return err
	}
	b.handles.Store(name, setClock{stream, off})
	return b.askClock(ctx)
}

// setClock is the control bucket on a server whose clock is off.
type setClock struct {
	jetstream.Stream

	off func(at time.Time) time.Duration
}

// Info is the stream's, with the server's time.
func (s setClock) Info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := s.Stream.Info(ctx, opts...)
	if err == nil {
		info.TimeStamp = info.TimeStamp.Add(s.off(info.TimeStamp))
	}
	return info, err
}

// GetLastMsgForSubject is the stream's, with the time at which the server stored it.
func (s setClock) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := s.Stream.GetLastMsgForSubject(ctx, subject)
	if err == nil {
		msg.Time = msg.Time.Add(s.off(msg.Time))
	}
	return msg, err
}

// SilenceBudgets lets reads of call budgets go without an answer while silent says so, as during an election of the control
// bucket's leader.
func SilenceBudgets(ctx context.Context, b *Bus, silent func() bool) error {
	const name = "KV_" + bucketControl
	stream, err := b.stream(ctx, name)
	if err != nil {
		return err
	}
	b.handles.Store(name, silentBudgets{stream, silent})
	return nil
}

// silentBudgets is the control bucket without answers about call budgets.
type silentBudgets struct {
	jetstream.Stream

	silent func() bool
}

// GetLastMsgForSubject is the stream's, or has no answer.
func (s silentBudgets) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	if s.silent() && strings.HasPrefix(subject, "$KV."+bucketControl+"."+accountPace) {
		select {
		case <-time.After(apiTimeout):
			return nil, context.DeadlineExceeded
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return s.Stream.GetLastMsgForSubject(ctx, subject)
}
