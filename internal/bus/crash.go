package bus

import (
	"context"
	"strconv"

	"kindling/internal/events"
)

// A message that kills its process is delivered again and again and never comes to an end. The delivery count alone
// does not prove that: restarts, held legs and a store that was away raise it, too. So from the second redelivery on,
// the beginning of every handling is written down before it and crossed out after it, whatever its outcome. What
// remains are handlings that never ended.
//
// What was at work beside the message that kills never ended either, and is delivered again together with it. So whoever
// has a beginning without an end is a suspect, and a process handles one suspect at a time: the next death names the one.

// freeDeliveries are handled without this book-keeping, which costs two writes.
const freeDeliveries = 2

// book is what is written of one handling's beginning.
type book struct {
	worker   *worker
	event    events.Event
	kv       kv
	revision uint64 // of what is written; 0: nothing
	release  func() // gives the suspects' turn back; it must be called, or no suspect is handled here any more
	crashed  bool   // handlings of this event have begun and never ended too often
}

// begin writes down that e's handling begins. When the book cannot be written, the event is handled all the same.
func (w *worker) begin(ctx context.Context, d *delivery, e events.Event) *book {
	b := &book{worker: w, event: e, kv: kv{w.bus, bucketControl}, release: func() {}}
	if w.lane.Policy.Crashes == 0 || d.deliveries <= freeDeliveries {
		return b
	}
	key := "began." + string(w.lane.Lane) + "." + e.ID
	data, revision, err := b.kv.get(ctx, key)
	if err != nil {
		return b
	}
	began := decodeBegan(data)
	release, err := w.alone(ctx, began > 0)
	if err != nil {
		return b
	}
	b.release = release
	if began+freeDeliveries >= w.lane.Policy.Crashes {
		b.revision, b.crashed = revision, true
		return b
	}
	if revision, err = b.kv.put(ctx, key, []byte(strconv.Itoa(began+1)), revision); err == nil {
		b.revision = revision
	}
	return b
}

// crossOut says that the handling has ended.
func (b *book) crossOut(ctx context.Context) {
	if b.revision == 0 {
		return
	}
	if err := b.kv.remove(context.WithoutCancel(ctx), b.revision); err != nil {
		b.worker.warn(ctx, "beginning_not_crossed_out", b.event, err)
	}
}

// alone waits until no other suspect is being handled by this process. It is for suspects only: redeliveries are common,
// and all others run side by side.
func (w *worker) alone(ctx context.Context, suspect bool) (release func(), err error) {
	if !suspect {
		return func() {}, nil
	}
	select {
	case w.bus.suspects <- struct{}{}:
		return func() { <-w.bus.suspects }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
