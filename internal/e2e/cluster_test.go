//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// node is one server of a cluster, in a container of its own.
type node struct {
	name      string
	container *dockertest.Resource
	clients   string // address for clients
	monitor   string // address of /healthz
}

// cluster is three servers from our image and our configuration. Each has a network of its own for clients, so that they
// reach each other by the network of the routes alone.
type cluster struct {
	engine

	nodes  []*node
	routes *dockertest.Network
	admin  *nats.Conn
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{engine: startDocker(t)}
	c.natsImage(t)
	c.routes = c.network(t, "-routes", true)
	for i := range 3 {
		c.nodes = append(c.nodes, &node{name: c.name + "-" + strconv.Itoa(i+1)})
	}
	for _, n := range c.nodes {
		c.startNode(t, n)
	}
	eventually(t, time.Minute, "three healthy nodes", c.healthy)
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, "nats://"+n.clients)
	}
	admin, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.PingInterval(time.Second), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	c.admin = admin
	return c
}

func (c *cluster) startNode(t *testing.T, n *node) {
	t.Helper()
	var routes []string
	for _, other := range c.nodes {
		routes = append(routes, "nats://"+other.name+":6222")
	}
	bindings := make(map[docker.Port][]docker.PortBinding)
	for port, address := range map[docker.Port]*string{"4222/tcp": &n.clients, "8222/tcp": &n.monitor} {
		host := strconv.Itoa(freePort(t))
		bindings[port] = []docker.PortBinding{{HostIP: "127.0.0.1", HostPort: host}}
		*address = "127.0.0.1:" + host
	}
	suffix := strings.TrimPrefix(n.name, c.name)
	n.container = c.run(t, dockertest.RunOptions{
		Name: n.name, Networks: []*dockertest.Network{c.network(t, suffix, false)}, Mounts: []string{c.volume(t, suffix) + ":/data"},
		ExposedPorts: []string{"8222/tcp"}, PortBindings: bindings, Cmd: []string{"--config", "/etc/nats/cluster.conf"},
		Env: []string{"NATS_NAME=" + n.name, "NATS_ROUTES=[" + strings.Join(routes, ", ") + "]"},
	})
	c.join(t, n)
}

// join connects a node's routes.
func (c *cluster) join(t *testing.T, n *node) {
	t.Helper()
	if err := c.Client.ConnectNetwork(c.routes.Network.ID, docker.NetworkConnectionOptions{Container: n.container.Container.ID}); err != nil {
		t.Fatalf("connect the routes of %s: %v", n.name, err)
	}
}

// isolate cuts a node's routes without a word. Its clients still reach it.
func (c *cluster) isolate(t *testing.T, n *node) {
	t.Helper()
	if err := c.Client.DisconnectNetwork(c.routes.Network.ID, docker.NetworkConnectionOptions{Container: n.container.Container.ID, Force: true}); err != nil {
		t.Fatalf("cut the routes of %s: %v", n.name, err)
	}
}

func (c *cluster) signal(t *testing.T, n *node, signal docker.Signal) {
	t.Helper()
	if err := c.Client.KillContainer(docker.KillContainerOptions{ID: n.container.Container.ID, Signal: signal}); err != nil {
		t.Fatal(err)
	}
}

// retire lets a node hand over what it leads, send its clients away, and end.
func (c *cluster) retire(t *testing.T, n *node) {
	t.Helper()
	c.signal(t, n, docker.SIGUSR2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code, err := c.Client.WaitContainerWithContext(n.container.Container.ID, ctx)
	if err != nil || code != 0 {
		t.Fatalf("%s did not retire: code %d, %v", n.name, code, err)
	}
}

func (c *cluster) start(t *testing.T, n *node) {
	t.Helper()
	if err := c.Client.StartContainer(n.container.Container.ID, nil); err != nil {
		t.Fatal(err)
	}
}

// healthy reports whether every node says that it has caught up with the others: when the next may go.
func (c *cluster) healthy() bool {
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	for _, n := range c.nodes {
		response, err := client.Get("http://" + n.monitor + "/healthz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}

func (c *cluster) ask(subject string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	msg, err := c.admin.Request(subject, data, 2*time.Second)
	if err != nil {
		return err
	}
	return json.Unmarshal(msg.Data, answer)
}

// leaderOf names the node that leads a stream; empty while nobody is known to.
func (c *cluster) leaderOf(stream string) string {
	var info struct {
		Cluster struct {
			Leader string `json:"leader"`
		} `json:"cluster"`
	}
	if err := c.ask("$JS.API.STREAM.INFO."+stream, struct{}{}, &info); err != nil {
		return ""
	}
	return info.Cluster.Leader
}

// crown makes n the leader of the streams.
func (c *cluster) crown(t *testing.T, n *node, streams ...string) {
	t.Helper()
	body := map[string]any{"placement": map[string]string{"preferred": n.name}}
	for _, stream := range streams {
		eventually(t, 30*time.Second, fmt.Sprintf("%s leads %s", n.name, stream), func() bool {
			if c.leaderOf(stream) == n.name {
				return true
			}
			var answer any
			_ = c.ask("$JS.API.STREAM.LEADER.STEPDOWN."+stream, body, &answer) // asked again until it is so
			return false
		})
	}
}
