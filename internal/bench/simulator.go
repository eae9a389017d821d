package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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
	*child
}

func startSimulator(ctx context.Context) (*simulator, error) {
	s := &simulator{}
	var err error
	s.child, err = startChild(ctx, &s.Running, "simulator", "--client-id", clientID, "--client-secret", clientSecret,
		"--redirect-uri", redirectURI, "--api-key", apiKey, "--calls-per-minute", "-1")
	return s, err
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
