package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	pullExpiry = 5 * time.Second
	// pullHeartbeat bounds how long a lost wake-up inside nats.go can stall a consumer: two of them (docs/adr/0002).
	pullHeartbeat = time.Second
	// progressEvery is how often the server is told that a held message is still being worked on.
	progressEvery = 5 * time.Second
	// handBackDelay is how long what a stopping process gives back waits: until the server knows that it asks no more.
	handBackDelay = 500 * time.Millisecond
	// leastPrefetch keeps nats.go's pull loop away from the sizes at which it stalls.
	leastPrefetch = 16
)

// Subscriber is a Watermill subscriber on JetStream's pull consumers. Its topic is "<stream>/<consumer>".
//
// Up to Window messages are unsettled at once. A message's context outlives the subscription, so that a handler that has
// begun can finish after the process was told to stop; it ends when the message is settled, or Drain after the stop.
type Subscriber struct {
	Bus      *Bus
	Window   int // how many are handled at once
	Prefetch int // how many more may lie ready; 0: a quarter of Window. They age without a sign of life: keep it small where handlers wait
	Drain    time.Duration
	Ensure   func(ctx context.Context) error // makes the consumer again when it was deleted; nil: that ends the subscription

	// Settled says that every handler of these messages stands behind the middleware Settle. Then nobody has to wait for
	// each message's Ack or Nack, which costs a goroutine and a context each.
	Settled bool

	turn *turn // nil: every process pulls at the same time

	mu     sync.Mutex
	closed bool
	stops  []func()
	active sync.WaitGroup
}

// delivery is what the server says of a message, and what shall become of it if it is not acknowledged.
type delivery struct {
	msg        jetstream.Msg
	deliveries uint64
	origin     string // stream and sequence: the same for every delivery of a message

	delay  atomic.Int64 // of the nak, in nanoseconds
	done   atomic.Bool  // settled: whoever comes first settles
	mine   []string     // what of it this process handles nowhere else: its message, and its event
	owner  *subscription
	place  int                // in the owner's window
	cancel context.CancelFunc // of the message's context; nil when it ends with the subscription's work
}

type deliveryKey struct{}

// deliveryContext is the context of a message: the work's, and the delivery.
type deliveryContext struct {
	context.Context //nolint:containedctx // a context is made of its parent

	delivery *delivery
}

// Value returns the delivery, or what the parent knows.
func (c deliveryContext) Value(key any) any {
	if key == (deliveryKey{}) {
		return c.delivery
	}
	return c.Context.Value(key)
}

func deliveryOf(ctx context.Context) *delivery {
	d, _ := ctx.Value(deliveryKey{}).(*delivery)
	return d
}

// nakAfter sets how long the server shall wait before it delivers the message again.
func (d *delivery) nakAfter(delay time.Duration) { d.delay.Store(int64(delay)) }

// settle tells the server, once: the message is done, or shall come back.
func (d *delivery) settle(acked bool) {
	if !d.done.CompareAndSwap(false, true) {
		return
	}
	if acked {
		d.owner.acks.send(d)
		return
	}
	d.release(d.msg.NakWithDelay(max(time.Duration(d.delay.Load()), 100*time.Millisecond)))
}

// claim reports whether d is the only delivery in this process of what is named: its message or its event. A message comes
// a second time when the server thinks the first one lost: its ack wait ended unseen, or its consumer was made anew. An
// event is in two messages when it was published again after the dedupe window. A lease in a fact holds off other
// processes only, so both at work here could send one code twice.
func (d *delivery) claim(what string) bool {
	_, taken := d.owner.sub.Bus.inHand.LoadOrStore(what, nil)
	if !taken {
		d.mine = append(d.mine, what)
	}
	return !taken
}

// release gives the delivery's place in the window free.
func (d *delivery) release(err error) {
	s := d.owner
	if err != nil {
		s.sub.Bus.log.Warn("settle_failed", "error", err) // the message comes back after its ack wait
	}
	for _, what := range d.mine {
		s.sub.Bus.inHand.Delete(what)
	}
	if d.cancel != nil {
		d.cancel()
	}
	s.held[d.place].Store(nil)
	s.places <- d.place
	s.wg.Done()
}

