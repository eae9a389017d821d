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

// begin writes down that e's handling begins. crashed tells that it has begun and never ended too often; end crosses
// the beginning out. When the book cannot be written, the event is handled all the same.
func (w *worker) begin(ctx context.Context, d *delivery, e events.Event) (crashed bool, end func()) {
	nothing := func() {}
	if w.lane.Policy.Crashes == 0 || d.deliveries <= freeDeliveries {
		return false, nothing
	}
	book, key := kv{w.bus, bucketControl}, "began."+string(w.lane.Lane)+"."+e.ID
	data, revision, err := book.get(ctx, key)
	if err != nil {
		return false, nothing
	}
	began := decodeBegan(data)
	release, err := w.alone(ctx, began > 0)
	if err != nil {
		return false, nothing
	}
	cross := func(revision uint64) func() {
		return func() {
			defer release()
			if err := book.remove(context.WithoutCancel(ctx), revision); err != nil {
				w.warn(ctx, "beginning_not_crossed_out", e, err)
			}
		}
	}
	if began+freeDeliveries >= w.lane.Policy.Crashes {
		return true, cross(revision)
	}
	if revision, err = book.put(ctx, key, []byte(strconv.Itoa(began+1)), revision); err != nil {
		return false, release
	}
	return false, cross(revision)
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
