//go:build e2e

package e2e

import (
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"kindling/internal/bus"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// TestContainerOfNATSLosesNothingThatItAcknowledged kills the server's container with SIGKILL in mid-traffic and starts
// it again on the same volume; then it freezes it for five seconds. Whatever was acknowledged must be there, once, and
// whoever won a compare-and-set must still be the winner.
func TestContainerOfNATSLosesNothingThatItAcknowledged(t *testing.T) {
	e := startDocker(t)
	container, url := e.nats(t)
	b := connect(t, url)
	load := startTraffic(t, b, publishers, 0)

	load.await(t, 200)
	if err := e.Client.KillContainer(docker.KillContainerOptions{ID: container.Container.ID, Signal: docker.SIGKILL}); err != nil {
		t.Fatal(err)
	}
	if err := e.Client.StartContainer(container.Container.ID, nil); err != nil {
		t.Fatal(err)
	}
	load.await(t, load.acked()+200)

	if err := e.Client.PauseContainer(container.Container.ID); err != nil {
		t.Fatal(err)
	}
	before := load.acked()
	<-time.NewTimer(5 * time.Second).C
	frozen := load.acked()
	if err := e.Client.UnpauseContainer(container.Container.ID); err != nil {
		t.Fatal(err)
	}
	if frozen > before+publishers+contenders { // what was on the wire when it froze
		t.Errorf("%d writes were acknowledged by a frozen server", frozen-before)
	}
	load.await(t, frozen+200)
	load.finish(t)

	t.Logf("%d events and %d contests; %d writes failed in between and were repeated", len(load.events), len(load.winners), load.failed.Load())
	if load.failed.Load() == 0 {
		t.Error("no write met the outages: they were too short to prove anything")
	}
	load.checkEvents(t, url)
	load.checkWinners(t, b)
}

// natsImage builds our image of the NATS server.
func (e engine) natsImage(t *testing.T) {
	t.Helper()
	e.image(t, map[string]string{
		"Dockerfile": "../../deployments/nats/Dockerfile", "single.conf": "../../deployments/nats/single.conf",
		"cluster.conf": "../../deployments/nats/cluster.conf", "nats-server": build(t, "nats-server") + "/nats-server",
	}, "data")
}

// nats runs our image of the NATS server with a network and a volume of its own, and returns its address.
func (e engine) nats(t *testing.T) (container *dockertest.Resource, url string) {
	t.Helper()
	e.natsImage(t)
	port := strconv.Itoa(freePort(t))
	container = e.run(t, dockertest.RunOptions{
		Networks: []*dockertest.Network{e.network(t, "", false)}, Mounts: []string{e.volume(t, "") + ":/data"},
		PortBindings: map[docker.Port][]docker.PortBinding{"4222/tcp": {{HostIP: "127.0.0.1", HostPort: port}}},
	})
	if user := container.Container.Config.User; user != "65532:65532" {
		t.Errorf("the server runs as %q", user)
	}
	return container, "nats://127.0.0.1:" + port
}

func connect(t *testing.T, url string) *bus.Bus {
	t.Helper()
	return connectReplicated(t, url, 1)
}

// connectReplicated opens a bus whose streams have replicas.
func connectReplicated(t *testing.T, url string, replicas int) *bus.Bus {
	t.Helper()
	var b *bus.Bus
	eventually(t, 20*time.Second, "the server in the container answers", func() bool {
		var err error
		b, err = bus.Connect(t.Context(), bus.Config{URL: url, Name: "e2e", Replicas: replicas, Log: slog.New(slog.DiscardHandler)})
		return err == nil
	})
	t.Cleanup(b.Close)
	if drifts, err := b.Ensure(t.Context()); err != nil || len(drifts) > 0 {
		t.Fatalf("streams: %v, %v", drifts, err)
	}
	return b
}

// checkEvents wants every acknowledged event in its stream, once, and nothing else.
func (l *traffic) checkEvents(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "REGISTER")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("kindling.register.>"))
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, e := range l.events {
		switch n := info.State.Subjects[e.Subject()]; {
		case n == 0:
			lost++
		case n > 1:
			t.Errorf("%s is stored %d times", e.Mailbox, n)
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged events are lost", lost, len(l.events))
	}
	if info.State.Msgs != uint64(len(l.events)) {
		t.Errorf("%d events are stored, %d were acknowledged", info.State.Msgs, len(l.events))
	}
}

// checkWinners wants every contest's record to name its winner, and to refuse the others still.
func (l *traffic) checkWinners(t *testing.T, b *bus.Bus) {
	t.Helper()
	for id, winner := range l.winners {
		fact, revision, err := b.Registrations().Load(t.Context(), id)
		if err != nil || revision == 0 {
			t.Fatalf("the record of %s, which %s won, is lost: %v", id, winner, err)
		}
		if fact.Owner != winner {
			t.Errorf("%s won %s, but its record names %s", winner, id, fact.Owner)
		}
		late := mailbox.Registration{Phase: mailbox.Posting, Owner: "too late"}
		if _, err := b.Registrations().Save(t.Context(), id, late, 0); !errors.Is(err, handlers.ErrConflict) {
			t.Errorf("a late contender for %s met %v instead of a conflict", id, err)
		}
	}
}

// TestContainerImageRunsEveryProgramAloneAndUnprivileged starts each program of Kindling's image with nothing but the
// image: no shell, no library, no user database, no file that it may write, no network.
func TestContainerImageRunsEveryProgramAloneAndUnprivileged(t *testing.T) {
	e := startDocker(t)
	programs := []string{"kindling", "callback-ingest", "token-worker", "warmy-worker", "console"}
	bin := build(t, programs...)
	files := map[string]string{"Dockerfile": "../../deployments/Dockerfile", "ca-certificates.crt": certificates(t)}
	for _, p := range programs {
		files["bin/"+p] = bin + "/" + p
	}
	e.image(t, files, "bin")
	for _, p := range programs {
		flag := "--version"
		if p == "kindling" {
			flag = "version"
		}
		container := e.run(t, dockertest.RunOptions{Cmd: []string{"/bin/" + p, flag}})
		code, err := e.Client.WaitContainerWithContext(container.Container.ID, t.Context())
		said := e.logs(t, container)
		if err != nil || code != 0 || !strings.Contains(said, "go1.") {
			t.Errorf("%s %s ended with %d, %v: %s", p, flag, code, err, said)
		}
		if user := container.Container.Config.User; user != "65532:65532" {
			t.Errorf("%s runs as %q", p, user)
		}
	}
}

// certificates is the file of trusted roots that `make images` copies; here any file will do.
func certificates(t *testing.T) string {
	t.Helper()
	const host = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(host); err == nil {
		return host
	}
	return "../../deployments/Dockerfile"
}