// Settle is the Router's middleware that settles a delivery as soon as its handler has returned: acknowledged if it
// returned no error, given back if it did or if it panicked. It must be the outermost one, on a Subscriber with
// Settled set.
func Settle(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (follow []*message.Message, err error) {
		done := false
		defer func() { deliveryOf(msg.Context()).settle(done) }()
		follow, err = next(msg)
		done = err == nil
		return follow, err
	}
}

// Subscribe starts to pull. The channel closes when ctx ends or the subscriber is closed.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	stream, consumer, ok := strings.Cut(topic, "/")
	if !ok {
		return nil, fmt.Errorf("subscribe to %q: a topic is <stream>/<consumer>", topic)
	}
	var cons jetstream.Consumer
	err := outlast(ctx, func(ctx context.Context) (err error) {
		cons, err = s.Bus.js.Consumer(ctx, stream, consumer)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find consumer %s: %w", topic, err)
	}
	sub := s.newSubscription(ctx)
	if err := sub.start(ctx, cons); err != nil {
		sub.acks.close()
		return nil, fmt.Errorf("consume %s: %w", topic, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		sub.stop()
		return nil, errors.New("subscriber is closed")
	}
	s.stops = append(s.stops, sub.stop)
	return sub.out, nil
}

// Close stops every subscription and waits until everything delivered is settled.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	stops := s.stops
	s.stops = nil
	s.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	s.active.Wait()
	return nil
}

// subscription is one pull loop and the messages it holds.
type subscription struct {
	sub    *Subscriber
	out    chan *message.Message
	acks   *ackLine
	ctx    context.Context //nolint:containedctx // the life of the subscription: ends when no new message shall be taken
	stop   context.CancelFunc
	work   context.Context            //nolint:containedctx // the life of what was taken: outlives ctx by the drain time
	places chan int                   // that are free in the window
	held   []atomic.Pointer[delivery] // by place
	wg     sync.WaitGroup             // of what is held

	sending sync.RWMutex // held for reading by senders to out, so that it is never closed under one
	ended   bool
}

func (s *Subscriber) newSubscription(ctx context.Context) *subscription {
	sub := &subscription{
		sub: s, out: make(chan *message.Message, s.Window), acks: s.Bus.acks.line(),
		places: make(chan int, s.Window), held: make([]atomic.Pointer[delivery], s.Window),
	}
	for place := range s.Window {
		sub.places <- place
	}
	sub.ctx, sub.stop = context.WithCancel(ctx)
	return sub
}

func (s *subscription) start(ctx context.Context, cons jetstream.Consumer) error {
	work, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	s.work = work
	var consuming jetstream.ConsumeContext
	if s.sub.turn.begins(ctx) {
		var err error
		if consuming, err = s.consume(cons); err != nil {
			cancel()
			return err
		}
	}
	s.sub.active.Go(func() { s.run(cons, consuming, cancel) })
	return nil
}

func (s *Subscriber) prefetch() int {
	if s.Prefetch > 0 {
		return max(leastPrefetch, s.Prefetch)
	}
	return max(leastPrefetch, s.Window/4)
}

func (s *subscription) consume(cons jetstream.Consumer) (jetstream.ConsumeContext, error) {
	return cons.Consume(s.take, jetstream.PullMaxMessages(s.sub.prefetch()),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { s.report(err) }))
}

// again consumes anew after nats.go gave up, which it does when the consumer was deleted: an operator's slip, or a
// restore. A lane that silently stands still would be the worst answer. It waits a little first, and not as long as its
// neighbours: a consumer that is made while the server still removes the old one can be broken for good.
func (s *subscription) again(cons jetstream.Consumer) jetstream.ConsumeContext {
	for {
		s.sub.Bus.log.ErrorContext(s.ctx, "consumer_lost", "consumer", cons.CachedInfo().Name, "stream", cons.CachedInfo().Stream)
		wait := time.NewTimer(time.Second + rand.N(time.Second)) //nolint:gosec // jitter needs no secrecy
		select {
		case <-wait.C:
		case <-s.ctx.Done():
			wait.Stop()
			return nil
		}
		if consuming := s.anew(cons); consuming != nil {
			return consuming
		}
	}
}

