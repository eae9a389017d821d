//go:build !race

package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/bus/embed"
)

// TestWatermillsAcceptanceSuite runs Watermill's universal Pub/Sub suite against the publisher and the subscriber.
// Deliveries are at least once and in no order, as on any work queue with several hands: ExactlyOnceDelivery and
// GuaranteedOrder are not declared. The restart of the server has its own tests, so no restart command is given.
// The suite has a race of its own (it reads what a goroutine appends to), so it is left out under the race detector.
func TestWatermillsAcceptanceSuite(t *testing.T) { //nolint:paralleltest // the suite runs its own tests in parallel
	server := bustest.Server(t)
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			t.Helper()
			return newPubSub(t, server, "default")
		},
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			t.Helper()
			return newPubSub(t, server, group)
		})
}

// pubSub gives every topic of the suite a stream, and every consumer group a durable consumer on it.
type pubSub struct {
	*bus.Subscriber

	publisher bus.Publisher
	js        jetstream.JetStream
	group     string
}

func newPubSub(t *testing.T, server *embed.Server, group string) (message.Publisher, message.Subscriber) {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{InProcess: server, Name: "suite", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); nc.Close() })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	p := pubSub{
		Subscriber: &bus.Subscriber{Bus: b, Window: 64, Drain: time.Second}, publisher: b.Publisher(), js: js, group: "group-" + group,
	}
	return suitePublisher{p}, p
}

func (p pubSub) stream(topic string) (name, subject string, err error) {
	name = "SUITE_" + strings.NewReplacer(".", "_", " ", "_", "*", "_", ">", "_").Replace(topic)
	subject = "suite." + name
	_, err = p.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
	return name, subject, err
}

func (p pubSub) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if err := p.SubscribeInitialize(topic); err != nil { //nolint:contextcheck // the suite's interface has none
		return nil, err
	}
	name, _, err := p.stream(topic) //nolint:contextcheck // as above
	if err != nil {
		return nil, err
	}
	return p.Subscriber.Subscribe(ctx, name+"/"+p.group)
}

// SubscribeInitialize makes the consumer, so that what is published before the subscription is not missed.
func (p pubSub) SubscribeInitialize(topic string) error {
	name, _, err := p.stream(topic)
	if err != nil {
		return err
	}
	_, err = p.js.CreateOrUpdateConsumer(context.Background(), name, jetstream.ConsumerConfig{
		Durable: p.group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxAckPending: 1000, MaxDeliver: -1,
	})
	return err
}

// suitePublisher publishes a topic of the suite under its subject.
type suitePublisher struct{ pubSub }

func (p suitePublisher) Publish(topic string, messages ...*message.Message) error {
	_, subject, err := p.stream(topic)
	if err != nil {
		return err
	}
	return p.publisher.Publish(subject, messages...)
}

func (p suitePublisher) Close() error { return p.publisher.Close() }
