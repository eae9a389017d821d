package consoletest

import (
	"context"
	"sync"

	"kindling/internal/campaign"
)

// Plans are what Warmy offers the accounts; none is known at first.
type Plans struct {
	mu    sync.Mutex
	known map[string]campaign.Plans
	down  bool
}

// Of returns an account's plans, or ErrDown.
func (p *Plans) Of(_ context.Context, account string) (campaign.Plans, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return campaign.Plans{}, ErrDown
	}
	return p.known[account], nil
}

// Put makes an account's plans known.
func (p *Plans) Put(account string, plans campaign.Plans) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[string]campaign.Plans{}
	}
	p.known[account] = plans
}

// SwitchOff makes the plans unreadable.
func (p *Plans) SwitchOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
}
