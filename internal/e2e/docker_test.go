//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// missing skips the test; where everything must run, it fails it.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s: CI needs it", what)
	}
	t.Skipf("no %s: this test needs it", what)
}

// engine is the Docker engine. Everything that a test makes in it has the test's name, and goes with the test.
type engine struct {
	*dockertest.Pool

	name string
}

func startDocker(t *testing.T) engine {
	t.Helper()
	pool, err := dockertest.NewPool("")
	if err != nil {
		missing(t, "Docker")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := pool.Client.PingWithContext(ctx); err != nil {
		missing(t, "Docker")
	}
	return engine{pool, fmt.Sprintf("kindling-e2e-%d", time.Now().UnixNano())}
}

// image builds an image as `make images` does: from one of our Dockerfiles and the files that it copies, here a map of
// the name in the context to its source. It needs no network. The image's name is the engine's.
func (e engine) image(t *testing.T, files map[string]string, dirs ...string) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range dirs {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, source := range files {
		copyFile(t, source, filepath.Join(root, name))
	}
	var said bytes.Buffer
	err := e.Client.BuildImage(docker.BuildImageOptions{
		Context: t.Context(), Name: e.name, ContextDir: root, OutputStream: &said, RmTmpContainer: true, ForceRmTmpContainer: true,
	})
	if err != nil {
		t.Fatalf("build the image: %v\n%s", err, tail(said.String()))
	}
	t.Cleanup(func() {
		if err := e.Client.RemoveImageExtended(e.name, docker.RemoveImageOptions{Force: true}); err != nil {
			t.Errorf("remove the image: %v", err)
		}
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// run starts a container of the engine's image, as locked up as deployments/compose.yaml has it.
func (e engine) run(t *testing.T, o dockertest.RunOptions) *dockertest.Resource {
	t.Helper()
	o.Repository, o.SecurityOpt = e.name, []string{"no-new-privileges:true"}
	container, err := e.RunWithOptions(&o, func(host *docker.HostConfig) {
		host.ReadonlyRootfs, host.CapDrop, host.PublishAllPorts = true, []string{"ALL"}, false
		if len(o.Networks) == 0 {
			host.NetworkMode = "none"
		}
	})
	if err != nil {
		t.Fatalf("run a container: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the container said:\n%s", tail(e.logs(t, container)))
		}
		if err := e.Purge(container); err != nil {
			t.Errorf("remove the container: %v", err)
		}
	})
	return container
}

func (e engine) logs(t *testing.T, container *dockertest.Resource) string {
	t.Helper()
	var said bytes.Buffer
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	err := e.Client.Logs(docker.LogsOptions{
		Context: ctx, Container: container.Container.ID, OutputStream: &said, ErrorStream: &said, Stdout: true, Stderr: true,
	})
	if err != nil {
		t.Logf("read the container's log: %v", err)
	}
	return said.String()
}

// volume makes a volume with the engine's name and a suffix, and returns its name.
func (e engine) volume(t *testing.T, suffix string) string {
	t.Helper()
	name := e.name + suffix
	if _, err := e.Client.CreateVolume(docker.CreateVolumeOptions{Context: t.Context(), Name: name}); err != nil {
		t.Fatalf("make a volume: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Client.RemoveVolumeWithOptions(docker.RemoveVolumeOptions{Name: name}); err != nil {
			t.Errorf("remove the volume: %v", err)
		}
	})
	return name
}

// network makes a network with the engine's name and a suffix; an internal one has no way out.
func (e engine) network(t *testing.T, suffix string, internal bool) *dockertest.Network {
	t.Helper()
	network, err := e.CreateNetwork(e.name+suffix, func(o *docker.CreateNetworkOptions) { o.Internal = internal })
	if err != nil {
		t.Fatalf("make a network: %v", err)
	}
	t.Cleanup(func() {
		if err := e.RemoveNetwork(network); err != nil {
			t.Errorf("remove the network: %v", err)
		}
	})
	return network
}
