package sim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kindling/internal/sim"
)

// TestMain makes this program a simulator when it is started with "simulator"
// and its flags, so that a test can kill one.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Arg(0) != "simulator" {
		m.Run()
		return
	}
	if err := sim.Run(context.Background(), flag.Args()[1:], os.Stdout, os.Stderr); err != nil {
		panic(err)
	}
}

// process is a simulator with a life of its own.
type process struct {
	sim.Running
	t      *testing.T
	cmd    *exec.Cmd
	client *http.Client
}

func launch(t *testing.T, state string) *process {
	t.Helper()
	p := &process{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], "--", "simulator", "--state", state, "--signing-alg", "ES256",
		"--client-id", "app", "--client-secret", "s", "--redirect-uri", redirect, "--api-key", "k", "--calls-per-minute", "-1")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&p.Running); err != nil {
		t.Fatalf("the simulator did not start: %v", err)
	}
	return p
}

// kill ends the process as nothing else does: it cannot do a thing about it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()         // as it was killed, this tells so
	p.client.CloseIdleConnections()
}

// call makes one call; ok is false when no whole answer came.
func (p *process) call(method, to, kind, body, bearer string) (status int, out map[string]any, ok bool) {
	req, err := http.NewRequestWithContext(p.t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		return 0, nil, false
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Holder-Uid", "a66a9a755fe16f24fcb99dc8b5f25a50")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, false
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return 0, nil, false
	}
	return resp.StatusCode, out, true
}

// story is what the client of one address was told, up to the kill.
type story struct {
	address         string
	code            string // issued
	redeeming       bool   // the code was sent
	access, refresh string // told
	posting         bool   // the mailbox was sent
	mailbox         float64
}

func (p *process) issue(s *story) bool {
	ask := fmt.Sprintf(`{"client_id":"app","redirect_uri":%q,"scope":"offline_access User.Read","addresses":[%q]}`, redirect, s.address)
	_, out, ok := p.call(http.MethodPost, p.Microsoft+"/_sim/codes", "application/json", ask, "")
	codes, _ := out["codes"].([]any)
	if !ok || len(codes) != 1 {
		return false
	}
	s.code, _ = codes[0].(string)
	return true
}

func (p *process) token(form url.Values) (status int, out map[string]any, ok bool) {
	form.Set("client_id", "app")
	form.Set("client_secret", "s")
	return p.call(http.MethodPost, p.Microsoft+"/organizations/oauth2/v2.0/token", "application/x-www-form-urlencoded", form.Encode(), "")
}

func (p *process) redeem(s *story) (int, bool) {
	s.redeeming = true
	status, out, ok := p.token(url.Values{"grant_type": {"authorization_code"}, "code": {s.code}, "redirect_uri": {redirect}})
	if ok && status == http.StatusOK {
		s.access, _ = out["access_token"].(string)
		s.refresh, _ = out["refresh_token"].(string)
	}
	return status, ok
}

func (p *process) renew(s *story) bool {
	status, out, ok := p.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.refresh}})
	if ok && status == http.StatusOK {
		s.access, _ = out["access_token"].(string)
		s.refresh, _ = out["refresh_token"].(string)
	}
	return ok && status == http.StatusOK
}

func (p *process) register(s *story) bool {
	s.posting = true
	body := fmt.Sprintf(`{"mailbox":{"provider":"oauth_outlook","from_name":"A","email":%q,"client_id":"app","client_secret":"s",
		"access_token":%q,"refresh_token":%q,"tariff_plan_type_id":41}}`, s.address, s.access, s.refresh)
	status, out, ok := p.call(http.MethodPost, p.Warmy+"/api/v2/mailboxes", "application/json", body, "k")
	if data, found := out["data"].(map[string]any); ok && found && status == http.StatusOK {
		s.mailbox, _ = data["id"].(float64)
	}
	return s.mailbox != 0
}

// live lets one address get as far as the process lives; every third stops at
// its code, every third at its tokens.
func (p *process) live(s *story, n int) bool {
	if !p.issue(s) {
		return false
	}
	if n%3 == 0 {
		return true
	}
	if _, ok := p.redeem(s); !ok || !p.renew(s) {
		return false
	}
	return n%3 == 1 || p.register(s)
}

