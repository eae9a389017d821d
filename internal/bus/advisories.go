package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/fault"
)

// The second net. Our consumers deliver without limit and nothing of ours terminates a message. A consumer that somebody
// changed by hand may: then the server lets a message fall silent in its queue, or drops it. It says so once, in an
// advisory, which may be lost. So the advisories are kept and heeded, and besides every queue is searched from time to
// time for messages that no consumer will deliver again.

const (
	advisoryMaxDeliveries = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."
	advisoryTerminated    = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED."
)

const (
	defaultSweepEvery = 5 * time.Minute
	// sweepConfirm is how long a message must seem stuck: the removal of what is acknowledged takes a moment in a cluster.
	sweepConfirm = 5 * time.Second
	// sweptAtOnce bounds the stuck messages that are remembered for their second look.
	sweptAtOnce = 1000
	// advisoryRetry is how long an advisory waits that could not be heeded.
	advisoryRetry = 30 * time.Second
)

// advisorySubjects are the advisories on one stream's consumers.
func advisorySubjects(stream string) []string {
	return []string{advisoryMaxDeliveries + stream + ".>", advisoryTerminated + stream + ".>"}
}

func advisoryConsumer(stream string) string { return "advisories-" + stream }

func workStreams() []string {
	return []string{streamCode, streamRefresh, streamRegister, streamTokenTimers, streamWarmyTimers}
}

// advisory is what the server says of a message.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Seq        uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
}

// secondNet catches what falls through the consumers of this process's lanes.
type secondNet struct {
	bus     *Bus
	cfg     ServeConfig
	workers []*worker
}

// catch spreads the second net under the workers until ctx ends. The caller waits with what it returns.
func (b *Bus) catch(ctx context.Context, cfg ServeConfig, workers []*worker) (wait func()) {
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = defaultSweepEvery
	}
	n := &secondNet{bus: b, cfg: cfg, workers: workers}
	var running sync.WaitGroup
	for _, stream := range n.streams() {
		running.Go(func() { n.listen(ctx, stream) })
	}
	running.Go(func() { n.sweep(ctx) })
	return running.Wait
}

// streams lists the streams that this process's lanes are served from.
func (n *secondNet) streams() []string {
	var names []string
	for _, w := range n.workers {
		for _, src := range sources(w.lane.Lane) {
			if !slices.Contains(names, src.stream) {
				names = append(names, src.stream)
			}
		}
	}
	return names
}

// listen heeds the advisories on one stream. Failing to is no reason to stop the lanes: the sweep remains.
func (n *secondNet) listen(ctx context.Context, stream string) {
	for ctx.Err() == nil {
		if err := n.consume(ctx, stream); err != nil && ctx.Err() == nil {
			n.bus.log.WarnContext(ctx, "advisories_not_heard", "stream", stream, "error", err)
			rest(ctx, advisoryRetry)
		}
	}
}

func (n *secondNet) consume(ctx context.Context, stream string) error {
	cfg := jetstream.ConsumerConfig{
		Durable: advisoryConsumer(stream), FilterSubjects: advisorySubjects(stream), AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckWait: 2 * ackWait, MaxAckPending: 64, MaxDeliver: -1,
	}
	if err := n.bus.ensureConsumer(ctx, streamAdvisories, cfg); err != nil {
		return err
	}
	cons, err := n.bus.js.Consumer(ctx, streamAdvisories, cfg.Durable)
	if err != nil {
		return fmt.Errorf("find consumer %s: %w", cfg.Durable, err)
	}
	consuming, err := cons.Consume(func(msg jetstream.Msg) { n.heed(ctx, msg) },
		jetstream.PullMaxMessages(leastPrefetch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return fmt.Errorf("consume %s: %w", cfg.Durable, err)
	}
	select {
	case <-ctx.Done():
	case <-consuming.Closed():
		return errors.New("the consumer of the advisories was deleted")
	}
	consuming.Stop()
	<-consuming.Closed()
	return nil
}

// heed does what an advisory calls for. It is acknowledged after that.
func (n *secondNet) heed(ctx context.Context, msg jetstream.Msg) {
	if ctx.Err() != nil {
		return // it comes back after its wait
	}
	var a advisory
	err := json.Unmarshal(msg.Data(), &a)
	switch {
	case err != nil:
		n.bus.log.WarnContext(ctx, "advisory_unreadable", "subject", msg.Subject())
	case strings.HasPrefix(msg.Subject(), advisoryTerminated):
		// On a work queue its content is gone by now. Its event is made anew from the facts: see restore.go.
		n.bus.log.ErrorContext(ctx, "message_terminated", "stream", a.Stream, "consumer", a.Consumer, "seq", a.Seq)
		n.rescued("terminated")
	default:
		if err := n.rescue(ctx, a.Stream, a.Seq, "max_deliveries"); err != nil {
			n.bus.log.WarnContext(ctx, "advisory_not_heeded", "stream", a.Stream, "seq", a.Seq, "error", err)
			_ = msg.NakWithDelay(advisoryRetry) // if that is lost, it comes back all the same
			return
		}
	}
	if err := msg.Ack(); err != nil {
		n.bus.log.WarnContext(ctx, "settle_failed", "error", err) // heeding it twice is harmless
	}
}

func (n *secondNet) rescued(how string) {
	if n.cfg.Rescuer != nil {
		n.cfg.Rescuer.Rescued(how)
	}
}

// rescue turns a message that will not be delivered again into a dead letter: letter, fact, then the message's removal,
// so that a crash between them repeats harmlessly.
func (n *secondNet) rescue(ctx context.Context, name string, seq uint64, how string) error {
	stream, err := n.bus.stream(ctx, name)
	if err != nil {
		return err
	}
	raw, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // concluded after all
	}
	if err != nil {
		return fmt.Errorf("read the stuck message: %w: %w", ErrUnavailable, err)
	}
	w := n.workerOf(raw.Subject)
	if w == nil {
		return fmt.Errorf("no lane of this process takes what is stuck in %s", name)
	}
	if err := w.buryStuck(ctx, stuckMsg{raw: raw, stream: name}); err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !isNoMessage(err) {
		return fmt.Errorf("remove the stuck message: %w: %w", ErrUnavailable, err)
	}
	n.rescued(how)
	return nil
}

