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
	cross := func(revision uint64) func() {
		return func() {
			if err := book.remove(context.WithoutCancel(ctx), revision); err != nil {
				w.warn(ctx, "beginning_not_crossed_out", e, err)
			}
		}
	}
	if began+freeDeliveries >= w.lane.Policy.Crashes {
		return true, cross(revision)
	}
	if revision, err = book.put(ctx, key, []byte(strconv.Itoa(began+1)), revision); err != nil {
		return false, nothing
	}
	return false, cross(revision)
}
