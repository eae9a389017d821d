package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
)

// The processes, as NATS monitoring and deployments/nats/users.conf name them.
const (
	ProcessEdge        = "callback-ingest"
	ProcessTokenWorker = "token-worker"
	ProcessWarmyWorker = "warmy-worker"
	ProcessConsole     = "console"
	ProcessAdmin       = "admin" // no running process: `kindling store migrate`
)

// Rights returns the subjects to which a process must be able to publish: everything it asks of JetStream is a publish,
// too. It hears answers on "_INBOX_<process>.>" and nothing else. A name that is none of the processes has no rights
// of its own, and is not checked.
func Rights(process string) []string {
	var rights []string
	switch process {
	case ProcessEdge:
		rights = slices.Concat(
			writes("kindling.code.>", events.HintFilter, "$KV.claims.>", "$KV.tenants.>"),
			reads(bucketMailboxes, bucketClaims, bucketGrants, bucketRegistrations, bucketTenants))
	case ProcessTokenWorker:
		rights = slices.Concat(
			writes("kindling.refresh.>", "kindling.register.>", "kindling.at.refresh.>", "kindling.dead.code.>", "kindling.dead.refresh.>",
				"$KV.grants.>", "$KV.control.restore.grants", "$KV.control."+refreshPace+">"),
			reads(bucketMailboxes, bucketClaims, bucketGrants, bucketRegistrations),
			asks("STREAM.MSG.GET."+streamDead), // does the event have its dead letter already?
			rescues(streamCode, streamRefresh, streamTokenTimers),
			worksLegs(events.Code, events.Refresh),
			consumes(streamCode, "kindling.code.>"), consumes(streamRefresh, "kindling.refresh.>"),
			consumes(streamTokenTimers, "kindling.due.refresh.>"))
	case ProcessWarmyWorker:
		rights = slices.Concat(
			writes("kindling.refresh.>", "kindling.register.>", "kindling.at.register.>", "kindling.at.reconcile.>",
				"kindling.dead.register.>", "kindling.dead.reconcile.>", "$KV.registrations.>", "$KV.identities.>", "$KV.control.pace.>",
				"$KV.control.restore.registrations", "$KV.control."+sessionPrefix+">", "$KV.control."+plansPrefix+">",
				"$KV.control."+turnKey(events.Reconcile, ">"), "$KV.control."+listedKey+">"),
			reads(bucketMailboxes, bucketGrants, bucketRegistrations, bucketIdentities),
			asks("STREAM.MSG.GET."+streamDead),
			rescues(streamRegister, streamWarmyTimers),
			asks("CONSUMER.CREATE."+streamHints+"."+hintConsumer, "CONSUMER.INFO."+streamHints+"."+hintConsumer, "CONSUMER.MSG.NEXT."+streamHints+"."+hintConsumer),
			writes("$JS.ACK."+streamHints+"."+hintConsumer+".>"),
			worksLegs(events.Register, events.Reconcile),
			consumes(streamRegister, "kindling.register.>"),
			consumes(streamWarmyTimers, "kindling.due.register.>", "kindling.due.reconcile.>"))
	case ProcessConsole:
		rights = slices.Concat(
			writes("kindling.refresh.>", "kindling.register.>", "kindling.at.reconcile.>", "kindling.audit.operator",
				"$KV.campaigns.>", "$KV.mailboxes.>", "$KV.control.leg.>", "$KV.control.discarded.>"),
			reads(bucketCampaigns, bucketMailboxes, bucketClaims, bucketGrants, bucketRegistrations, bucketControl),
			follows(bucketCampaigns), follows(bucketMailboxes), follows(bucketClaims), follows(bucketGrants), follows(bucketRegistrations),
			follows(bucketTenants),
			asks("STREAM.MSG.GET."+streamDead, "STREAM.MSG.DELETE."+streamDead, "CONSUMER.NAMES."+streamCode, "CONSUMER.NAMES."+streamRefresh, "CONSUMER.NAMES."+streamRegister),
			pauses(queues()...), measures(queues()...))
	case ProcessAdmin:
		rights = append(asks("STREAM.CREATE.*", "STREAM.UPDATE.*"), "kindling.audit.operator")
		for _, queue := range queues() {
			rights = append(rights, asks("CONSUMER.LIST."+queue, "CONSUMER.INFO."+queue+".*", "CONSUMER.CREATE."+queue+".*.>")...)
		}
	default:
		return nil
	}
	rights = slices.Concat(asks("INFO", "STREAM.INFO.*"), rights)
	slices.Sort(rights)
	return slices.Compact(rights)
}

// queues are the streams from which work is taken.
func queues() []string {
	return []string{streamCode, streamRefresh, streamTokenTimers, streamRegister, streamWarmyTimers}
}

func writes(subjects ...string) []string { return subjects }

func asks(verbs ...string) []string {
	rights := make([]string, len(verbs))
	for i, verb := range verbs {
		rights[i] = api + verb
	}
	return rights
}

