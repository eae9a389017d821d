package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
)

const (
	// astrayWithin is how many messages may wait for their subjects to be listed: a hundred bytes each.
	astrayWithin = 200_000
	// astrayShown is how many places are named.
	astrayShown = 5
)

// Astray looks for registrations under subjects of no slot: no consumer takes them, so they are delivered to nobody, and
// because they are there the second net does not ask for them anew. No producer of ours makes one.
func (b *Bus) Astray(ctx context.Context) ([]Finding, error) {
	stream, err := b.js.Stream(ctx, streamRegister)
	if err != nil {
		return nil, fmt.Errorf("ask for stream %s: %w: %w", streamRegister, ErrUnavailable, err)
	}
	if n := stream.CachedInfo().State.Msgs; n > astrayWithin {
		what := fmt.Sprintf("%d registrations wait: too many to look whether each is where a consumer takes it", n)
		return []Finding{{Note, what, "run this again when fewer wait"}}, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("kindling."+string(events.Register)+".>"))
	if err != nil {
		return nil, fmt.Errorf("ask for the subjects of %s: %w: %w", streamRegister, ErrUnavailable, err)
	}
	var places []string
	count := uint64(0)
	for subject, n := range info.State.Subjects {
		if place := slotPlace(subject); place != "" {
			count += n
			places = append(places, place)
		}
	}
	if count == 0 {
		return nil, nil
	}
	slices.Sort(places)
	places = slices.Compact(places)
	remedy := "see who publishes there; then nats stream purge " + streamRegister + " --subject '<place>': within ten minutes warmy-worker asks anew for what is lost"
	what := fmt.Sprintf("%d registrations lie in %s under subjects of none of the %d slots, and are delivered to nobody: %s",
		count, streamRegister, events.Slots, strings.Join(places[:min(len(places), astrayShown)], ", "))
	return []Finding{{Unsafe, what, remedy}}, nil
}

// unnamed stands for places whose names are not of our alphabet: who publishes astray may have put anything there.
const unnamed = "places whose names are not shown"

// slotPlace is the place of a registration that no slot's consumer takes, as a filter of that place alone; "" if one does.
func slotPlace(subject string) string {
	tokens := strings.Split(subject, ".")
	account, slot := min(len(tokens), 3), min(len(tokens), 4)
	if slices.ContainsFunc(tokens[:slot], func(token string) bool { return !events.IsToken(token) }) {
		return unnamed
	}
	if len(tokens) <= 4 { // it lacks its slot, or its mailbox
		return strings.Join(tokens[:min(account, len(tokens)-1)], ".") + ".*"
	}
	for n := range events.Slots {
		if strings.Join(tokens[:slot], ".")+".>" == events.SlotFilter(tokens[2], n) {
			return ""
		}
	}
	return strings.Join(tokens[:slot], ".") + ".>"
}
