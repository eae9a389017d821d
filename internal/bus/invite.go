package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// InvitationStore adds the bulk import to the records of invitations.
type InvitationStore struct{ Records[mailbox.Invitation] }

// InvitationStore returns the console's view of the invitations.
func (b *Bus) InvitationStore(people Box) InvitationStore {
	return InvitationStore{b.Invitations(people)}
}

// Create stores new invitations. The answer holds, for each, nil or handlers.ErrConflict for one that exists already.
// An error beside it means that some may be stored and some not; repeating is harmless.
//
// All of them are stored as one atomic batch, which costs one sync. Only when one of them exists already, or the batch
// is refused for another reason, they are stored one by one.
func (s InvitationStore) Create(ctx context.Context, batch []mailbox.Invitation) ([]error, error) {
	msgs, err := s.messages(batch)
	if err != nil {
		return nil, err
	}
	lost := false // the answer, so that some of what exists may be ours
	if len(msgs) > 1 && len(msgs) <= maxBatch {
		err := s.createAtomic(ctx, msgs)
		if err == nil {
			return make([]error, len(batch)), nil
		}
		lost = errors.Is(err, ErrUnavailable)
	}
	results, err := s.createSingly(ctx, msgs)
	for i := range results {
		if lost && results[i] != nil {
			results[i] = s.mine(ctx, batch[i].ID, msgs[i].Data)
		}
	}
	return results, err
}

// mine reports whether what exists is what this call stored: its sealed bytes are like no others.
func (s InvitationStore) mine(ctx context.Context, id mailbox.ID, stored []byte) error {
	data, _, err := s.kv.get(ctx, id)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, stored) {
		return handlers.ErrConflict
	}
	return nil
}

// messages are the stored forms, each to be stored only where nothing is stored yet.
func (s InvitationStore) messages(batch []mailbox.Invitation) ([]*nats.Msg, error) {
	msgs := make([]*nats.Msg, len(batch))
	for i, inv := range batch {
		data, err := s.codec.encode(inv.ID, inv)
		if err != nil {
			return nil, fmt.Errorf("encode invitation: %w", err)
		}
		msgs[i] = nats.NewMsg(s.kv.subject(inv.ID))
		msgs[i].Data = data
		msgs[i].Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	}
	return msgs, nil
}

// The headers of an atomic batch (NATS ADR-50) and its largest size.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	maxBatch          = 1000
)

// createAtomic stores all messages or none of them.
func (s InvitationStore) createAtomic(ctx context.Context, msgs []*nats.Msg) error {
	id, nc := nuid.Next(), s.kv.bus.nc
	last := len(msgs) - 1
	for i, msg := range msgs {
		part := nats.NewMsg(msg.Subject)
		part.Data = msg.Data
		maps.Copy(part.Header, msg.Header)
		part.Header.Set(headerBatchID, id)
		part.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
		if i < last {
			if err := nc.PublishMsg(part); err != nil {
				return fmt.Errorf("publish batch: %w: %w", ErrUnavailable, err)
			}
			continue
		}
		part.Header.Set(headerBatchCommit, "1")
		return commit(ctx, s.kv.bus, part, len(msgs))
	}
	return nil
}

// commit sends the last message of a batch and waits for the acknowledgement of all.
func commit(ctx context.Context, b *Bus, msg *nats.Msg, count int) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	answer, err := ask(ctx, b.denials, msg.Subject, func(ctx context.Context) (*nats.Msg, error) { return b.nc.RequestMsgWithContext(ctx, msg) })
	if err != nil {
		return fmt.Errorf("commit batch: %w: %w", ErrUnavailable, err)
	}
	var ack struct {
		Count int                 `json:"count"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	if ack.Error != nil {
		return fmt.Errorf("commit batch: %w", ack.Error)
	}
	if ack.Count != count {
		return fmt.Errorf("commit batch: %d of %d messages were stored", ack.Count, count)
	}
	return nil
}

// createSingly stores the messages on their own, all under way at once.
func (s InvitationStore) createSingly(ctx context.Context, msgs []*nats.Msg) ([]error, error) {
	mark, _ := s.kv.bus.denials.mark()
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, msg := range msgs {
		future, err := s.kv.bus.js.PublishMsgAsync(msg, jetstream.WithStallWait(apiTimeout))
		if err != nil {
			return nil, publishError(err)
		}
		futures[i] = future
	}
	results := make([]error, len(msgs))
	for i, future := range futures {
		if err := s.kv.bus.denials.await(ctx, mark, future); isConflict(err) {
			results[i] = handlers.ErrConflict
		} else if err != nil {
			return nil, publishError(err)
		}
	}
	return results, nil
}
