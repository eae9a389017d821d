//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kindling/internal/app"
	"kindling/internal/sandbox"
	"kindling/internal/sim"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/warmyapi"
)

// fleet is the whole system as an operator of two hosts would run it: one NATS server, two of each program behind a
// balancer, and the simulators, which stand for the rest of the world and are never killed.
type fleet struct {
	bin       string
	data      app.Data
	nats      *process
	simulator *process
	world     sim.Running
	products  []*process // the ones that are killed
	consoles  []string   // their addresses
	token     string
	config    string
	store     string // directory of the NATS server's files
}

func startFleet(t *testing.T, callsPerMinute int) *fleet {
	t.Helper()
	bin := build(t, "nats-server", "simulator", "console", "callback-ingest", "token-worker", "warmy-worker")
	f := &fleet{bin: bin, data: app.Data(t.TempDir())}
	if err := f.data.Prepare(); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(f.data.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	f.token = strings.TrimSpace(string(token))
	natsURL := f.startNATS(t)
	edges := []string{freeAddress(t), freeAddress(t)}
	f.consoles = []string{freeAddress(t), freeAddress(t)}
	public := balancer(t, edges...)
	settings := sandbox.Settings{
		Data: f.data, NATSURL: natsURL, EdgeListen: edges[0], PublicURL: public.URL, ConsoleListen: f.consoles[0],
		CallsPerMinute: callsPerMinute, ReconcileAfter: 2 * time.Second, RetryBase: 250 * time.Millisecond, HoldFor: 3 * time.Second,
	}
	f.startSimulator(t, settings.RedirectURI())
	settings.MicrosoftURL, settings.WarmyURL = f.world.Microsoft, f.world.Warmy
	if err := settings.Write(); err != nil {
		t.Fatal(err)
	}
	f.config = settings.File()
	for i := range 2 {
		f.product(t, "console", "KINDLING_CONSOLE_LISTEN="+f.consoles[i], "KINDLING_CONSOLE_METRICS_LISTEN="+freeAddress(t))
		f.product(t, "callback-ingest", "KINDLING_EDGE_LISTEN="+edges[i], "KINDLING_EDGE_METRICS_LISTEN="+freeAddress(t))
		f.product(t, "token-worker", "KINDLING_METRICS_LISTEN="+freeAddress(t))
		f.product(t, "warmy-worker", "KINDLING_METRICS_LISTEN="+freeAddress(t))
	}
	t.Cleanup(func() { f.report(t) })
	return f
}

func (f *fleet) startNATS(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	f.store = t.TempDir()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always, max_file_store: 64GB }\n", address, f.store)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.nats = &process{name: "nats-server", path: filepath.Join(f.bin, "nats-server"), args: []string{"-c", conf}}
	f.nats.start(t)
	t.Cleanup(func() { f.nats.kill(t) })
	eventually(t, 10*time.Second, "the NATS server listens", func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return "nats://" + address
}

func (f *fleet) startSimulator(t *testing.T, redirect string) {
	t.Helper()
	f.simulator = &process{name: "simulator", path: filepath.Join(f.bin, "simulator"), args: []string{
		"--client-id", sandbox.ClientID, "--client-secret", sandbox.ClientSecret, "--api-key", sandbox.APIKey, "--redirect-uri", redirect,
		"--calls-per-minute", "-1", "--latency", "20ms", "--jitter", "10ms",
	}}
	f.simulator.start(t)
	t.Cleanup(func() { f.simulator.kill(t) })
	eventually(t, 10*time.Second, "the simulators say where they listen", func() bool {
		line, _, found := strings.Cut(f.simulator.said(), "\n")
		return found && json.Unmarshal([]byte(line), &f.world) == nil
	})
}

func (f *fleet) product(t *testing.T, name string, env ...string) {
	t.Helper()
	p := &process{name: name, path: filepath.Join(f.bin, name), args: []string{"--config", f.config}, env: append(env, "KINDLING_LOG=debug")}
	p.start(t)
	f.products = append(f.products, p)
}

// stop ends every product as an operator would, and holds it to a clean end.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	for _, p := range f.products {
		p.stop(t, 45*time.Second)
	}
}

// report shows what the products said when the test failed, and leaves none of them running.
func (f *fleet) report(t *testing.T) {
	t.Helper()
	for _, p := range f.products {
		if p.cmd.ProcessState == nil {
			p.kill(t)
		}
		if t.Failed() {
			t.Logf("%s said at the end:\n%s", p.name, tail(p.said()))
		}
	}
}

// ask makes one call to whichever console answers.
func (f *fleet) ask(t *testing.T, method, path, contentType string, body []byte, out any) error {
	t.Helper()
	var err error
	for _, console := range f.consoles {
		if err = request(t, method, "http://"+console+"/api/v1"+path, contentType, f.token, body, out); err == nil {
			return nil
		}
	}
	return err
}

func request(t *testing.T, method, address, contentType, bearer string, body []byte, out any) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: status %d", method, address, resp.StatusCode)
	}
	if buffer, ok := out.(*bytes.Buffer); ok {
		_, err := buffer.ReadFrom(resp.Body)
		return err
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// play has a simulator play trouble.
func play(t *testing.T, base string, control any) {
	t.Helper()
	body, err := json.Marshal(control)
	if err != nil {
		t.Fatal(err)
	}
	if err := request(t, http.MethodPost, base+"/_sim/faults", "application/json", "", body, nil); err != nil {
		t.Fatal(err)
	}
}

// ledgers asks the simulators what they saw.
func (f *fleet) ledgers(t *testing.T) (microsoft msid.Summary, codes []msid.Code, warmy warmyapi.Summary) {
	t.Helper()
	var ms struct {
		Summary msid.Summary `json:"summary"`
		Codes   []msid.Code  `json:"codes"`
	}
	var wa struct {
		Summary warmyapi.Summary `json:"summary"`
	}
	if err := request(t, http.MethodGet, f.world.Microsoft+"/_sim/ledger?codes=all", "", "", nil, &ms); err != nil {
		t.Fatal(err)
	}
	if err := request(t, http.MethodGet, f.world.Warmy+"/_sim/ledger", "", "", nil, &wa); err != nil {
		t.Fatal(err)
	}
	return ms.Summary, ms.Codes, wa.Summary
}
