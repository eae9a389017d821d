package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/mailbox"
)

// Sink receives facts as they are stored. Its methods are called one at a time.
type Sink interface { //nolint:interfacebloat // one method for each kind of fact
	Campaign(c mailbox.Campaign)
	Invitation(i mailbox.Invitation)
	Claim(id mailbox.ID, c mailbox.Claim)
	Grant(id mailbox.ID, g mailbox.Grant)
	Registration(id mailbox.ID, r mailbox.Registration)
	AdminConsent(c mailbox.AdminConsent)
	// CaughtUp is called once, when everything that was stored before Follow began has been delivered.
	CaughtUp()
}

// Facts follows every fact of every mailbox, for views; it is never a source of work.
type Facts struct {
	bus    *Bus
	people Box
}

// Facts returns the facts as the console reads them: addresses opened, tokens not.
func (b *Bus) Facts(people Box) Facts { return Facts{bus: b, people: people} }

// Follow delivers the existing facts, then every change, until ctx ends. A change may be delivered twice.
func (f Facts) Follow(ctx context.Context, sink Sink) error {
	feed := &feed{sink: sink, log: f.bus.log}
	feeds := map[string]func(id string, data []byte) error{
		bucketCampaigns:     decodeInto(plainCodec[mailbox.Campaign](), func(_ string, c mailbox.Campaign) { sink.Campaign(c) }),
		bucketMailboxes:     decodeInto(invitationCodec(f.people), func(_ string, i mailbox.Invitation) { sink.Invitation(i) }),
		bucketClaims:        decodeInto(plainCodec[mailbox.Claim](), sink.Claim),
		bucketGrants:        decodeInto(grantCodec(nil, nil), sink.Grant),
		bucketRegistrations: decodeInto(plainCodec[mailbox.Registration](), sink.Registration),
		bucketTenants:       decodeInto(plainCodec[mailbox.AdminConsent](), func(_ string, c mailbox.AdminConsent) { sink.AdminConsent(c) }),
	}
	feed.behind = len(feeds)
	for bucket, deliver := range feeds {
		stop, err := feed.follow(ctx, f.bus, bucket, deliver)
		if err != nil {
			return err
		}
		defer stop()
	}
	<-ctx.Done()
	return nil
}

func decodeInto[T any](c codec[T], deliver func(string, T)) func(string, []byte) error {
	return func(id string, data []byte) error {
		fact, err := c.decode(id, data)
		if err != nil {
			return err
		}
		deliver(id, fact)
		return nil
	}
}

// ephemeralLife is how long the server keeps a follower's consumer after it is gone.
const ephemeralLife = 30 * time.Second

// feed serialises the buckets' deliveries into one sink.
type feed struct {
	mu     sync.Mutex
	sink   Sink
	log    *slog.Logger
	behind int // buckets that have not delivered what existed at the start
}

func (f *feed) follow(ctx context.Context, b *Bus, bucket string, deliver func(string, []byte) error) (func(), error) {
	stream, err := b.stream(ctx, "KV_"+bucket)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for bucket %s: %w: %w", bucket, ErrUnavailable, err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: ephemeralLife})
	if err != nil {
		return nil, fmt.Errorf("follow bucket %s: %w: %w", bucket, ErrUnavailable, err)
	}
	last, reached := info.State.LastSeq, false
	if info.State.Msgs == 0 {
		reached = true
		f.caughtUp()
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		f.deliver(bucket, msg, deliver)
		if meta, err := msg.Metadata(); err == nil && !reached && (meta.Sequence.Stream >= last || meta.NumPending == 0) {
			reached = true
			f.caughtUp()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("follow bucket %s: %w: %w", bucket, ErrUnavailable, err)
	}
	return consuming.Stop, nil
}

func (f *feed) deliver(bucket string, msg jetstream.Msg, deliver func(string, []byte) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := strings.TrimPrefix(msg.Subject(), "$KV."+bucket+".")
	if err := deliver(id, msg.Data()); err != nil {
		f.log.Error("fact_unreadable", "bucket", bucket, "mailbox", id, "error", err)
	}
}

func (f *feed) caughtUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind--
	if f.behind == 0 {
		f.sink.CaughtUp()
	}
}
