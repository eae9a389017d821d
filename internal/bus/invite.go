package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// InvitationStore adds the bulk import to the records of invitations.
type InvitationStore struct{ Records[mailbox.Invitation] }

// InvitationStore returns the console's view of the invitations.
func (b *Bus) InvitationStore(people Box) InvitationStore {
	return InvitationStore{b.Invitations(people)}
}

// Create stores new invitations, all under way at once. The answer holds, for each, nil or handlers.ErrConflict for one
// that exists already. An error beside it means that some may be stored and some not; repeating is harmless.
func (s InvitationStore) Create(ctx context.Context, batch []mailbox.Invitation) ([]error, error) {
	futures := make([]jetstream.PubAckFuture, len(batch))
	for i, inv := range batch {
		data, err := s.codec.encode(inv.ID, inv)
		if err != nil {
			return nil, fmt.Errorf("encode invitation: %w", err)
		}
		futures[i], err = s.kv.bus.js.PublishMsgAsync(&nats.Msg{Subject: s.kv.subject(inv.ID), Data: data},
			jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithStallWait(apiTimeout))
		if err != nil {
			return nil, publishError(err)
		}
	}
	results := make([]error, len(batch))
	for i, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			if !isConflict(err) {
				return nil, publishError(err)
			}
			results[i] = handlers.ErrConflict
		case <-ctx.Done():
			return nil, fmt.Errorf("create invitations: %w", context.Cause(ctx))
		}
	}
	return results, nil
}
