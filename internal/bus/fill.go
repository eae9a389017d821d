package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
)

// ErrFull means that a stream has no room for what was published. It is an ErrUnavailable too: the publisher keeps its
// input and tries again.
var ErrFull = errors.New("the stream is full")

// A timer stream drops its oldest timers when it is full, because schedules rule out discard-new. A dropped timer is lost
// work. So nobody publishes a timer above timersFull: the input of the failed attempt stays where it is, unacknowledged.
const (
	timersFull = 0.90
	// The alarms before that, for the log; the metrics have their own (deployments/prometheus-rules.yaml).
	fillWarns  = 0.70
	fillAlarms = 0.85
)

const (
	// fillLife is how long a known fill level is trusted, and fillShare how much of the stream this process may write
	// before it asks again: what twenty processes can add unseen is less than what timersFull leaves free.
	fillLife  = time.Second
	fillShare = 1.0 / 256
)

// fill is what this process knows of one stream's use.
type fill struct {
	turn    chan struct{} // of capacity 1; held over a question to the server, so that the process asks once
	asked   time.Time
	used    uint64
	limit   int64
	written int64 // by this process since it asked
	level   int   // 0, 1, 2: below fillWarns, below fillAlarms, above; as last told to the log
}

func (f *fill) ratio() float64 {
	if f.limit <= 0 {
		return 0
	}
	return float64(int64(f.used)+f.written) / float64(f.limit) //nolint:gosec // no stream has 2⁶³ bytes
}

// known reports whether the level may still be trusted.
func (f *fill) known(now time.Time) bool {
	return now.Sub(f.asked) < fillLife && float64(f.written) <= fillShare*float64(max(f.limit, 0))
}

// admit refuses timers that their stream could only store by dropping older ones. Everything else passes: its streams
// refuse by themselves.
func (b *Bus) admit(ctx context.Context, msgs []*nats.Msg) error {
	for _, msg := range msgs {
		if stream := timerStream(msg); stream != "" {
			if err := b.admitTo(ctx, stream, len(msg.Data)+len(msg.Subject)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bus) admitTo(ctx context.Context, stream string, size int) error {
	known, _ := b.fills.LoadOrStore(stream, &fill{turn: make(chan struct{}, 1)})
	f, ok := known.(*fill)
	if !ok {
		return fmt.Errorf("publish: no fill level of %s", stream)
	}
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return fmt.Errorf("ask how full %s is: %w: %w", stream, ErrUnavailable, context.Cause(ctx))
	}
	if !f.known(time.Now()) {
		if err := b.ask(ctx, f, stream); err != nil {
			return err
		}
	}
	if ratio := f.ratio(); ratio >= timersFull {
		return fmt.Errorf("publish: %w: %w: %s is %.0f %% full and would drop its oldest timers; mend the cause of the retries, or raise its max_bytes",
			ErrUnavailable, ErrFull, stream, 100*ratio)
	}
	f.written += int64(size + timerOverhead)
	return nil
}

// timerOverhead is what the server adds to a timer, about: record, headers, and the copy that is due.
const timerOverhead = 512

// ask asks the server how full the stream is. The caller has f's turn.
func (b *Bus) ask(ctx context.Context, f *fill, name string) error {
	stream, err := b.stream(ctx, name)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask how full %s is: %w: %w", name, ErrUnavailable, err)
	}
	f.asked, f.used, f.limit, f.written = time.Now(), info.State.Bytes, info.Config.MaxBytes, 0
	b.tellFill(ctx, f, name)
	return nil
}

// tellFill logs when the level passes an alarm, and when it is back.
func (b *Bus) tellFill(ctx context.Context, f *fill, name string) {
	ratio, level := f.ratio(), 0
	switch {
	case ratio >= fillAlarms:
		level = 2
	case ratio >= fillWarns:
		level = 1
	}
	if level == f.level {
		return
	}
	f.level = level
	switch level {
	case 0:
		b.log.InfoContext(ctx, "stream_has_room", "stream", name, "fill", ratio)
	case 1:
		b.log.WarnContext(ctx, "stream_nearly_full", "stream", name, "fill", ratio)
	default:
		b.log.ErrorContext(ctx, "stream_nearly_full", "stream", name, "fill", ratio)
	}
}

// timerStream is the stream that keeps msg as a timer; empty when msg is none.
func timerStream(msg *nats.Msg) string {
	if msg.Header.Get(headerSchedule) == "" {
		return ""
	}
	if strings.HasPrefix(msg.Subject, "kindling.at."+string(events.Refresh)+".") {
		return streamTokenTimers
	}
	return streamWarmyTimers
}
