package roster

import (
	"slices"
	"strings"
	"time"

	"kindling/internal/mailbox"
)

// Tenant is one directory whose admin must allow an app before its owners can connect.
type Tenant struct {
	App, Tenant string
	Mailboxes   int // that were asked for; erased ones do not count
	Connected   int // of them: their owners' consent is stored
	Blocked     int // of them: wait for the admin now

	State  mailbox.AdminState
	Reason string // with refused: declined, not_admin or sign_in_failed
	Since  time.Time
}

// AdminConsent takes the news of a tenant's admin.
func (r *Roster) AdminConsent(c mailbox.AdminConsent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admins[r.wide.id(directory(c.App, c.Tenant))] = c
}

// directory is the name of an app and a tenant in the table of names. NUL is in neither.
func directory(app, tenant string) string { return app + "\x00" + tenant }

func (r *Roster) directoryOf(i mailbox.Invitation) uint32 {
	tenant := mailbox.TenantOf(i.Tenant, r.tenants[i.App], i.Address)
	if tenant == "" {
		return 0
	}
	return r.wide.id(directory(i.App, tenant))
}

// tenancy is what a walk over the mailboxes finds out about one directory.
type tenancy struct {
	Tenant

	evidence mailbox.Evidence
}

// Tenants returns the directories of a campaign's mailboxes, or of all with "": the counts are of these mailboxes, and
// what is known of the admin is of all mailboxes. First come those that want an operator. personal is how many mailboxes
// need no admin.
func (r *Roster) Tenants(campaign string) (found []Tenant, personal int) {
	r.settle()
	r.mu.RLock()
	defer r.mu.RUnlock()
	all, personal := r.tenancies(campaign)
	for number, t := range all {
		t.State, t.Reason, t.Since = r.admins[number].View(t.evidence)
		if t.Mailboxes > 0 {
			found = append(found, t.Tenant)
		}
	}
	states := mailbox.AdminStates()
	slices.SortFunc(found, func(a, b Tenant) int {
		if c := slices.Index(states, a.State) - slices.Index(states, b.State); c != 0 {
			return c
		}
		if c := b.Mailboxes - a.Mailboxes; c != 0 {
			return c
		}
		return strings.Compare(directory(a.App, a.Tenant), directory(b.App, b.Tenant))
	})
	return found, personal
}

// tenancies walks over all mailboxes, because an owner of another campaign tells as much about his admin.
func (r *Roster) tenancies(campaign string) (all map[uint32]*tenancy, personal int) {
	erased, required := stateIndex(mailbox.StateErased), uint16(r.narrow.ids[mailbox.AdminRequired]) //nolint:gosec // the table is bounded to 16 bits
	all, only := r.wanted(campaign), r.wide.ids[campaign]
	for place := range r.size {
		e := r.at(place)
		counts := e.state != erased && (campaign == "" || e.campaign == only)
		switch t := all[e.directory]; {
		case e.invited == 0:
		case t != nil:
			t.add(e, counts, required != 0 && e.reason == required)
		case e.directory == 0 && counts:
			personal++
		}
	}
	return all, personal
}

// wanted returns the directories of a campaign's mailboxes, or of all with "", with nothing counted yet.
func (r *Roster) wanted(campaign string) map[uint32]*tenancy {
	all := map[uint32]*tenancy{}
	want := func(e *entry) {
		if e.invited == 0 || e.directory == 0 || all[e.directory] != nil {
			return
		}
		app, tenant, _ := strings.Cut(r.wide.text(e.directory), "\x00")
		all[e.directory] = &tenancy{Tenant: Tenant{App: app, Tenant: tenant}}
	}
	if campaign == "" {
		for place := range r.size {
			want(r.at(place))
		}
		return all
	}
	if g := r.campaigns[r.wide.ids[campaign]]; g != nil {
		for _, place := range g.members {
			want(r.at(place))
		}
	}
	return all
}

// add counts one mailbox, if it is to be counted, and takes in what it tells of its admin in any case.
func (t *tenancy) add(e *entry, counts, blocked bool) {
	if e.tokens {
		t.evidence.ConnectedAt = later(t.evidence.ConnectedAt, fromMilli(e.savedAt))
	}
	if blocked {
		t.evidence.BlockedAt = later(t.evidence.BlockedAt, fromMilli(max(e.answered, e.grantSince)))
	}
	if !counts {
		return
	}
	t.Mailboxes++
	if e.tokens {
		t.Connected++
	}
	if blocked {
		t.Blocked++
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
