package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kindling/internal/mailbox"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

// crowdOfBurst are the owners, and the browsers that they use.
type crowdOfBurst struct {
	base    string
	sim     *simulator
	client  *http.Client
	reloads atomic.Int64 // pages that said "try again in a moment", or did not come
}

const (
	reloadAfter = time.Second
	reloadsMost = 60 // then the owner gives up, and the bench with him
)

// visit is what an owner does whose page says that he should try again, or does not come.
func (c *crowdOfBurst) visit(ctx context.Context, method, address string, cookie *http.Cookie) (visited, error) {
	for again := 0; ; again++ {
		resp, err := visit(ctx, c.client, method, address, cookie)
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the address holds a code
		}
		if err == nil && resp.status != http.StatusServiceUnavailable || again == reloadsMost || ctx.Err() != nil {
			return resp, err
		}
		c.reloads.Add(1)
		pause(ctx, reloadAfter)
	}
}

// startMicrosoft starts the simulators, with the edge's address as their app's redirect URI, in the mood of the plan.
func (b burstBench) startMicrosoft(ctx context.Context, redirect string) (*simulator, error) {
	s, err := startSimulator(ctx, redirect)
	if err != nil {
		return nil, err
	}
	latency, jitter := trouble.Duration(b.plan.latency), trouble.Duration(b.plan.jitter)
	control := trouble.Control{Latency: &latency, Jitter: &jitter, Switches: json.RawMessage(`{"revoke_on_replay":true,"require_pkce":true}`)}
	if b.plan.throttled > 0 {
		control.Add = []trouble.Rule{{Kind: trouble.Throttled, Op: msid.OpCode, RetryAfter: "1", Probability: b.plan.throttled}}
	}
	return s, s.tell(ctx, "/_sim/faults", control, nil)
}

// ledger is what the simulated Microsoft has written down.
type ledger struct {
	Summary msid.Summary `json:"summary"`
	Codes   []msid.Code  `json:"codes"`
}

func (s *simulator) books(ctx context.Context) (all ledger, err error) {
	err = askJSON(ctx, &s.client, http.MethodGet, s.Microsoft+"/_sim/ledger?codes=all", nil, &all)
	return all, err
}

// firstSends are, by address, the times at which a code was answered for the first time, be it with 429.
func (l ledger) firstSends() map[string]time.Time {
	first := make(map[string]time.Time, len(l.Codes))
	for _, c := range l.Codes {
		if len(c.Sends) > 0 {
			first[strings.ToLower(c.Address)] = c.Sends[0].At
		}
	}
	return first
}

// consent presses the link's button, consents at Microsoft, and comes back. The pages in between cost Microsoft's
// processors, not ours: the code is asked for, with everything that the edge has sent the owner there with.
func (c *crowdOfBurst) consent(ctx context.Context, link, address string) error {
	resp, err := c.visit(ctx, http.MethodPost, c.base+"/c/"+link+"/start", nil)
	if err != nil {
		return err
	}
	to, err := url.Parse(resp.to)
	if err != nil || resp.status != http.StatusSeeOther || len(resp.cookies) != 1 {
		return fmt.Errorf("start: status %d with %d cookies: %w", resp.status, len(resp.cookies), err)
	}
	asked := to.Query()
	codes, err := c.sim.issue(ctx, msid.NewCode{
		ClientID: clientID, Tenant: "organizations", RedirectURI: asked.Get("redirect_uri"), Scope: asked.Get("scope"), Nonce: asked.Get("nonce"),
		Challenge: asked.Get("code_challenge"), Addresses: []string{address},
	})
	if err != nil {
		return err
	}
	query := url.Values{"code": codes, "state": {asked.Get("state")}}
	resp, err = c.visit(ctx, http.MethodGet, c.base+"/oauth-callback/main?"+query.Encode(), resp.cookies[0])
	if err == nil && resp.status != http.StatusSeeOther {
		err = fmt.Errorf("callback: status %d", resp.status)
	}
	return err
}

// outcomes are the facts as they come in.
type outcomes struct {
	want int
	all  chan struct{} // closed when every consent has come to an end

	mu     sync.Mutex
	taken  map[mailbox.ID]time.Time // when the edge took the code
	grants map[mailbox.ID]mailbox.Grant
	ended  int
}

func newOutcomes(want int) *outcomes {
	return &outcomes{want: want, all: make(chan struct{}), taken: make(map[mailbox.ID]time.Time), grants: make(map[mailbox.ID]mailbox.Grant)}
}

func (*outcomes) Campaign(mailbox.Campaign)                     {}
func (*outcomes) Invitation(mailbox.Invitation)                 {}
func (*outcomes) Registration(mailbox.ID, mailbox.Registration) {}
func (*outcomes) AdminConsent(mailbox.AdminConsent)             {}
func (*outcomes) CaughtUp()                                     {}

// Claim keeps when the edge took the code.
func (o *outcomes) Claim(id mailbox.ID, c mailbox.Claim) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range c.Attempts {
		if a.CodeHash != "" {
			o.taken[id] = a.AnsweredAt
		}
	}
}

// Grant keeps the latest word about a grant.
func (o *outcomes) Grant(id mailbox.ID, g mailbox.Grant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.grants[id].Phase
	o.grants[id] = g
	moving := func(p mailbox.GrantPhase) bool { return p == mailbox.GrantNone || p == mailbox.GrantRedeeming }
	if moving(before) && !moving(g.Phase) {
		if o.ended++; o.ended == o.want {
			close(o.all)
		}
	}
}

// count returns how many grants were saved, how many codes were too late or never redeemed, and how many ended otherwise.
func (o *outcomes) count(invitations []mailbox.Invitation) (saved, late, other int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, inv := range invitations {
		switch g := o.grants[inv.ID]; {
		case g.Phase == mailbox.GrantSaved:
			saved++
		case g.Phase == mailbox.GrantNone, g.Phase == mailbox.GrantRedeeming, g.Reason == mailbox.CodeExpired, g.Reason == mailbox.ConsentLost:
			late++
		default:
			other++
		}
	}
	return saved, late, other
}

// waits are, sorted, how long each code waited for its first send, and each owner for his saved grant.
func (o *outcomes) waits(invitations []mailbox.Invitation, sent map[string]time.Time) (starts, saves []time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, inv := range invitations {
		taken, g := o.taken[inv.ID], o.grants[inv.ID]
		if at, ok := sent[strings.ToLower(inv.Address)]; ok {
			starts = append(starts, at.Sub(taken))
		}
		if g.Tokens != nil {
			saves = append(saves, g.Tokens.SavedAt.Sub(taken))
		}
	}
	slices.Sort(starts)
	slices.Sort(saves)
	return starts, saves
}
