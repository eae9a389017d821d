package bus

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

type (
	streamConfig   = jetstream.StreamConfig
	consumerConfig = jetstream.ConsumerConfig
)

// What goes wrong with a setting.
const (
	harmless = ""
	lost     = "messages that were acknowledged can be lost"
	dropped  = "messages would be dropped instead of refused"
	vanish   = "messages would vanish in silence"
	astray   = "messages would go astray"
	barred   = "what Kindling stores or removes would be refused"
	erasable = "who may publish one message could erase others"
	stale    = "a read may miss the last write, and decisions rest on it"
	foreign  = "the stream would hold what Kindling did not put there"
	leaking  = "messages would leave the stream, past its rights"
	halting  = "work would stop without a word"
	twice    = "work could be done twice at once"
)

// streamSettings are the settings of a stream that are compared. What is not here breaks no promise: description,
// metadata, placement, compression, first sequence.
func streamSettings() []setting[streamConfig] {
	type c = streamConfig
	return []setting[c]{
		field("subjects", astray, func(s *c) *[]string { return &s.Subjects }),
		field("retention", vanish, func(s *c) *jetstream.RetentionPolicy { return &s.Retention }).stuck(workQueue),
		field("storage", lost, func(s *c) *jetstream.StorageType { return &s.Storage }).stuck(always),
		field("persist_mode", lost, func(s *c) *jetstream.PersistModeType { return &s.PersistMode }).stuck(always),
		field("discard", dropped, func(s *c) *jetstream.DiscardPolicy { return &s.Discard }),
		field("discard_new_per_subject", barred, func(s *c) *bool { return &s.DiscardNewPerSubject }),
		field("max_bytes", harmless, func(s *c) *int64 { return &s.MaxBytes }),
		field("max_msgs", dropped, func(s *c) *int64 { return &s.MaxMsgs }).unless(refuses),
		field("max_msgs_per_subject", dropped, func(s *c) *int64 { return &s.MaxMsgsPerSubject }),
		field("max_msg_size", barred, func(s *c) *int32 { return &s.MaxMsgSize }).unless(larger),
		field("max_age", vanish, func(s *c) *time.Duration { return &s.MaxAge }).unless(ages),
		field("duplicate_window", harmless, func(s *c) *time.Duration { return &s.Duplicates }),
		field("max_consumers", harmless, func(s *c) *int { return &s.MaxConsumers }),
		field("num_replicas", harmless, func(s *c) *int { return &s.Replicas }),
		field("no_ack", lost, func(s *c) *bool { return &s.NoAck }),
		field("sealed", barred, func(s *c) *bool { return &s.Sealed }).stuck(always),
		field("deny_delete", "messages could be removed or would stay for ever", func(s *c) *bool { return &s.DenyDelete }).
			stuck(func(_, have *c) bool { return have.DenyDelete }),
		field("deny_purge", "one call could erase the stream", func(s *c) *bool { return &s.DenyPurge }).
			stuck(func(_, have *c) bool { return have.DenyPurge }).unless(func(_, have *c) bool { return have.DenyPurge }),
		field("allow_rollup_hdrs", erasable, func(s *c) *bool { return &s.AllowRollup }),
		field("allow_direct", stale, func(s *c) *bool { return &s.AllowDirect }),
		field("allow_atomic", barred, func(s *c) *bool { return &s.AllowAtomicPublish }).unless(func(_, have *c) bool { return have.AllowAtomicPublish }),
		field("allow_batched", harmless, func(s *c) *bool { return &s.AllowBatchPublish }),
		field("allow_msg_schedules", "timers would be refused, or whoever may publish could write elsewhere", func(s *c) *bool { return &s.AllowMsgSchedules }).
			stuck(func(_, have *c) bool { return have.AllowMsgSchedules }),
		field("allow_msg_ttl", vanish, func(s *c) *bool { return &s.AllowMsgTTL }).stuck(func(_, have *c) bool { return have.AllowMsgTTL }),
		field("subject_delete_marker_ttl", foreign, func(s *c) *time.Duration { return &s.SubjectDeleteMarkerTTL }),
		field("allow_msg_counter", barred, func(s *c) *bool { return &s.AllowMsgCounter }).stuck(always),
		field("mirror", foreign, func(s *c) **jetstream.StreamSource { return &s.Mirror }).stuck(always),
		field("sources", foreign, func(s *c) *[]*jetstream.StreamSource { return &s.Sources }),
		field("subject_transform", astray, func(s *c) **jetstream.SubjectTransformConfig { return &s.SubjectTransform }),
		field("republish", leaking, func(s *c) **jetstream.RePublish { return &s.RePublish }),
		field("consumer_limits", halting, func(s *c) *jetstream.StreamConsumerLimits { return &s.ConsumerLimits }),
	}
}

