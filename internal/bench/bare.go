package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/microsoft"
)

// concurrency is how many mailboxes are under way at once, in the bare loop as in the workers.
const concurrency = 128

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// bare makes the three calls that a mailbox costs, for each code, with nothing around them: no queue, no records, no
// seal, no proof. What it reaches is the most that these simulators on this machine can give.
func (s *simulator) bare(ctx context.Context, addresses, codes []string) (time.Duration, error) {
	client := &http.Client{Transport: microsoft.Transport(), Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i := range codes {
		group.Go(func() error { return s.one(ctx, client, addresses[i], codes[i]) })
	}
	err := group.Wait()
	return time.Since(began), err
}

func (s *simulator) one(ctx context.Context, client *http.Client, address, code string) error {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	form := url.Values{
		"client_id": {clientID}, "client_secret": {clientSecret}, "grant_type": {"authorization_code"}, "code": {code},
		"redirect_uri": {redirectURI}, "code_verifier": {verifier},
	}
	redeem := question{
		method: http.MethodPost, address: s.Microsoft + "/organizations/oauth2/v2.0/token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body: []byte(form.Encode()),
	}
	if err := redeem.ask(ctx, client, &tokens); err != nil {
		return err
	}
	var me struct {
		Mail string `json:"mail"`
	}
	graph := question{
		method: http.MethodGet, address: s.Microsoft + "/v1.0/me?$select=id,mail,userPrincipalName,proxyAddresses",
		header: http.Header{"Authorization": {"Bearer " + tokens.Access}},
	}
	if err := graph.ask(ctx, client, &me); err != nil {
		return err
	}
	post, err := jsonTo(http.MethodPost, s.Warmy+"/api/v2/mailboxes", map[string]any{"mailbox": map[string]any{
		"provider": "oauth_outlook", "email": address, "from_name": "Bench", "client_id": clientID, "client_secret": clientSecret,
		"access_token": tokens.Access, "refresh_token": tokens.Refresh, "tariff_plan_type_id": 41,
		"setting_attributes": map[string]string{"speed_mode": "fast"},
	}})
	if err != nil {
		return err
	}
	post.header.Set("Authorization", "Bearer "+apiKey)
	post.header.Set("Holder-Uid", holderUID)
	var created struct {
		Data struct {
			ID int64 `json:"id"`
		} `json:"data"`
	}
	if err := post.ask(ctx, client, &created); err != nil {
		return err
	}
	if created.Data.ID == 0 || !strings.EqualFold(me.Mail, address) {
		return fmt.Errorf("the simulators answered for %q with id %d", me.Mail, created.Data.ID)
	}
	return nil
}

// holderUID is the workspace of the simulated account: the guide's constant.
const holderUID = "a66a9a755fe16f24fcb99dc8b5f25a50"
