package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/mailbox"
)

// walk is a way through the facts of one bucket, oldest first.
type walk struct {
	bucket string
	back   time.Duration           // how far it goes back; 0: to the beginning
	open   func(value []byte) bool // whether the fact alone leaves open that an event is due
	timers bool                    // whether its mailboxes have timers for their idle grants: see timers.go
}

func codeAnswered(value []byte) bool {
	var c mailbox.Claim
	if err := json.Unmarshal(value, &c); err != nil {
		return false
	}
	latest, answered := c.Latest()
	return answered && latest.CodeHash != ""
}

func grantOpen(value []byte) bool {
	var g storedGrant
	return json.Unmarshal(value, &g) == nil && (g.Tokens != nil || g.Phase == mailbox.GrantRedeeming)
}

func registrationOpen(value []byte) bool {
	var r mailbox.Registration
	return json.Unmarshal(value, &r) == nil && r.Work().Phase != mailbox.Registered
}

// firstSince finds the first message that is not older than t.
func firstSince(ctx context.Context, stream jetstream.Stream, filter string, t time.Time) (uint64, error) {
	low, high := stream.CachedInfo().State.FirstSeq, stream.CachedInfo().State.LastSeq+1
	for low < high {
		mid := low + (high-low)/2
		msg, err := stream.GetMsg(ctx, mid, jetstream.WithGetMsgSubject(filter))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			high = mid
		case err != nil:
			return 0, fmt.Errorf("search by time: %w: %w", ErrUnavailable, err)
		case msg.Time.Before(t):
			low = msg.Sequence + 1
		default:
			high = mid
		}
	}
	return low, nil
}
