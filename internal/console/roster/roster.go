// Package roster is the console's memory of every mailbox: small enough for a million of them, quick enough for every
// page and every filter.
//
// It is fed with the facts of all processes, in any order, and derives what an operator sees with mailbox.View, so it
// can never disagree with the rest of Kindling. It is rebuilt from the facts at every start and stored nowhere.
// A Roster is safe for concurrent use.
package roster

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"kindling/internal/mailbox"
)

// Roster knows all mailboxes and campaigns.
type Roster struct {
	now  func() time.Time
	seed maphash.Seed

	mu        sync.RWMutex
	places    map[uint64]uint32 // hash of the id → place
	overflow  map[string]uint32 // ids whose hash another one has
	chunks    [][]entry
	size      uint32
	narrow    *names // apps, accounts, reasons, phases, stages, speed modes: at most 65,535
	wide      *names // campaigns, tenants and directories
	findings  *findings
	campaigns map[uint32]*group
	tenants   map[string]string               // of the apps, by name
	admins    map[uint32]mailbox.AdminConsent // by directory
	totals    tally
	due       map[int64][]uint32 // minute → places whose state changes by itself then
	nextDue   int64              // the earliest minute in due
	pace      pace
	ready     bool
}

// group is what is known of one campaign.
type group struct {
	fact    mailbox.Campaign
	members []uint32
	counts  tally
}

const never = int64(1) << 62

// New returns an empty Roster. It is told the apps' tenants by their names, to know whose admin a mailbox needs.
func New(now func() time.Time, tenants map[string]string) *Roster {
	return &Roster{
		now: now, seed: maphash.MakeSeed(),
		places: map[uint64]uint32{}, overflow: map[string]uint32{},
		narrow: newNames(1<<16 - 1), wide: newNames(1<<32 - 1), findings: newFindings(),
		campaigns: map[uint32]*group{}, tenants: tenants, admins: map[uint32]mailbox.AdminConsent{}, totals: tally{}, due: map[int64][]uint32{}, nextDue: never,
	}
}

// CaughtUp says that all facts that existed at the start were given.
func (r *Roster) CaughtUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = true
}

// Ready reports whether CaughtUp was called: before that, a mailbox may seem to be missing.
func (r *Roster) Ready() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ready
}

// Campaign takes the news of a campaign.
func (r *Roster) Campaign(c mailbox.Campaign) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.group(r.wide.id(c.ID)).fact = c
}

// Invitation takes the news of an invitation. One of an older link than the one known is late and ignored, so that the
// console sees its own writes at once.
func (r *Roster) Invitation(i mailbox.Invitation) {
	r.change(i.ID, func(e *entry, place uint32) {
		late := e.invited != 0 && i.LinkGeneration < int(e.generation) && i.ErasedAt.IsZero()
		if late {
			return
		}
		if e.invited == 0 {
			g := r.group(r.wide.id(i.Campaign))
			g.members = append(g.members, place)
			e.campaign = r.wide.id(i.Campaign)
		}
		r.putInvitation(e, i)
	})
}

// Claim takes the news of the attempts at consent.
func (r *Roster) Claim(id mailbox.ID, c mailbox.Claim) {
	r.change(id, func(e *entry, _ uint32) { r.putClaim(e, c) })
}

// Grant takes the news of the tokens; their texts are not looked at.
func (r *Roster) Grant(id mailbox.ID, g mailbox.Grant) {
	r.change(id, func(e *entry, _ uint32) { r.putGrant(e, g) })
}

// Registration takes the news of the registration at Warmy.
func (r *Roster) Registration(id mailbox.ID, reg mailbox.Registration) {
	r.change(id, func(e *entry, _ uint32) { r.putRegistration(e, reg) })
}

