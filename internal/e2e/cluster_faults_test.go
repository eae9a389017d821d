//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/ory/dockertest/v3/docker"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/leg"
)

const (
	// edgeOutage is how long the edge may turn everybody away when one node fails.
	edgeOutage = 10 * time.Second
	testedLeg  = "warmy/main"
	// silence is how long a node is frozen, or its clients cut off: longer than all that must notice it.
	silence = 12 * time.Second
	// whole is how long a node may take to catch up. One that was cut off while it led discards what it could not store
	// at a rate of one write in two seconds.
	whole = 4 * time.Minute
)

// TestClusterKeepsItsPromisesWhenAnyOneNodeFails runs three nodes from our image and configuration. One node after the
// other, each time the leader of what is written to, is killed, frozen, cut off from the others, cut off from its
// clients, and restarted. Meanwhile owners come back, workers race for records and a lane is worked on. In the end
// every acknowledged event is stored once or was handled, every contest has the one winner who was told so, a held leg
// has stayed held and a released one has flowed, and no single failure turned the edge's owners away for more than ten
// seconds.
//
// CLUSTER_KILLS (for each node), CLUSTER_ROUNDS (of all other faults) and CLUSTER_PARTITION (a duration) make it longer.
func TestClusterKeepsItsPromisesWhenAnyOneNodeFails(t *testing.T) {
	r := startRig(t)
	for i := range 3 * setting(t, "CLUSTER_KILLS", 1) {
		r.meet(t, "SIGKILL", i, func(n *node) func() {
			r.signal(t, n, docker.SIGKILL)
			// Not at once: the others must have to elect a leader.
			return func() { r.start(t, n) }
		}, 5*time.Second)
	}
	partition := silence
	if text := os.Getenv("CLUSTER_PARTITION"); text != "" {
		var err error
		if partition, err = time.ParseDuration(text); err != nil {
			t.Fatalf("CLUSTER_PARTITION: %v", err)
		}
	}
	for i := range setting(t, "CLUSTER_ROUNDS", 1) {
		r.meet(t, "freeze", 3*i, func(n *node) func() {
			if err := r.Client.PauseContainer(n.container.Container.ID); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := r.Client.UnpauseContainer(n.container.Container.ID); err != nil {
					t.Fatal(err)
				}
			}
		}, silence)
		r.meet(t, "partition", 3*i+1, func(n *node) func() {
			r.isolate(t, n)
			return func() { r.join(t, n) }
		}, partition)
		r.meet(t, "clients lost", 3*i+2, func(n *node) func() {
			r.cut(n)
			return r.mend
		}, silence)
		r.roll(t)
	}
	r.check(t)
}

func setting(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s is not a number: %s", name, text)
	}
	return n
}

// rig is a cluster and everybody who uses it.
type rig struct {
	*cluster

	wired []*wire // of all clients
	boss  *bus.Bus
	edge  *edge
	load  *traffic
	lane  *lane
	view  *view
	worst time.Duration

	rested time.Time // of the last handling before the leg was held
}

func startRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{cluster: startCluster(t), lane: &lane{handled: make(map[string]int)}, view: &view{seen: make(map[string]string)}}
	r.boss = r.client(t)
	r.edge = startEdge(t, r.client(t))
	r.load = startTraffic(t, r.client(t), 1, callbackEvery)
	worker := r.client(t)
	r.run(t, "the worker", func(ctx context.Context) error {
		return worker.Serve(ctx, bus.ServeConfig{Drain: time.Second}, bus.Lane{
			Lane: events.Register, Leg: "main", Window: 32, Handler: r.lane,
			Policy: bus.Policy{Attempts: 10, Base: 100 * time.Millisecond, Cap: time.Second, Crashes: 5},
		})
	})
	console := r.client(t)
	r.run(t, "the view", func(ctx context.Context) error { return console.Facts(nil).Follow(ctx, r.view) })
	r.load.await(t, 10)
	r.flows(t, "the start")
	return r
}

// client connects a process by wires of its own.
func (r *rig) client(t *testing.T) *bus.Bus {
	t.Helper()
	wires, url := r.wires(t)
	r.wired = append(r.wired, wires...)
	return connectReplicated(t, url, 3)
}