// workQueue tells that a stream cannot move between the two kinds of retention: neither to a work queue nor from one.
func workQueue(want, have *streamConfig) bool {
	return want.Retention == jetstream.WorkQueuePolicy || have.Retention == jetstream.WorkQueuePolicy
}

// refuses tells that a full stream says no instead of forgetting.
func refuses(want, _ *streamConfig) bool { return want.Discard == jetstream.DiscardNew }

func larger(want, have *streamConfig) bool {
	return have.MaxMsgSize < 0 || have.MaxMsgSize > want.MaxMsgSize
}

// ages tells that the stream is one whose messages may end by age: how old they get is an operator's choice.
func ages(want, _ *streamConfig) bool { return want.MaxAge > 0 }

// consumerSettings are the settings of a consumer that are compared. A pause is the word of the legs, and not compared.
func consumerSettings() []setting[consumerConfig] {
	type c = consumerConfig
	return []setting[c]{
		filters(),
		field("ack_policy", lost, func(s *c) *jetstream.AckPolicy { return &s.AckPolicy }).stuck(always),
		field("deliver_policy", astray, func(s *c) *jetstream.DeliverPolicy { return &s.DeliverPolicy }).stuck(always),
		field("deliver_subject", halting, func(s *c) *string { return &s.DeliverSubject }).stuck(always),
		field("max_deliver", "a message would fall silent after so many deliveries", func(s *c) *int { return &s.MaxDeliver }),
		field("backoff", "it replaces ack_wait and adds to every delay", func(s *c) *[]time.Duration { return &s.BackOff }),
		field("ack_wait", twice, func(s *c) *time.Duration { return &s.AckWait }),
		field("headers_only", lost, func(s *c) *bool { return &s.HeadersOnly }),
		field("mem_storage", twice, func(s *c) *bool { return &s.MemoryStorage }).stuck(always),
		field("replay_policy", "work would arrive as slowly as it once came", func(s *c) *jetstream.ReplayPolicy { return &s.ReplayPolicy }).stuck(always),
		field("inactive_threshold", halting, func(s *c) *time.Duration { return &s.InactiveThreshold }),
		field("max_batch", barred, func(s *c) *int { return &s.MaxRequestBatch }),
		field("max_expires", barred, func(s *c) *time.Duration { return &s.MaxRequestExpires }),
		field("max_bytes", barred, func(s *c) *int { return &s.MaxRequestMaxBytes }),
		field("priority_groups", halting, func(s *c) *[]string { return &s.PriorityGroups }).stuck(always),
		field("max_waiting", harmless, func(s *c) *int { return &s.MaxWaiting }).stuck(always),
		field("max_ack_pending", harmless, func(s *c) *int { return &s.MaxAckPending }),
		field("rate_limit_bps", harmless, func(s *c) *uint64 { return &s.RateLimit }),
		field("num_replicas", harmless, func(s *c) *int { return &s.Replicas }),
	}
}

// filters is the one setting that the server keeps in two places.
func filters() setting[consumerConfig] {
	s := field("filter_subject", astray, func(s *consumerConfig) *string { return &s.FilterSubject })
	s.show = func(c *consumerConfig) string {
		return text(strings.Fields(c.FilterSubject + " " + strings.Join(c.FilterSubjects, " ")))
	}
	s.take = func(to, from *consumerConfig) {
		to.FilterSubject, to.FilterSubjects = from.FilterSubject, from.FilterSubjects
	}
	return s
}

// compareStream tells in what a stream differs from what this build expects.
func compareStream(want, have streamConfig) []Drift {
	return differences(streamSettings(), &want, &have, Drift{Stream: want.Name})
}

// compareConsumer tells in what a consumer of stream differs from what this build expects.
func compareConsumer(stream string, want, have consumerConfig) []Drift {
	return differences(consumerSettings(), &want, &have, Drift{Stream: stream, Consumer: want.Durable})
}