// workerOf returns a worker of the lane that a subject belongs to. Which leg it serves does not matter: nothing is called.
func (n *secondNet) workerOf(subject string) *worker {
	lane := strings.TrimPrefix(strings.TrimPrefix(subject, "kindling."), "due.")
	for _, w := range n.workers {
		if strings.HasPrefix(lane, string(w.lane.Lane)+".") {
			return w
		}
	}
	return nil
}

func (w *worker) buryStuck(ctx context.Context, msg stuckMsg) error {
	d := &delivery{msg: msg, origin: msg.stream + "." + strconv.FormatUint(msg.raw.Sequence, 10)}
	e, err := read(msg.Subject(), msg.Headers(), msg.Data(), time.Now())
	if err != nil {
		_, err = w.refuse(ctx, d, msg.Data(), e, err)
		return err
	}
	_, err = w.bury(WithTrace(ctx, msg.Headers().Get(headerTraceparent)), d, msg.Data(), e, maxDeliveries())
	return err
}

func maxDeliveries() *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "max_deliveries", Forecast: fault.ByConfig,
		Cause:  "the server gave up delivering the event: somebody has limited the deliveries of its consumer",
		Remedy: "set max_deliver of the lane's consumers back to -1, then replay",
	}
}

// stuckMsg is a message that was read from its stream instead of being delivered.
type stuckMsg struct {
	jetstream.Msg // nil: there is no delivery that could be answered

	raw    *jetstream.RawStreamMsg
	stream string
}

func (m stuckMsg) Subject() string      { return m.raw.Subject }
func (m stuckMsg) Data() []byte         { return m.raw.Data }
func (m stuckMsg) Headers() nats.Header { return m.raw.Header }
func (m stuckMsg) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Stream: m.stream, Sequence: jetstream.SequencePair{Stream: m.raw.Sequence}, Timestamp: m.raw.Time}, nil
}

// sweep searches the queues for stuck messages until ctx ends.
func (n *secondNet) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		rest(ctx, n.cfg.SweepEvery)
		for _, w := range n.workers {
			for _, src := range sources(w.lane.Lane) {
				if err := n.sweepConsumer(ctx, src.stream, consumerOf(w.lane.Lane, src, w.lane.Leg, 0)); err != nil && ctx.Err() == nil {
					n.bus.log.WarnContext(ctx, "sweep_failed", "stream", src.stream, "lane", w.lane.Lane, "error", err)
				}
			}
		}
	}
}

func (n *secondNet) sweepConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) error {
	suspects, err := n.stuck(ctx, stream, cfg)
	if err != nil || len(suspects) == 0 {
		return err
	}
	rest(ctx, min(sweepConfirm, n.cfg.SweepEvery))
	confirmed, err := n.stuck(ctx, stream, cfg)
	if err != nil {
		return err
	}
	for _, seq := range confirmed {
		if slices.Contains(suspects, seq) { // one that cannot be rescued must not keep the others stuck
			err = errors.Join(err, n.rescue(ctx, stream, seq, "stuck"))
		}
	}
	return err
}

// stuck lists messages that the consumer has behind it and that are there all the same: on a work queue an
// acknowledgement removes. What it still waits for an answer to is not behind it.
func (n *secondNet) stuck(ctx context.Context, name string, cfg jetstream.ConsumerConfig) ([]uint64, error) {
	consumer, err := n.bus.js.Consumer(ctx, name, cfg.Durable)
	if err != nil {
		return nil, fmt.Errorf("ask for consumer %s: %w: %w", cfg.Durable, ErrUnavailable, err)
	}
	info := consumer.CachedInfo()
	if info.Config.MaxDeliver > 0 {
		n.bus.log.ErrorContext(ctx, "consumer_limits_deliveries", "stream", name, "consumer", cfg.Durable,
			"max_deliver", info.Config.MaxDeliver, "remedy", "set max_deliver back to -1")
	}
	behind := info.AckFloor.Stream
	if info.NumAckPending == 0 {
		behind = info.Delivered.Stream
	}
	stream, err := n.bus.stream(ctx, name)
	if err != nil {
		return nil, err
	}
	var seqs []uint64
	for seq := uint64(1); seq <= behind && len(seqs) < sweptAtOnce; seq++ {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(cfg.FilterSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("search %s: %w: %w", name, ErrUnavailable, err)
		}
		if seq = msg.Sequence; seq <= behind {
			seqs = append(seqs, seq)
		}
	}
	return seqs, nil
}