// traffic keeps four clients busy and kills the process when they have told
// enough stories; it returns them all, the broken ones too.
func (p *process) traffic(round, enough int) []*story {
	var mu sync.Mutex
	var all []*story
	done := make(chan struct{}, 1)
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for n := 0; ; n++ {
				s := &story{address: fmt.Sprintf("r%d.c%d.n%d@contoso.example", round, client, n)}
				whole := p.live(s, n)
				mu.Lock()
				all = append(all, s)
				if len(all) == enough {
					done <- struct{}{}
				}
				mu.Unlock()
				if !whole {
					return
				}
			}
		})
	}
	<-done
	p.kill()
	clients.Wait()
	return all
}

// check proves that the process keeps what another one told before it was killed.
func (p *process) check(s *story) {
	p.t.Helper()
	if s.mailbox != 0 || s.posting {
		p.checkMailbox(s)
	}
	if s.access != "" {
		if status, me, ok := p.call(http.MethodGet, p.Microsoft+"/v1.0/me", "", "", s.access); !ok || status != http.StatusOK || me["userPrincipalName"] != s.address {
			p.t.Errorf("%s: access token: %d %v", s.address, status, me)
		}
		if !p.renew(s) {
			p.t.Errorf("%s: the refresh token does not work", s.address)
		}
	}
	if s.code == "" {
		return
	}
	told, redeeming := s.access != "", s.redeeming
	switch status, ok := p.redeem(s); {
	case !ok:
		p.t.Errorf("%s: no answer", s.address)
	case told && status != http.StatusBadRequest:
		p.t.Errorf("%s: the code was consumed, and now gets %d", s.address, status)
	case !redeeming && status != http.StatusOK:
		p.t.Errorf("%s: the code was never sent, and now gets %d", s.address, status)
	}
}

func (p *process) checkMailbox(s *story) {
	p.t.Helper()
	_, out, ok := p.call(http.MethodGet, p.Warmy+"/api/v2/mailboxes?response_type=simple&filter[email]="+s.address, "", "", "k")
	items, _ := out["items"].([]any)
	if !ok || len(items) > 1 || s.mailbox != 0 && len(items) != 1 {
		p.t.Errorf("%s: id %v was told, listed are %v", s.address, s.mailbox, items)
		return
	}
	for _, item := range items {
		if box, _ := item.(map[string]any); s.mailbox != 0 && box["id"] != s.mailbox {
			p.t.Errorf("%s: id %v was told, listed is %v", s.address, s.mailbox, box)
		}
	}
}

func TestASimulatorThatIsKilledInMidTrafficKeepsItsWord(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	var all []*story
	kids := map[string]bool{}
	for round := range 4 {
		p := launch(t, state)
		kids[p.kid()] = true
		for _, s := range all {
			p.check(s)
		}
		fresh := &story{address: fmt.Sprintf("last.of.%d@contoso.example", round)}
		p.issue(fresh)
		p.redeem(fresh)
		if p.register(fresh); fresh.mailbox <= highest(all) {
			t.Errorf("id %v comes after id %v", fresh.mailbox, highest(all))
		}
		all = append(all, fresh)
		all = append(all, p.traffic(round, 60+round*7)...)
	}
	if len(kids) != 1 {
		t.Errorf("signing keys: %v", kids)
	}
	ids := map[float64]string{}
	for _, s := range all {
		if other, twice := ids[s.mailbox]; twice && s.mailbox != 0 {
			t.Errorf("id %v was given to %s and to %s", s.mailbox, other, s.address)
		}
		ids[s.mailbox] = s.address
	}
}

// kid is the id of the published key.
func (p *process) kid() string {
	_, out, _ := p.call(http.MethodGet, p.Microsoft+"/common/discovery/v2.0/keys", "", "", "")
	keys, _ := out["keys"].([]any)
	if len(keys) != 1 {
		return fmt.Sprint(keys)
	}
	return fmt.Sprint(keys[0])
}

func highest(all []*story) float64 {
	var top float64
	for _, s := range all {
		top = max(top, s.mailbox)
	}
	return top
}

func TestTwoSimulatorsDoNotShareAMemory(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	run(t, "--state", state)
	if err := sim.Run(t.Context(), []string{"--state", state}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the second: %v", err)
	}
}
