//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"kindling/internal/bus"
	"kindling/internal/events"
)

// TestContainerOfNATSWithAFullVolumeIsNamedAndHealedByARestart fills the small volume of an external server, frees it, and
// restarts the server: the process says what is wrong and what helps, and whatever was acknowledged is there.
func TestContainerOfNATSWithAFullVolumeIsNamedAndHealedByARestart(t *testing.T) {
	e := startDocker(t)
	container, url := e.smallNATS(t)
	b := connect(t, url)
	ballast := fill(t, b, events.RegistrationRequested, 15<<20) // the volume has 24 MiB
	codes := fill(t, b, events.CodeReceived, 1<<40)
	if err := b.Ready(t.Context()); !errors.Is(err, bus.ErrNotStoring) || !strings.Contains(err.Error(), "then restart nats-server") {
		t.Errorf("with a full volume readiness is %v", err)
	}

	stream := streamOf(t, url, "REGISTER")
	if n := stream.CachedInfo().State.Msgs; n != uint64(len(ballast)) {
		t.Errorf("%d of %d acknowledged events are there", n, len(ballast))
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := bulky(events.CodeReceived, "late")
	if err := publishWithin(t, b, 2*time.Second, late); err == nil {
		t.Error("this nats-server stores again once there is room: take the restart out of the runbook stream-nearly-full")
	}

	if err := e.Client.RestartContainer(container.Container.ID, 10); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "codes are stored again", func() bool { return publishWithin(t, b, 2*time.Second, late) == nil })
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("after the restart readiness is %v", err)
	}
	info, err := streamOf(t, url, "CODE").Info(t.Context(), jetstream.WithSubjectFilter("kindling.code.>"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range append(codes, late) {
		if info.State.Subjects[code.Subject()] != 1 {
			t.Errorf("acknowledged %s is stored %d times", code.Mailbox, info.State.Subjects[code.Subject()])
		}
	}
}

// smallNATS runs our image of the NATS server on a volume in memory that is small. A second container holds the volume,
// so that it outlives a restart of the first.
func (e engine) smallNATS(t *testing.T) (container *dockertest.Resource, url string) {
	t.Helper()
	e.natsImage(t)
	_, err := e.Client.CreateVolume(docker.CreateVolumeOptions{
		Context: t.Context(), Name: e.name, Driver: "local", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=24m,uid=65532,gid=65532"},
	})
	if err != nil {
		t.Fatalf("make a small volume: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Client.RemoveVolumeWithOptions(docker.RemoveVolumeOptions{Name: e.name}); err != nil {
			t.Errorf("remove the volume: %v", err)
		}
	})
	e.run(t, dockertest.RunOptions{Mounts: []string{e.name + ":/data"}, Cmd: []string{"--addr", "127.0.0.1"}})
	port := strconv.Itoa(freePort(t))
	container = e.run(t, dockertest.RunOptions{
		Networks: []*dockertest.Network{e.network(t, "", false)}, Mounts: []string{e.name + ":/data"},
		PortBindings: map[docker.Port][]docker.PortBinding{"4222/tcp": {{HostIP: "127.0.0.1", HostPort: port}}},
	})
	return container, "nats://127.0.0.1:" + port
}

// fill publishes events of a kind until one is not stored, or they take so many bytes. It returns the acknowledged ones.
func fill(t *testing.T, b *bus.Bus, kind events.Kind, bytes int) []events.Event {
	t.Helper()
	var stored []events.Event
	for size := 0; size < bytes; size += bulk {
		ev := bulky(kind, fmt.Sprintf("m%d", len(stored)))
		if err := publishWithin(t, b, 2*time.Second, ev); err != nil {
			t.Logf("after %d events of kind %s: %v", len(stored), kind, err)
			break
		}
		stored = append(stored, ev)
	}
	if len(stored) == 0 {
		t.Fatalf("no event of kind %s was stored: this proves nothing", kind)
	}
	return stored
}

// bulk is about what an event takes that is as large as may be.
const bulk = 44 << 10

func bulky(kind events.Kind, mailbox string) events.Event {
	now := time.Now()
	ev := events.New(kind, "seed|"+mailbox, now)
	ev.Mailbox, ev.App, ev.Account, ev.Campaign, ev.Attempt = mailbox, "main", "main", "camp", "att"
	ev.Sealed = make([]byte, 32<<10)
	return ev
}

func publishWithin(t *testing.T, b *bus.Bus, d time.Duration, ev events.Event) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return b.Publish(ctx, ev)
}

func streamOf(t *testing.T, url, name string) jetstream.Stream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}
