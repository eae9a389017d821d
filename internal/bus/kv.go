package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/handlers"
)

// kv is one bucket: the last value of every key, changed by compare-and-set only.
type kv struct {
	bus    *Bus
	bucket string
}

func (k kv) subject(key string) string { return "$KV." + k.bucket + "." + key }

// get returns the last value of key and its revision; nil and 0 when there is none.
func (k kv) get(ctx context.Context, key string) ([]byte, uint64, error) {
	stream, err := k.bus.stream(ctx, "KV_"+k.bucket)
	if err != nil {
		return nil, 0, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, k.subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w: %w", k.bucket, ErrUnavailable, err)
	}
	return msg.Data, msg.Sequence, nil
}

// put stores value if revision still is the last one of key. When the answer is lost, it reads back before it reports.
func (k kv) put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ack, err := k.bus.js.PublishMsg(ctx, &nats.Msg{Subject: k.subject(key), Data: value},
		jetstream.WithExpectLastSequencePerSubject(revision))
	if err == nil {
		return ack.Sequence, nil
	}
	if isConflict(err) {
		// A publish that is repeated inside nats.go meets its own first copy: that is a success.
		if stored, at, readErr := k.get(ctx, key); readErr == nil && at > revision && bytes.Equal(stored, value) {
			return at, nil
		}
		return 0, handlers.ErrConflict
	}
	stored, at, readErr := k.get(ctx, key)
	if readErr == nil && at > revision && bytes.Equal(stored, value) {
		return at, nil
	}
	return 0, publishError(err)
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