// run keeps something going until the test ends. It must not end before, and not with an error.
func (r *rig) run(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil || ctx.Err() == nil {
			t.Errorf("%s ended: %v", what, err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// gather brings every client to n.
func (r *rig) gather(t *testing.T, n *node) {
	t.Helper()
	for _, w := range r.wired {
		w.bar(w.target != n.clients)
	}
	eventually(t, 30*time.Second, "every client is at "+n.name, func() bool {
		for _, w := range r.wired {
			if w.target == n.clients && !w.used() {
				return false
			}
		}
		return true
	})
	for _, w := range r.wired {
		w.bar(false)
	}
}

// cut takes every client's way to n, and mend gives all of them back.
func (r *rig) cut(n *node) {
	for _, w := range r.wired {
		if w.target == n.clients {
			w.cut()
		}
	}
}

func (r *rig) mend() {
	for _, w := range r.wired {
		w.mend()
	}
}

// meet lets a node fail that leads what is written to and has every client, for a while, and waits until all that must
// go on does. In every second fault the leg is held before it and released after it, in the others held and released while the node is away.
func (r *rig) meet(t *testing.T, what string, i int, fail func(*node) (heal func()), while time.Duration) {
	t.Helper()
	n := r.nodes[i%len(r.nodes)]
	what += " of " + n.name[len(r.name)+1:]
	r.gather(t, n)
	r.crown(t, n, "CODE", "REGISTER", "KV_registrations", "KV_control")
	before := i%2 == 0
	if before {
		r.hold(t)
	}
	began := time.Now()
	heal := fail(n)
	over := time.NewTimer(while)
	if !before {
		r.hold(t)
		r.release(t, what)
		r.flows(t, what+", while it is away")
	}
	<-over.C
	heal()
	eventually(t, whole, "the cluster is whole again after "+what, r.healthy)
	if before {
		r.release(t, what)
	}
	r.flows(t, what)
	r.report(t, what, began)
}

// roll restarts one node after the other, each when the one before has caught up, as the manual says.
func (r *rig) roll(t *testing.T) {
	t.Helper()
	for _, n := range r.nodes {
		what := "restart of " + n.name[len(r.name)+1:]
		began := time.Now()
		r.retire(t, n)
		r.start(t, n)
		eventually(t, whole, "the cluster is whole again after "+what, r.healthy)
		r.flows(t, what)
		r.report(t, what, began)
	}
}

// hold holds the leg, as soon as the store takes the word, and waits until what was under way is over.
func (r *rig) hold(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "the leg is held", func() bool {
		return r.boss.Legs().Hold(t.Context(), testedLeg, "a test", "test") == nil
	})
	last := r.lane.latest()
	eventually(t, 30*time.Second, "the held leg rests", func() bool {
		was := last
		last = r.lane.latest()
		return was.Equal(last) && time.Since(last) > 2*time.Second
	})
	r.rested = last
}

// release wants that the leg has stayed held, and releases it.
func (r *rig) release(t *testing.T, what string) {
	t.Helper()
	var held leg.Leg
	eventually(t, time.Minute, "the leg's state after "+what, func() bool {
		var err error
		held, err = r.state(t)
		return err == nil
	})
	if held.State != leg.Held {
		t.Errorf("%s: the leg was held and is %s", what, held.State)
	}
	if !r.lane.latest().Equal(r.rested) {
		t.Errorf("%s: something was handled while its leg was held", what)
	}
	eventually(t, time.Minute, "the leg is released after "+what, func() bool {
		return r.boss.Legs().Release(t.Context(), testedLeg, "test") == nil
	})
}

func (r *rig) state(t *testing.T) (leg.Leg, error) {
	t.Helper()
	all, err := r.boss.Legs().List(t.Context())
	for _, l := range all {
		if l.Name == testedLeg {
			return l, err
		}
	}
	if err == nil {
		err = fmt.Errorf("no leg %s in %v", testedLeg, all)
	}
	return leg.Leg{}, err
}

// flows wants that everything published until now is handled, and everything won until now is seen.
func (r *rig) flows(t *testing.T, what string) {
	t.Helper()
	published, winners := r.load.soFar()
	began := time.Now()
	eventually(t, time.Minute, "the lane flows after "+what, func() bool {
		missing, _ := r.lane.missing(published)
		return missing == 0
	})
	lane := time.Since(began)
	eventually(t, time.Minute, "the view has caught up after "+what, func() bool { return r.view.unseen(winners) == 0 })
	t.Logf("%s: the lane flowed after %v, the view after %v", what, lane.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
}

// report prints how long the edge was away, and fails when that was too long.
func (r *rig) report(t *testing.T, what string, began time.Time) {
	t.Helper()
	gap, refused, longest := r.edge.outage(began)
	r.worst = max(r.worst, gap)
	t.Logf("%s: edge outage %v; %d owners were told to try again, the longest wait was %v",
		what, gap.Round(10*time.Millisecond), refused, longest.Round(10*time.Millisecond))
	if gap > edgeOutage {
		t.Errorf("%s: the edge was away for %v", what, gap)
	}
}

// check wants every acknowledged code stored once, every event handled and gone, and every contest decided once.
func (r *rig) check(t *testing.T) {
	t.Helper()
	codes := r.edge.finish(t)
	r.load.finish(t)
	r.flows(t, "everything")
	stored := r.stored(t, "CODE")
	for subject := range codes {
		if stored[subject] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", subject, stored[subject])
		}
	}
	if len(stored) != len(codes) {
		t.Errorf("%d codes are stored, %d were acknowledged", len(stored), len(codes))
	}
	eventually(t, time.Minute, "everything handled is concluded", func() bool { return len(r.stored(t, "REGISTER")) == 0 })
	if dead := r.stored(t, "DEAD"); len(dead) > 0 {
		t.Errorf("%d dead letters: %v", len(dead), slices.Collect(maps.Keys(dead)))
	}
	r.load.checkWinners(t, r.boss)
	_, again := r.lane.missing(r.load.events)
	t.Logf("%d codes, %d events (%d handled again), %d contests; %d writes of the load failed and were repeated; longest edge outage %v",
		len(codes), len(r.load.events), again, len(r.load.winners), r.load.failed.Load(), r.worst.Round(10*time.Millisecond))
}

// stored counts a stream's messages by subject.
func (r *rig) stored(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	js, err := jetstream.New(r.admin)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}
