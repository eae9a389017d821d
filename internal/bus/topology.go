package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

// The streams. Retention, storage and schedules cannot be changed once a stream exists (docs/adr/0003).
const (
	streamCode        = "CODE"         // codes waiting for their redeem
	streamRefresh     = "REFRESH"      // grants waiting for a refresh
	streamRegister    = "REGISTER"     // mailboxes waiting for their registration
	streamTokenTimers = "TIMERS_TOKEN" // later work of token-worker, which alone publishes here
	streamWarmyTimers = "TIMERS_WARMY" // later work of warmy-worker, which alone publishes here
	streamDead        = "DEAD"         // dead letters, browsable
	streamAudit       = "AUDIT"
	streamHints       = "HINTS"      // what webhooks of Warmy say: see hints.go
	streamAdvisories  = "ADVISORIES" // what the server says of messages that fell silent: see advisories.go
)

// The buckets. Each has one kind of writer (docs/design.md, "One writer per fact").
const (
	bucketCampaigns     = "campaigns"
	bucketMailboxes     = "mailboxes"
	bucketClaims        = "claims"
	bucketGrants        = "grants"
	bucketRegistrations = "registrations"
	bucketIdentities    = "identities"
	bucketControl       = "control"
	bucketTenants       = "tenants"
)

const (
	gib = 1 << 30
	// maxMessage bounds one message: far above any event of ours, far below what could hurt the server.
	maxMessage = 64 << 10
	// dedupeWindow is how long a stream recognises a repeated message id. It is an optimisation: the facts are the guarantee.
	dedupeWindow = 10 * time.Minute
	// ackWait is how long the server waits for a sign of life of a delivery. Every message in a window gives one every 5 s.
	ackWait = 30 * time.Second
)

// streams returns every stream with every setting that protects data.
func (b *Bus) streams() []jetstream.StreamConfig {
	work := func(name, lane string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{"kindling." + lane + ".>"}, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, MaxBytes: 2 * gib, MaxMsgSize: maxMessage, Duplicates: dedupeWindow,
			DenyPurge: false, AllowDirect: false,
		}
	}
	timers := func(name string, lanes ...events.Lane) jetstream.StreamConfig {
		subjects := make([]string, 0, 2*len(lanes))
		for _, lane := range lanes {
			subjects = append(subjects, fmt.Sprintf("kindling.at.%s.>", lane), fmt.Sprintf("kindling.due.%s.>", lane))
		}
		// Schedules rule out discard-new; one message per subject coalesces a mailbox's timers.
		return jetstream.StreamConfig{
			Name: name, Subjects: subjects, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld,
			MaxMsgsPerSubject: 1, MaxBytes: gib, MaxMsgSize: maxMessage, Duplicates: dedupeWindow,
			AllowMsgSchedules: true, AllowRollup: true,
		}
	}
	all := []jetstream.StreamConfig{
		work(streamCode, "code"), work(streamRefresh, "refresh"), work(streamRegister, "register"),
		timers(streamTokenTimers, events.Refresh), timers(streamWarmyTimers, events.Register, events.Reconcile),
		{
			Name: streamDead, Subjects: []string{"kindling.dead.>"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			MaxBytes: 2 * gib, MaxMsgSize: 2 * maxMessage, Duplicates: dedupeWindow, MaxAge: 90 * 24 * time.Hour,
		},
		{
			Name: streamAudit, Subjects: []string{"kindling.audit.>"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			MaxBytes: gib, MaxMsgSize: maxMessage, Duplicates: dedupeWindow, MaxAge: 400 * 24 * time.Hour, DenyDelete: true, DenyPurge: true,
		},
	}
	all = append(all, advisories(), hints())
	for _, name := range []string{bucketMailboxes, bucketClaims, bucketGrants, bucketRegistrations, bucketIdentities} {
		all = append(all, bucket(name, 4*gib)) // a million mailboxes at 2 KB each, twice
	}
	for i := range all {
		// An import stores hundreds of invitations with one sync instead of one each.
		all[i].AllowAtomicPublish = all[i].Name == "KV_"+bucketMailboxes
	}
	all = append(all, bucket(bucketCampaigns, gib/4), bucket(bucketControl, gib/4), bucket(bucketTenants, gib/4))
	for i := range all {
		all[i].Storage, all[i].Replicas = jetstream.FileStorage, b.replicas
		all[i].MaxMsgs, all[i].MaxConsumers = -1, -1
		if all[i].MaxMsgsPerSubject == 0 {
			all[i].MaxMsgsPerSubject = -1
		}
	}
	return all
}

// advisories keeps what the server says of the work streams' messages until the lane's owner has heeded it. The server
// does not wait for an answer: when the stream is full the oldest gives way, and the sweep finds what it was about.
func advisories() jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name: streamAdvisories, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld,
		MaxBytes: gib / 16, MaxMsgSize: maxMessage, MaxAge: 7 * 24 * time.Hour, Duplicates: dedupeWindow,
	}
	for _, stream := range workStreams() {
		cfg.Subjects = append(cfg.Subjects, advisorySubjects(stream)...)
	}
	return cfg
}

