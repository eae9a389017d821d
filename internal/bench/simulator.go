package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"kindling/internal/sim"
)

// What the simulated app and account are called.
const (
	clientID     = "5a4db0c5-0000-4000-8000-62656e636800"
	clientSecret = "bench-client-secret"
	apiKey       = "bench-api-key" //nolint:gosec // as above
	verifier     = "bench-verifier-bench-verifier-bench-verifier-0"
	nonce        = "bench-nonce"
	redirectURI  = "http://127.0.0.1:1/oauth-callback/main"
	scopes       = "openid profile email offline_access User.Read Mail.Send Mail.ReadWrite Mail.Read"
)

// simulator is both simulators in a process of their own, so that their work is not counted as ours more than the
// shared processors make unavoidable.
type simulator struct {
	sim.Running

	cmd *exec.Cmd
}

func startSimulator(ctx context.Context) (*simulator, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "bench", "simulator", "--client-id", clientID, "--client-secret", clientSecret, //nolint:gosec // this very program
		"--redirect-uri", redirectURI, "--api-key", apiKey, "--calls-per-minute", "-1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start simulator: %w", err)
	}
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), "KINDLING_LOG=error") //nolint:forbidigo // passed on as it is
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start simulator: %w", err)
	}
	s := &simulator{cmd: cmd}
	if err := json.NewDecoder(out).Decode(&s.Running); err != nil {
		return nil, errors.Join(fmt.Errorf("start simulator: %w", err), s.stop())
	}
	return s, nil
}

func (s *simulator) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // gone already: Wait says so
	err := s.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() <= 0 {
		return nil
	}
	return err
}

// codes has one authorization code issued per address.
func (s *simulator) codes(ctx context.Context, addresses []string) ([]string, error) {
	body, err := json.Marshal(map[string]any{
		"client_id": clientID, "tenant": "organizations", "redirect_uri": redirectURI, "scope": scopes, "nonce": nonce,
		"code_challenge": challenge(), "addresses": addresses,
	})
	if err != nil {
		return nil, fmt.Errorf("ask for codes: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Microsoft+"/_sim/codes", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for codes: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for codes: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Codes []string `json:"codes"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("ask for codes: %w", err)
	}
	if len(answer.Codes) != len(addresses) || strings.Join(answer.Codes, "") == "" {
		return nil, fmt.Errorf("ask for codes: %d for %d addresses, status %d", len(answer.Codes), len(addresses), resp.StatusCode)
	}
	return answer.Codes, nil
}
