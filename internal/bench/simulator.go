package bench

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"kindling/internal/sim"
	"kindling/internal/sim/msid"
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

	client http.Client
}

// startSimulator starts both; redirect is the app's redirect URI.
func startSimulator(ctx context.Context, redirect string, flags ...string) (*simulator, error) {
	s := &simulator{client: http.Client{Timeout: time.Minute}}
	var err error
	s.child, err = startChild(ctx, &s.Running, append([]string{
		"simulator", "--client-id", clientID, "--client-secret", clientSecret, "--redirect-uri", redirect, "--api-key", apiKey,
		"--calls-per-minute", "-1",
	}, flags...)...)
	return s, err
}

// tell posts to the simulated Microsoft's own controls.
func (s *simulator) tell(ctx context.Context, path string, in, out any) error {
	return askJSON(ctx, &s.client, http.MethodPost, s.Microsoft+path, in, out)
}

// codes has one authorization code issued per address.
func (s *simulator) codes(ctx context.Context, addresses []string) ([]string, error) {
	return s.issue(ctx, msid.NewCode{
		ClientID: clientID, Tenant: "organizations", RedirectURI: redirectURI, Scope: scopes, Nonce: nonce,
		Challenge: challenge(), Addresses: addresses,
	})
}

func (s *simulator) issue(ctx context.Context, wanted msid.NewCode) ([]string, error) {
	var issued struct {
		Codes []string `json:"codes"`
	}
	if err := s.tell(ctx, "/_sim/codes", wanted, &issued); err != nil {
		return nil, err
	}
	if len(issued.Codes) != len(wanted.Addresses) || slices.Contains(issued.Codes, "") {
		return nil, fmt.Errorf("%d codes were issued for %d addresses", len(issued.Codes), len(wanted.Addresses))
	}
	return issued.Codes, nil
}
