package roster

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"kindling/internal/mailbox"
)

// Item is one mailbox as lists show it.
type Item struct {
	ID               mailbox.ID
	Campaign         string
	App              string
	Account          string
	Tenant           string
	Address          string
	ExternalID       string
	WarmyID          string
	TariffPlanTypeID int
	SpeedMode        string
	Line             int
	Generation       int // of the link
	InvitedAt        time.Time
	LinkExpiresAt    time.Time
	Status           mailbox.Status

	fromName uint32 // its mark: of the name only whether it is another one is ever asked
}

// FromNameIs reports whether the mailbox was given this name. A wrong yes is as rare as two names with the same mark.
func (i Item) FromNameIs(name string) bool { return i.fromName == mark(name) }

// Filter chooses mailboxes. Its zero value chooses all; several values of one field mean any of them.
type Filter struct {
	Campaigns, Apps, Accounts []string
	States                    []mailbox.State
	Reasons                   []string
	Contains                  string    // part of the address, in lower case
	ToldBefore                time.Time // Warmy has it, and was last told before then what to use; an attempt counts
}

// Counts says how many mailboxes are in each state.
type Counts struct {
	Total    int                   `json:"total"`
	ByState  map[mailbox.State]int `json:"by_state"`  // every state, zeros included
	ByReason map[string]int        `json:"by_reason"` // "state/reason", only what occurs
}

// CampaignCounts is a campaign with the state of its mailboxes.
type CampaignCounts struct {
	Campaign mailbox.Campaign
	Counts   Counts
}

// Mailbox returns the mailbox with this id.
func (r *Roster) Mailbox(id mailbox.ID) (Item, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	place, ok := r.place(id)
	if !ok || r.at(place).invited == 0 {
		return Item{}, false
	}
	return r.item(r.at(place), r.now()), true
}

// Counts returns the counts of one campaign, or of all mailboxes with "".
func (r *Roster) Counts(campaign string) Counts {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if campaign == "" {
		return r.counts(r.totals)
	}
	id, ok := r.wide.ids[campaign]
	if g := r.campaigns[id]; ok && g != nil {
		return r.counts(g.counts)
	}
	return r.counts(tally{})
}

// Way is how mailboxes come to Warmy: the app that they consent to, and the account that takes them.
type Way struct{ App, Account string }

// Ways tells in which states the mailboxes of a campaign are, or all with "", by their ways.
func (r *Roster) Ways(campaign string) map[Way]map[mailbox.State]int {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	counted := r.totals
	if campaign != "" {
		id, ok := r.wide.ids[campaign]
		g := r.campaigns[id]
		if !ok || g == nil {
			return nil
		}
		counted = g.counts
	}
	ways, states := map[Way]map[mailbox.State]int{}, mailbox.States()
	for k, n := range counted {
		way := Way{App: r.narrow.text(uint32(k.app)), Account: r.narrow.text(uint32(k.account))}
		if ways[way] == nil {
			ways[way] = map[mailbox.State]int{}
		}
		ways[way][states[k.state]] += n
	}
	return ways
}

// Campaigns returns all campaigns, the newest first.
func (r *Roster) Campaigns() []CampaignCounts {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []CampaignCounts
	for _, g := range r.known() {
		all = append(all, CampaignCounts{Campaign: g.fact, Counts: r.counts(g.counts)})
	}
	return all
}

// FindCampaign returns the campaign with this id.
func (r *Roster) FindCampaign(id string) (mailbox.Campaign, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	number, ok := r.wide.ids[id]
	g := r.campaigns[number]
	if !ok || g == nil || g.fact.ID == "" {
		return mailbox.Campaign{}, false
	}
	return g.fact, true
}

// List returns up to limit mailboxes that match f and follow the mailbox after in the order in which they became known,
// and whether there may be more.
func (r *Roster) List(f Filter, after mailbox.ID, limit int) (items []Item, more bool) {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	start := uint32(0)
	if place, ok := r.place(after); ok {
		start = place + 1
	}
	now, m := r.now(), r.matcher(f)
	for place := start; place < r.size; place++ {
		e := r.at(place)
		if !m.matches(e) {
			continue
		}
		if len(items) == limit {
			return items, true
		}
		items = append(items, r.item(e, now))
	}
	return items, false
}