// anew makes the consumer again if it must, and consumes it; nil if that fails.
func (s *subscription) anew(cons jetstream.Consumer) jetstream.ConsumeContext {
	if s.sub.Ensure != nil && s.sub.Ensure(s.ctx) != nil {
		return nil
	}
	fresh, err := s.sub.Bus.js.Consumer(s.ctx, cons.CachedInfo().Stream, cons.CachedInfo().Name)
	if err != nil {
		return nil
	}
	consuming, err := s.consume(fresh)
	if err != nil {
		return nil
	}
	return consuming
}

func (s *subscription) report(err error) {
	if !errors.Is(err, jetstream.ErrNoHeartbeat) && s.ctx.Err() == nil {
		s.sub.Bus.log.Warn("consume_failed", "error", err)
	}
}

// run owns the subscription's life: signs of life while it runs, then an orderly end.
func (s *subscription) run(cons jetstream.Consumer, consuming jetstream.ConsumeContext, cancel context.CancelFunc) {
	defer cancel()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case <-ticker.C:
			s.progress()
			consuming = s.turns(cons, consuming)
		case <-closed(consuming):
			if s.ctx.Err() == nil {
				consuming = s.again(cons)
			}
		}
	}
	halt(consuming)
	s.sending.Lock()
	s.ended = true
	s.sending.Unlock()
	s.drain(ticker.C, cancel)
	s.sub.turn.ends(s.ctx)
	s.acks.close()
	close(s.out)
}

// drain waits until everything taken is settled. Whoever still works when the time is over is told to stop, and its
// message goes back; what the server does not confirm then is left to it.
func (s *subscription) drain(tick <-chan time.Time, cancel context.CancelFunc) {
	drained := make(chan struct{})
	go func() { s.wg.Wait(); close(drained) }()
	limit := time.NewTimer(s.sub.Drain)
	defer limit.Stop()
	for cut := false; ; {
		select {
		case <-drained:
			return
		case <-tick:
			s.progress()
		case <-limit.C:
			if cut {
				return
			}
			cut = true
			cancel()
			s.giveBack()
			limit.Reset(apiTimeout)
		}
	}
}

func (s *subscription) giveBack() {
	for i := range s.held {
		if d := s.held[i].Load(); d != nil {
			d.settle(false)
		}
	}
}

func (s *subscription) progress() {
	for i := range s.held {
		if d := s.held[i].Load(); d != nil && !d.done.Load() {
			_ = d.msg.InProgress() // a lost sign of life only risks a redelivery, which every handler bears
		}
	}
}

// take hands one message on, as soon as the window has room. It runs in nats.go's callback, one at a time.
func (s *subscription) take(msg jetstream.Msg) {
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.ended || s.ctx.Err() != nil {
		_ = msg.NakWithDelay(handBackDelay)
		return
	}
	var place int
	select {
	case place = <-s.places:
	case <-s.ctx.Done():
		_ = msg.NakWithDelay(handBackDelay)
		return
	}
	m, d := s.wrap(msg)
	d.place = place
	s.wg.Add(1)
	s.held[place].Store(d)
	s.out <- m // there is room for a whole window
	if !s.sub.Settled {
		go s.settle(m, d)
	}
}

func (s *subscription) wrap(msg jetstream.Msg) (*message.Message, *delivery) {
	d := &delivery{msg: msg, deliveries: 1, owner: s}
	if meta, err := msg.Metadata(); err == nil {
		d.deliveries, d.origin = meta.NumDelivered, meta.Stream+"."+strconv.FormatUint(meta.Sequence.Stream, 10)
	}
	headers := msg.Headers()
	m := message.NewMessage(headers.Get(headerUUID), msg.Data())
	for key := range headers {
		if !strings.HasPrefix(key, "Nats-") && key != headerUUID {
			m.Metadata.Set(key, headers.Get(key))
		}
	}
	ctx := s.work
	if !s.sub.Settled { // Watermill's own handlers expect it to end with the message
		ctx, d.cancel = context.WithCancel(s.work)
	}
	m.SetContext(deliveryContext{ctx, d})
	return m, d
}

// settle waits for the handler and tells the server.
func (s *subscription) settle(m *message.Message, d *delivery) {
	select {
	case <-m.Acked():
		d.settle(true)
	case <-m.Nacked():
		d.settle(false)
	case <-s.work.Done():
		d.settle(false)
	}
}