// change applies news to the entry of id, which is made if need be. An id that no correct writer makes is ignored.
func (r *Roster) change(id mailbox.ID, apply func(e *entry, place uint32)) {
	if id == "" || len(id) > idSize {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	place := r.placeOrNew(id)
	e := r.at(place)
	before := kindOf(e)
	apply(e, place)
	r.refresh(e, place, before, r.now())
}

// refresh derives the entry's state again and keeps the counts in step; before is what it was counted as. An entry without an
// invitation counts nowhere.
func (r *Roster) refresh(e *entry, place uint32, before kind, now time.Time) {
	if e.invited == 0 {
		return
	}
	status := mailbox.View(r.facts(e), now)
	state, reason := stateIndex(status.State), r.short(status.Reason)
	after := kind{state, reason, e.app, e.account}
	if g := r.group(e.campaign); !e.counted || before != after {
		if e.counted {
			r.totals.add(before, -1)
			g.counts.add(before, -1)
		}
		if status.State == mailbox.StateRegistered && (!e.counted || e.state != state) {
			r.pace.count(status.Since, now)
		}
		e.counted, e.state, e.reason = true, state, reason
		r.totals.add(after, 1)
		g.counts.add(after, 1)
	}
	r.plan(e, place, status, now)
}

// plan notes when the state of e changes without any news: a code that dies, a link that ends.
func (r *Roster) plan(e *entry, place uint32, status mailbox.Status, now time.Time) {
	var at time.Time
	switch {
	case status.State == mailbox.StateInvited && status.Reason == "":
		at = fromMilli(e.expires).Add(time.Minute)
	case status.State == mailbox.StateCodeReceived || status.State == mailbox.StateRedeeming:
		at = status.Since.Add(mailbox.CodeLife + mailbox.RedeemLease)
		if e.codeAt != 0 && status.State == mailbox.StateRedeeming {
			at = fromMilli(e.codeAt).Add(mailbox.CodeLife + mailbox.RedeemLease)
		}
	default:
		return
	}
	minute := max(at.Unix()/60, now.Unix()/60) + 1
	if int64(e.due) == minute {
		return
	}
	e.due = uint32(minute) //nolint:gosec // minutes since 1970 fit for 8,000 years
	r.due[minute] = append(r.due[minute], place)
	r.nextDue = min(r.nextDue, minute)
}

// settle lets time pass: it derives the states again whose time has come.
func (r *Roster) settle() {
	now := r.now()
	minute := now.Unix() / 60
	r.mu.RLock()
	idle := minute < r.nextDue
	r.mu.RUnlock()
	if idle {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextDue = never
	var ripe []uint32
	for at, places := range r.due {
		if at <= minute {
			ripe = append(ripe, places...)
			delete(r.due, at)
			continue
		}
		r.nextDue = min(r.nextDue, at)
	}
	for _, place := range ripe {
		r.refresh(r.at(place), place, kindOf(r.at(place)), now)
	}
}

func (r *Roster) group(campaign uint32) *group {
	g := r.campaigns[campaign]
	if g == nil {
		g = &group{counts: tally{}}
		r.campaigns[campaign] = g
	}
	return g
}

func (r *Roster) place(id mailbox.ID) (uint32, bool) {
	place, ok := r.places[maphash.String(r.seed, id)]
	if ok && r.at(place).name() == id {
		return place, true
	}
	place, ok = r.overflow[id]
	return place, ok
}

func (r *Roster) placeOrNew(id mailbox.ID) uint32 {
	if place, ok := r.place(id); ok {
		return place
	}
	place := r.size
	if int(place)%chunkSize == 0 {
		r.chunks = append(r.chunks, make([]entry, 0, chunkSize))
	}
	e := entry{}
	copy(e.id[:], id)
	last := len(r.chunks) - 1
	r.chunks[last] = append(r.chunks[last], e)
	r.size++
	sum := maphash.String(r.seed, id)
	if _, taken := r.places[sum]; taken {
		r.overflow[strings.Clone(id)] = place
	} else {
		r.places[sum] = place
	}
	return place
}

func (r *Roster) at(place uint32) *entry {
	return &r.chunks[int(place)/chunkSize][int(place)%chunkSize]
}

// known lists the campaigns in the order of their creation, newest first.
func (r *Roster) known() []*group {
	var found []*group
	for _, g := range r.campaigns {
		if g.fact.ID != "" {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b *group) int {
		if c := b.fact.CreatedAt.Compare(a.fact.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.fact.ID, b.fact.ID)
	})
	return found
}
