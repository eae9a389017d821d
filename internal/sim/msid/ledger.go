package msid

import (
	"slices"
	"strings"
	"sync"
	"time"

	"kindling/internal/sim/journal"
)

// Send is one arrival of a code or refresh token at the token endpoint.
type Send struct {
	At time.Time `json:"at"`
	// Outcome is "tokens", "AADSTS…", or the kind of the trouble played.
	Outcome string `json:"outcome"`
	// Delivered reports whether the client could read the true answer.
	Delivered bool `json:"delivered"`
}

// Code is what the ledger knows of one authorization code.
type Code struct {
	// Hash is the hex SHA-256 of the code.
	Hash            string    `json:"hash"`
	Address         string    `json:"address"`
	ClientID        string    `json:"client_id"`
	Tenant          string    `json:"tenant"`
	Issued          time.Time `json:"issued"`
	Expires         time.Time `json:"expires"`
	Sends           []Send    `json:"sends"`
	TokensIssued    int       `json:"tokens_issued"`
	RevokedByReplay bool      `json:"revoked_by_replay"`
}

// SentAfterTokens reports whether the code was sent again although its tokens
// had been delivered: what a careful client never does.
func (c Code) SentAfterTokens() bool {
	i := slices.IndexFunc(c.Sends, func(s Send) bool { return s.Outcome == outcomeTokens && s.Delivered })
	return i >= 0 && i < len(c.Sends)-1
}

// Account is what the ledger knows of one address.
type Account struct {
	Address   string `json:"address"`
	Codes     int    `json:"codes"`
	Redeemed  int    `json:"redeemed"`
	Declined  int    `json:"declined"`
	Me        int    `json:"me"`
	Refreshes []Send `json:"refreshes"`
}

const outcomeTokens = "tokens"

// ledger is the server's memory. One mutex is enough: every section is a few
// map operations, and signing, minting and waiting happen outside.
type ledger struct {
	journal *journal.Journal[record] // nil: memory only

	mu       sync.Mutex
	codes    map[string]*code
	access   map[string]*token
	refresh  map[string]*token
	accounts map[string]*Account
	grants   map[string][]*grant
	admins   map[string]bool
	calls    map[string]map[string]int
	// restored finds grants by id while a journal is read.
	restored map[string]*grant
}

// code is an authorization code with what it was issued for.
type code struct {
	Code
	id       string
	request  request
	user     User
	redeemed bool
	grant    *grant
}

// grant is what one redemption gave: it ends as a whole. Its id is its code's.
type grant struct {
	id     string
	app    *App
	user   User
	tenant authority
	scopes []string
	nonce  string
	// ended is the AADSTS number that refreshes get; 0 while alive.
	ended int
}

type token struct {
	grant   *grant
	expires time.Time
	spent   bool
}

func newLedger() *ledger {
	return &ledger{
		codes: map[string]*code{}, access: map[string]*token{}, refresh: map[string]*token{},
		accounts: map[string]*Account{}, grants: map[string][]*grant{}, admins: map[string]bool{},
		calls: map[string]map[string]int{}, restored: map[string]*grant{},
	}
}

func (l *ledger) total(op, outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(op, outcome)
}

func (l *ledger) count(op, outcome string) {
	if l.calls[op] == nil {
		l.calls[op] = map[string]int{}
	}
	l.calls[op][outcome]++
}

// account returns the entry of an address; the caller holds the mutex.
func (l *ledger) account(address string) *Account {
	key := strings.ToLower(address)
	if l.accounts[key] == nil {
		l.accounts[key] = &Account{Address: key}
	}
	return l.accounts[key]
}

func (l *ledger) issued(c *code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[c.id] = c
	l.journal.Append(c.record)
	l.account(c.Address).Codes++
	l.count(OpAuthorize, "code")
}

func (l *ledger) declined(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(address).Declined++
	l.count(OpAuthorize, "declined")
}

func (l *ledger) meCalled(address, outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if address != "" {
		l.account(address).Me++
	}
	l.count(OpMe, outcome)
}

func (l *ledger) code(id string) *code {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.codes[id]
}

// codeSent notes one arrival of a code.
func (l *ledger) codeSent(c *code, send Send) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(OpCode, send.Outcome)
	if c != nil {
		c.Sends = append(c.Sends, send)
		l.journal.Append(func() record { return record{Sent: &sentRecord{Send: send, Code: c.id}} })
	}
}

// refreshSent notes one arrival of a refresh token.
func (l *ledger) refreshSent(g *grant, send Send) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(OpRefresh, send.Outcome)
	if g != nil {
		a := l.account(g.user.Address)
		a.Refreshes = append(a.Refreshes, send)
	}
}

// redeem spends a code, or returns the AADSTS number of the refusal.
func (l *ledger) redeem(c *code, g *grant, now time.Time, revoke bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.redeemed:
		if revoke && c.grant != nil && c.grant.ended == 0 {
			c.revoke()
			l.journal.Append(func() record { return record{Revoked: c.id} })
		}
		return 54005
	case now.After(c.Expires):
		return 70008
	}
	c.redeemed, c.grant, c.TokensIssued = true, g, 1
	l.give(g)
	l.journal.Append(g.record)
	return 0
}

// revoke ends the grant of a code that was sent again.
func (c *code) revoke() { c.RevokedByReplay, c.grant.ended = true, 70000 }

// give enters a grant; the caller holds the mutex.
func (l *ledger) give(g *grant) {
	a := l.account(g.user.Address)
	a.Redeemed++
	l.grants[a.Address] = append(l.grants[a.Address], g)
}

// spend consumes a code without giving anything for it.
func (l *ledger) spend(c *code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.redeemed = true
	l.journal.Append(func() record { return record{Spent: c.id} })
}

func (l *ledger) keepAccess(id string, t *token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.access[id] = t
	l.journal.Append(func() record { return record{Access: t.record(id)} })
}

func (l *ledger) keepRefresh(id string, t *token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh[id] = t
	l.journal.Append(func() record { return record{Refresh: t.record(id)} })
}

func (l *ledger) token(in map[string]*token, id string) (token, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := in[id]
	if !ok {
		return token{}, false
	}
	return *t, true
}

func (l *ledger) spendRefresh(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh[id].spent = true
	l.journal.Append(func() record { return record{Used: id} })
}

// end ends all grants of an address with the AADSTS number that refreshes get.
func (l *ledger) end(address string, number int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.grants[strings.ToLower(address)]
	for _, g := range list {
		g.ended = number
	}
	if len(list) > 0 {
		l.journal.Append(func() record { return record{Ended: &endRecord{Address: address, Number: number}} })
	}
	return len(list)
}

func (l *ledger) ended(g *grant) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return g.ended
}

func (l *ledger) adminConsent(tid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admins[tid] = true
	l.journal.Append(func() record { return record{Admin: tid} })
}

func (l *ledger) consented(tid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admins[tid]
}