// bucket is a key-value bucket as a plain stream: without rollup nobody who may write one key can erase the others,
// and without direct get a read always sees the last write.
func bucket(name string, maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxMsgsPerSubject: 1, MaxBytes: maxBytes, MaxMsgSize: maxMessage, Duplicates: dedupeWindow,
		AllowRollup: false, AllowDirect: false, DenyPurge: true,
	}
}

// consumerOf returns the durable consumer of one leg's share of a stream. That of the first slot has the name that the
// one for all slots had in older versions, and is made of it (docs/adr/0026).
func consumerOf(lane events.Lane, src source, legName string, window int) jetstream.ConsumerConfig {
	name, filter := fmt.Sprintf("%s-%s", lane, legName), events.LaneFilter(lane, legName)
	switch {
	case src.due:
		name, filter = fmt.Sprintf("due-%s-%s", lane, legName), events.DueFilter(lane, legName)
	case src.slots && src.slot > 0:
		name, filter = fmt.Sprintf("%s_s%d-%s", lane, src.slot, legName), events.SlotFilter(legName, src.slot)
	case src.slots:
		filter = events.SlotFilter(legName, 0)
	}
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: ackWait, MaxAckPending: window, MaxDeliver: -1, MaxWaiting: 512,
	}
}

// Ensure creates the streams that are missing and reports what differs in those that exist.
func (b *Bus) Ensure(ctx context.Context) ([]Drift, error) {
	var drifts []Drift
	for _, want := range b.streams() {
		have, err := b.ensureStream(ctx, want)
		if err != nil {
			return nil, err
		}
		drifts = append(drifts, compareStream(want, have)...)
	}
	return drifts, nil
}

// ensureStream returns the configuration of a stream, which it makes if there is none.
func (b *Bus) ensureStream(ctx context.Context, want streamConfig) (streamConfig, error) {
	stream, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = b.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = b.js.Stream(ctx, want.Name) // another process was quicker
		}
	}
	if err != nil {
		return streamConfig{}, fmt.Errorf("ensure stream %s: %w", want.Name, refusal(err, want))
	}
	return stream.CachedInfo().Config, nil
}

// knownConsumer returns what the consumer of this name should be, and whether this build has one of this name. Its
// window is what a replica was given, so it is have's.
func knownConsumer(stream string, have consumerConfig) (consumerConfig, bool) {
	for _, lane := range []events.Lane{events.Code, events.Refresh, events.Register, events.Reconcile} {
		for _, src := range sources(lane) {
			which, ok := strings.CutPrefix(have.Durable, consumerOf(lane, src, "", 0).Durable)
			if ok && src.stream == stream && which != "" {
				return consumerOf(lane, src, which, have.MaxAckPending), true
			}
		}
	}
	return consumerConfig{}, false
}