// reads are the rights to read a bucket's keys.
func reads(buckets ...string) []string {
	rights := make([]string, len(buckets))
	for i, bucket := range buckets {
		rights[i] = api + "STREAM.MSG.GET.KV_" + bucket
	}
	return rights
}

// consumes are the rights to make, ask for, pull from and acknowledge the consumers of a lane's legs.
func consumes(stream string, filters ...string) []string {
	rights := asks("CONSUMER.MSG.NEXT."+stream+".*", "STREAM.MSG.DELETE."+stream) // a readable secret is erased
	for _, filter := range filters {
		rights = append(rights, api+"CONSUMER.CREATE."+stream+".*."+filter)
	}
	return slices.Concat(rights, []string{"$JS.ACK." + stream + ".>"}, measures(stream), pauses(stream))
}

// measures are the rights to tell how much waits in the lanes of a stream, and since when.
func measures(streams ...string) []string {
	var rights []string
	for _, stream := range streams {
		rights = append(rights, asks("CONSUMER.INFO."+stream+".*", "STREAM.MSG.GET."+stream)...)
	}
	return rights
}

// rescues are the rights to hear the server's advisories on streams, and to read what fell silent in them.
func rescues(streams ...string) []string {
	var rights []string
	for _, stream := range streams {
		consumer := streamAdvisories + "." + advisoryConsumer(stream)
		rights = append(rights, "$JS.ACK."+consumer+".>")
		rights = append(rights, asks("CONSUMER.CREATE."+consumer, "CONSUMER.INFO."+consumer, "CONSUMER.MSG.NEXT."+consumer, "STREAM.MSG.GET."+stream)...)
	}
	return rights
}

func pauses(streams ...string) []string {
	rights := make([]string, len(streams))
	for i, stream := range streams {
		rights[i] = api + "CONSUMER.PAUSE." + stream + ".*"
	}
	return rights
}

// follows are the rights to hear of every change of a bucket, through a consumer that nats.go makes for itself.
func follows(bucket string, filters ...string) []string {
	stream := "KV_" + bucket
	rights := asks("CONSUMER.INFO."+stream+".*", "CONSUMER.MSG.NEXT."+stream+".*", "CONSUMER.DELETE."+stream+".*")
	if len(filters) == 0 {
		return append(rights, api+"CONSUMER.CREATE."+stream+".*")
	}
	for _, filter := range filters {
		rights = append(rights, api+"CONSUMER.CREATE."+stream+".*."+filter)
	}
	return rights
}

// worksLegs are a worker's rights on the control bucket: the legs of its lanes, and its book of handlings that began.
func worksLegs(lanes ...events.Lane) []string {
	var rights []string
	for _, lane := range lanes {
		rights = append(rights, "$KV.control.began."+string(lane)+".>")
		for _, name := range legsOf(lane, "") {
			rights = append(rights, "$KV.control."+legKey(name)+">")
		}
	}
	slices.Sort(rights)
	rights = slices.Compact(rights)
	rights = append(rights, asks("STREAM.MSG.DELETE.KV_"+bucketControl)...)
	return slices.Concat(rights, reads(bucketControl), follows(bucketControl, "$KV.control.leg.>"))
}

// rightFor is what to grant so that process may publish to subject: the right that it was meant to have, else the subject.
func rightFor(process, subject string) string {
	for _, right := range Rights(process) {
		if matches(right, subject) {
			return right
		}
	}
	return subject
}

// probe stands where a right has a wildcard. Nothing has this name.
const probe = "rights-check"

// CheckRights tells which rights this process lacks. It publishes to each of its subjects what the server refuses or
// ignores after it has looked at the right: an API request that is no JSON, about a consumer that does not exist, or a
// message for another stream.
func (b *Bus) CheckRights(ctx context.Context) error {
	rights := Rights(b.denials.process)
	if denied, err := b.probe(ctx, rights...); !denied {
		return err
	}
	var missing []error
	for _, right := range rights {
		denied, err := b.probe(ctx, right)
		if err != nil {
			return err
		}
		if denied {
			missing = append(missing, &DeniedError{Process: b.denials.process, Verb: verbPublish, Subject: right})
		}
	}
	return errors.Join(missing...)
}

// probe reports whether the server denies one of the rights. Its denials come before its answer to the flush.
func (b *Bus) probe(ctx context.Context, rights ...string) (denied bool, err error) {
	before := b.nc.LastError()
	for _, right := range rights {
		msg := nats.NewMsg(strings.NewReplacer("*", probe, ">", probe).Replace(right))
		msg.Data = []byte(probe)
		if !strings.HasPrefix(right, "$JS.") {
			msg.Header.Set(nats.ExpectedStreamHdr, probe)
		}
		if err := b.nc.PublishMsg(msg); err != nil {
			return false, fmt.Errorf("check rights: %w: %w", ErrUnavailable, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return false, fmt.Errorf("check rights: %w: %w", ErrUnavailable, err)
	}
	last := b.nc.LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && last != before, nil //nolint:errorlint // is it another one?
}
