package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"kindling/internal/events"
	"kindling/internal/handlers"
)

// kv is one bucket: the last value of every key, changed by compare-and-set only.
type kv struct {
	bus    *Bus
	bucket string
}

func (k kv) subject(key string) string { return "$KV." + k.bucket + "." + key }

// headerWrite names one write, so that its author recognises it when the answer was lost. Comparing values would not do:
// two writers may write the same.
const headerWrite = "Kindling-Write"

// errNoKey means that a key could mean another place, or several: it comes from an address that somebody typed.
var errNoKey = errors.New("this cannot be a key")

// isKey reports whether key is tokens with dots between them. A wildcard would read some other mailbox's record.
func isKey(key string) bool {
	for token := range strings.SplitSeq(key, ".") {
		if !events.IsToken(token) {
			return false
		}
	}
	return true
}

// get returns the last value of key and its revision; nil and 0 when there is none.
func (k kv) get(ctx context.Context, key string) ([]byte, uint64, error) {
	msg, err := k.last(ctx, key)
	if err != nil || msg == nil {
		return nil, 0, err
	}
	return msg.Data, msg.Sequence, nil
}

func (k kv) last(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	if !isKey(key) {
		return nil, nil // nothing is stored there
	}
	stream, err := k.bus.stream(ctx, "KV_"+k.bucket)
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, k.subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil // no value is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", k.bucket, ErrUnavailable, err)
	}
	return msg, nil
}

// put stores value if revision still is the last one of key. When the answer is lost, it reads back before it reports.
func (k kv) put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if !isKey(key) {
		return 0, fmt.Errorf("write %s: %w", k.bucket, errNoKey)
	}
	msg := nats.NewMsg(k.subject(key))
	msg.Data = value
	write := nuid.Next()
	msg.Header.Set(headerWrite, write)
	ack, err := k.bus.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(revision))
	k.bus.storing.saw(ctx, err, k.bus.nc.IsConnected())
	if err == nil {
		return ack.Sequence, nil
	}
	// A publish that nats.go repeats by itself can meet its own first copy: a conflict may be a success, too.
	if stored, readErr := k.last(ctx, key); readErr == nil && stored != nil && stored.Header.Get(headerWrite) == write {
		return stored.Sequence, nil
	}
	if isConflict(err) {
		return 0, handlers.ErrConflict
	}
	return 0, publishError(err)
}

// remove forgets key at revision. It is for what is no fact of a mailbox.
func (k kv) remove(ctx context.Context, revision uint64) error {
	stream, err := k.bus.stream(ctx, "KV_"+k.bucket)
	if err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, revision); err != nil && !isNoMessage(err) {
		return fmt.Errorf("remove from %s: %w: %w", k.bucket, ErrUnavailable, err)
	}
	return nil
}

func isConflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// stream returns a handle on a stream, asking the server once per process.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if s, ok := b.handles.Load(name); ok {
		if stream, ok := s.(jetstream.Stream); ok {
			return stream, nil
		}
	}
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w: %w", name, ErrUnavailable, err)
	}
	b.handles.Store(name, stream)
	return stream, nil
}