// Select returns the ids of all mailboxes that match f.
func (r *Roster) Select(f Filter) []mailbox.ID {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var ids []mailbox.ID
	m := r.matcher(f)
	for place := range r.size {
		if e := r.at(place); m.matches(e) {
			ids = append(ids, e.name())
		}
	}
	return ids
}

// walkStep is how many mailboxes Walk copies before it lets writers in.
const walkStep = 512

// Walk visits the mailboxes of a campaign in the order of its file, until visit returns an error.
// The roster may change meanwhile; no lock is held while visit runs.
func (r *Roster) Walk(campaign string, visit func(Item) error) error {
	places := r.ordered(campaign)
	buffer := make([]Item, 0, walkStep)
	for part := range slices.Chunk(places, walkStep) {
		buffer = r.copyItems(buffer[:0], part)
		for _, item := range buffer {
			if err := visit(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Roster) ordered(campaign string) []uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok := r.wide.ids[campaign]
	g := r.campaigns[id]
	if !ok || g == nil {
		return nil
	}
	places := slices.Clone(g.members)
	slices.SortFunc(places, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(r.at(a).line, r.at(b).line), cmp.Compare(a, b))
	})
	return places
}

func (r *Roster) copyItems(into []Item, places []uint32) []Item {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.now()
	for _, place := range places {
		into = append(into, r.item(r.at(place), now))
	}
	return into
}

// Pace returns how many mailboxes were registered within the last minutes, at most 60.
func (r *Roster) Pace(minutes int) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.pace.sum(minutes, r.now())
}

func (r *Roster) item(e *entry, now time.Time) Item {
	address, externalID, warmyID := e.texts()
	return Item{
		ID: e.name(), Campaign: r.wide.text(e.campaign), App: r.narrow.text(uint32(e.app)), Account: r.narrow.text(uint32(e.account)),
		Tenant: r.wide.text(e.tenant), Address: address, ExternalID: externalID, WarmyID: warmyID,
		TariffPlanTypeID: int(e.plan), SpeedMode: r.narrow.text(uint32(e.speed)), Line: int(e.line), Generation: int(e.generation),
		InvitedAt: fromMilli(e.invited), LinkExpiresAt: fromMilli(e.expires), Status: mailbox.View(r.facts(e), now), fromName: e.fromName,
	}
}

// matcher is a Filter in the numbers of the tables, so that a mailbox is judged without looking at a text.
type matcher struct {
	campaigns, apps, accounts, states, reasons map[uint32]bool
	contains                                   string
	toldBefore                                 int64 // 0: whenever
	registered                                 uint32
}

func (r *Roster) matcher(f Filter) matcher {
	states := map[uint32]bool{}
	for _, s := range f.States {
		states[uint32(stateIndex(s))] = true
	}
	return matcher{
		campaigns: numbers(r.wide, f.Campaigns), apps: numbers(r.narrow, f.Apps), accounts: numbers(r.narrow, f.Accounts),
		states: states, reasons: numbers(r.narrow, f.Reasons), contains: strings.ToLower(f.Contains),
		toldBefore: toMilli(f.ToldBefore), registered: r.narrow.ids[string(mailbox.Registered)],
	}
}

// numbers looks names up without adding them; an unknown one gets a number that nothing has.
func numbers(table *names, texts []string) map[uint32]bool {
	found := map[uint32]bool{}
	for _, text := range texts {
		id, ok := table.ids[text]
		if !ok {
			id = 1<<32 - 1
		}
		found[id] = true
	}
	return found
}

func (m matcher) matches(e *entry) bool {
	return e.invited != 0 &&
		among(m.campaigns, e.campaign) && among(m.apps, uint32(e.app)) && among(m.accounts, uint32(e.account)) &&
		among(m.states, uint32(e.state)) && among(m.reasons, uint32(e.reason)) &&
		(m.contains == "" || m.within(e)) && (m.toldBefore == 0 || m.toldEarlier(e))
}

// toldEarlier reports whether Warmy has the mailbox and was told what to use before the given time alone: with the registration,
// or by the last POST made again.
func (m matcher) toldEarlier(e *entry) bool {
	return m.registered != 0 && uint32(e.registrationPhase) == m.registered && max(e.told, e.registrationSince) < m.toldBefore
}

func (m matcher) within(e *entry) bool {
	address, _, _ := e.texts()
	return strings.Contains(address, m.contains)
}

func among(set map[uint32]bool, number uint32) bool { return len(set) == 0 || set[number] }
